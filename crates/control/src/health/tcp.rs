//! Whether a backend takes a TCP connection.

use super::finding::Finding;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection.
///
/// # Errors
/// What it means that there is none.
pub(super) async fn connect(target: SocketAddr) -> Result<TcpStream, Finding> {
    let begun = Instant::now();
    TcpStream::connect(target).await.map_err(|error| Finding::of_connect(&error, begun.elapsed()))
}

/// Connects, and closes the connection as it is: the backend sees an end, not a reset.
pub(super) async fn check(target: SocketAddr) -> Finding {
    let begun = Instant::now();
    match connect(target).await {
        Ok(_) => Finding::Connected(begun.elapsed()),
        Err(finding) => finding,
    }
}
