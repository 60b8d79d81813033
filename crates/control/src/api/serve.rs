//! Accepting connections, as many as are good for us, and giving none of them for ever.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections that are served at once; others wait.
pub const MAX_CONNECTIONS: usize = 64;
/// For how long a question's head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For how long a connection may take, questions, answers and pauses together.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The largest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves a Unix socket until the future is dropped.
pub async fn serve_unix(listener: UnixListener, router: Router) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        accept(&slots, listener.accept().await, &router).await;
    }
}

/// Serves a TCP address until the future is dropped.
pub async fn serve_tcp(listener: TcpListener, router: Router) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        accept(&slots, listener.accept().await, &router).await;
    }
}

async fn accept<S, A>(slots: &Arc<Semaphore>, accepted: io::Result<(S, A)>, router: &Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok((stream, _)) = accepted else {
        // Out of descriptors, most likely: at once it would be the same again.
        return sleep(Duration::from_millis(100)).await;
    };
    // The semaphore is never closed.
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return };
    let service = TowerToHyperService::new(router.clone());
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // Whatever ends it, it concerns the one who asked.
        let _ = timeout(CONNECTION_TIME, connection).await;
        drop(slot);
    });
}
