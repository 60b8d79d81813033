//! Asking a running balancer.

use super::answer::ErrorBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LINK};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The largest answer, in bytes: a million connections.
const MAX_ANSWER: usize = 512 << 20;
/// For how long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no evenkeel answers at {path}: is it running? (another place: --socket PATH)")]
    Nobody {
        /// Where.
        path: PathBuf,
    },
    /// It is another user's.
    #[error("{path} is another user's: run this as the one that evenkeel runs as, or with sudo.")]
    Forbidden {
        /// Where.
        path: PathBuf,
    },
    /// Something else is wrong with the socket.
    #[error("cannot ask at {path}: {source}.")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        source: io::Error,
    },
    /// The balancer refuses, and says why.
    #[error("{0}")]
    Refused(String),
    /// What was asked for in parts is no more, and has to be asked for from the beginning.
    #[error("{0}")]
    Gone(String),
    /// What listens there is not evenkeel, or of another version.
    #[error("what answers at {path} does not speak as evenkeel does ({reason}).")]
    Garbled {
        /// Where.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// No answer came.
    #[error("evenkeel does not answer within {} seconds.", PATIENCE.as_secs())]
    Slow,
}

/// The body, and the resource that has the next part.
type Answer = (Bytes, Option<String>);

/// A way to ask the balancer behind a socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Asks at this path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Asks for a resource, such as `/v1/status`.
    ///
    /// # Errors
    /// Nobody answers, or not as wanted.
    pub async fn get<T: DeserializeOwned>(&self, resource: &str) -> Result<T, ClientError> {
        self.get_part(resource).await.map(|(part, _)| part)
    }

    /// Asks for a resource that comes in parts, such as `/v1/flows`: the first one, or what a part before has told. Returns the
    /// resource that has the next.
    ///
    /// # Errors
    /// Nobody answers, or not as wanted.
    pub async fn get_part<T: DeserializeOwned>(&self, resource: &str) -> Result<(T, Option<String>), ClientError> {
        let (body, next) = self.ask(Method::GET, resource, Vec::new()).await?;
        let part = serde_json::from_slice(&body).map_err(|error| self.garbled(error))?;
        Ok((part, next))
    }

    /// Sends an order that has an answer.
    ///
    /// # Errors
    /// Nobody answers, or not as wanted.
    pub async fn post<T: DeserializeOwned>(&self, resource: &str, order: &impl Serialize) -> Result<T, ClientError> {
        let body = self.post_raw(resource, order).await?;
        serde_json::from_slice(&body).map_err(|error| self.garbled(error))
    }

    /// Sends an order that is only carried out.
    ///
    /// # Errors
    /// Nobody answers, or not as wanted.
    pub async fn order(&self, resource: &str, order: &impl Serialize) -> Result<(), ClientError> {
        self.post_raw(resource, order).await.map(drop)
    }

    async fn post_raw(&self, resource: &str, order: &impl Serialize) -> Result<Bytes, ClientError> {
        let body = serde_json::to_vec(order).map_err(|error| self.garbled(error))?;
        self.ask(Method::POST, resource, body).await.map(|(body, _)| body)
    }

    async fn ask(&self, method: Method, resource: &str, body: Vec<u8>) -> Result<Answer, ClientError> {
        timeout(PATIENCE, self.exchange(method, resource, body)).await.unwrap_or(Err(ClientError::Slow))
    }

    async fn exchange(&self, method: Method, resource: &str, body: Vec<u8>) -> Result<Answer, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Nobody { path },
                io::ErrorKind::PermissionDenied => ClientError::Forbidden { path },
                _ => ClientError::Io { path, source },
            }
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.garbled(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(resource)
            .header(HOST, "evenkeel")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.garbled(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.garbled(error))?;
        let status = answer.status();
        let next = answer.headers().get(LINK).and_then(next_part);
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.garbled(error))?.to_bytes();
        if status == StatusCode::OK {
            return Ok((body, next));
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) if status == StatusCode::GONE => Err(ClientError::Gone(error)),
            Ok(ErrorBody { error }) => Err(ClientError::Refused(error)),
            Err(_) => Err(self.garbled(format!("status {status}"))),
        }
    }

    fn garbled(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// The resource that a link names as the next one (RFC 8288, section 3), as evenkeel writes it.
fn next_part(link: &HeaderValue) -> Option<String> {
    let (resource, rest) = link.to_str().ok()?.strip_prefix('<')?.split_once('>')?;
    (rest == "; rel=\"next\"").then(|| resource.to_owned())
}
