//! TCP connections, from the ports of checks.

use super::finding::{Finding, Hindrance};
use super::ports::{Ports, any};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// A connection, from one of these ports.
///
/// # Errors
/// What it means that there is none.
pub(super) async fn connect(
    (source, target): (Option<IpAddr>, SocketAddr),
    ports: &Ports,
) -> Result<TcpStream, Finding> {
    for port in ports.turn() {
        // A socket that connects to its own port connects to itself.
        if port == target.port() {
            continue;
        }
        let begun = Instant::now();
        let finding = |error: io::Error| Finding::of_connect(&error, begun.elapsed());
        let socket = match bound(target, source, port, ports) {
            Ok(socket) => socket,
            // Somebody else's, or, on a host that has been told so, root's alone.
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => continue,
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && source.is_some() => {
                return Err(Finding::NotMade(Hindrance::Source));
            }
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

fn bound(target: SocketAddr, source: Option<IpAddr>, port: u16, ports: &Ports) -> io::Result<TcpSocket> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Or nobody could have a port towards one target while another check has it towards another.
    socket.set_reuseaddr(true)?;
    if ports.is_busy.load(Ordering::Relaxed) {
        socket.set_zero_linger()?;
    }
    socket.bind_device(ports.device.as_deref().map(str::as_bytes))?;
    socket.bind(SocketAddr::new(source.unwrap_or_else(|| any(target)), port))?;
    Ok(socket)
}
