//! Accepting connections, as many as are good for us, and giving none of them for ever.

use super::caller::Caller;
use crate::trouble::{Trouble, Troubles};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Connections that are served at once.
const MAX_CONNECTIONS: usize = 64;
/// For how long a question's head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For how long a connection over the Unix socket may take, questions, answers and pauses together.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// For how long one over TCP may take, which anybody may have.
const ANYBODYS_TIME: Duration = Duration::from_secs(10);
/// The largest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves a Unix socket until the future is dropped. Who comes when too many are there waits.
pub(crate) async fn serve_unix(listener: UnixListener, router: Router, troubles: Troubles) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Some((stream, _)) = accepted(listener.accept().await, &troubles).await else { continue };
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let service = TowerToHyperService::new(router.clone().layer(Extension(Caller::of(&stream))));
        tokio::spawn(async move {
            let connection = builder().serve_connection(TokioIo::new(stream), service);
            // Whatever ends it, it concerns the one who asked.
            let _ = timeout(CONNECTION_TIME, connection).await;
            drop(slot);
        });
    }
}

/// Serves a TCP address until the future is dropped: one question a connection. Who comes when too many are there takes the
/// place of the one that has been there longest. An honest question is answered within milliseconds; so those who come and
/// stay, as many as they are, keep nobody out.
pub(crate) async fn serve_tcp(listener: TcpListener, router: Router, troubles: Troubles) {
    let mut connections = VecDeque::new();
    loop {
        let Some((stream, _)) = accepted(listener.accept().await, &troubles).await else { continue };
        connections.retain(|connection: &JoinHandle<()>| !connection.is_finished());
        if connections.len() >= MAX_CONNECTIONS
            && let Some(eldest) = connections.pop_front()
        {
            eldest.abort();
            // So that its descriptor is free before another one is taken.
            let _ = eldest.await;
        }
        let service = TowerToHyperService::new(router.clone());
        connections.push_back(tokio::spawn(async move {
            let connection = builder().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            let _ = timeout(ANYBODYS_TIME, connection).await;
        }));
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
    builder
}

async fn accepted<A>(accepted: io::Result<A>, troubles: &Troubles) -> Option<A> {
    if let Err(error) = &accepted {
        troubles.note(Trouble::Connections, error);
        // Out of descriptors, most likely: at once it would be the same again.
        sleep(Duration::from_millis(100)).await;
    }
    accepted.ok()
}
