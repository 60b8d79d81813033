//! Whether a backend answers an HTTP request as it should.
//!
//! What comes back is the backend's to choose: headers are bounded in number and size, the body is read up to a limit,
//! and the caller bounds the time.

use super::body::{Search, read};
use super::finding::Finding;
use super::tls;
use crate::config::HttpCheck;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Bytes that the status line and the headers may have together; also of what is read at once.
const MAX_HEAD: usize = 16 << 10;
/// Headers that an answer may have.
const MAX_HEADERS: usize = 100;

const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// The request that a backend is sent at each check.
#[derive(Debug)]
pub(super) struct Question {
    request: Request<Empty<Bytes>>,
}

impl Question {
    /// Nothing if path or host are longer than a request can hold.
    pub(super) fn new(target: SocketAddr, check: &HttpCheck) -> Option<Self> {
        let host = check.host.as_ref().map_or_else(|| target.to_string(), Clone::clone);
        let request = Request::get(request_target(&check.path).as_ref())
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close")
            .body(Empty::new());
        Some(Self { request: request.ok()? })
    }

    /// Asks by this connection, and compares the answer. Redirects are answers like others. Reading the body ends at the
    /// deadline; until then the deadline is the caller's to keep.
    pub(super) async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        check: &HttpCheck,
        deadline: Instant,
    ) -> Finding {
        let handshake = http1::Builder::new()
            // What old servers are used to.
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = match handshake.await {
            Ok(ends) => ends,
            Err(error) => return failure(&error),
        };
        let exchange = async {
            match sender.send_request(self.request.clone()).await {
                Ok(response) => compare(response, check, deadline).await,
                Err(error) => failure(&error),
            }
        };
        // Both in this task: when it is stopped, so is the connection.
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        let mut connected = true;
        loop {
            tokio::select! {
                biased;
                found = &mut exchange => return found,
                // How it ended, the exchange hears as well.
                _ = &mut connection, if connected => connected = false,
            }
        }
    }
}

/// The path as it may stand in a request: what URIs do not allow is written in percent notation (RFC 3986, section
/// 2.1).
fn request_target(path: &str) -> Cow<'_, str> {
    let is_foreign = |c: char| !c.is_ascii_graphic() || "\"#<>\\^`{|}".contains(c);
    if !path.contains(is_foreign) {
        return Cow::Borrowed(path);
    }
    let mut target = String::with_capacity(path.len() + 16);
    for c in path.chars() {
        if is_foreign(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                target.push_str(&format!("%{byte:02X}"));
            }
        } else {
            target.push(c);
        }
    }
    Cow::Owned(target)
}

async fn compare(response: Response<Incoming>, check: &HttpCheck, deadline: Instant) -> Finding {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut search = Search::new(check.body.as_deref().unwrap_or_default().as_bytes());
    // Read even if it has no say any more, as far as it comes in time: to close a connection on bytes that have not
    // been read resets it, and the backend would log an error at each check.
    let end = timeout_at(deadline, read(&mut body, |piece| search.go_on(piece))).await;
    if !check.status.include(status) {
        return Finding::OtherStatus(status);
    }
    if search.has_found() {
        return Finding::Answered(status);
    }
    match end {
        Ok(Ok(())) => Finding::OtherBody,
        Ok(Err(error)) => failure(&error),
        Err(_) => Finding::Unfinished,
    }
}

/// What it means that an exchange failed.
fn failure(error: &hyper::Error) -> Finding {
    if error.is_parse_too_large() {
        return Finding::HeadersTooLong;
    }
    if error.is_parse() {
        return Finding::NotHttp;
    }
    let mut spoke_first = false;
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return tls::failure(error);
        }
        // The request was never sent, because the connection failed without the network's doing: something had come
        // that no question was asked for.
        spoke_first |= error.is_canceled() && inner.is::<hyper::Error>();
        cause = inner.source();
    }
    if spoke_first { Finding::NotHttp } else { Finding::Closed }
}
