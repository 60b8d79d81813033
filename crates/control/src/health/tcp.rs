//! Whether a backend takes a TCP connection.

use super::finding::{Finding, Hindrance};
use super::ports::Ports;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// A connection, from one of these ports.
///
/// # Errors
/// What it means that there is none.
pub(super) async fn connect(target: SocketAddr, ports: &Ports) -> Result<TcpStream, Finding> {
    for port in ports.turn() {
        // A socket that connects to its own port connects to itself.
        if port == target.port() {
            continue;
        }
        let begun = Instant::now();
        let finding = |error: io::Error| Finding::of_connect(&error, begun.elapsed());
        let socket = match bound(target, port, ports) {
            Ok(socket) => socket,
            // Somebody else's, or, on a host that has been told so, root's alone.
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => continue,
            Err(error) => return Err(finding(error)),
        };
        match socket.connect(target).await {
            Ok(stream) => return Ok(stream),
            // A connection from it to this target is there, or has been there a moment ago.
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {}
            Err(error) => return Err(finding(error)),
        }
    }
    Err(Finding::NotMade(Hindrance::Ports))
}

fn bound(target: SocketAddr, port: u16, ports: &Ports) -> io::Result<TcpSocket> {
    let (socket, any) = match target {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    // Or nobody could have a port towards one target while another check has it towards another.
    socket.set_reuseaddr(true)?;
    if ports.is_busy.load(Ordering::Relaxed) {
        socket.set_zero_linger()?;
    }
    socket.bind(SocketAddr::new(any, port))?;
    Ok(socket)
}

/// Connects, and closes the connection as it is: the backend sees an end, and a reset only where checks are very frequent.
pub(super) async fn check(target: SocketAddr, ports: &Ports) -> Finding {
    let begun = Instant::now();
    match connect(target, ports).await {
        Ok(_) => Finding::Connected(begun.elapsed()),
        Err(finding) => finding,
    }
}
