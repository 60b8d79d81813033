//! Whether somebody answers a datagram, or at least nobody says that nobody is there.

use super::body::Search;
use super::finding::{Finding, Hindrance};
use super::ports::{Ports, any};
use crate::config::Talk;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer that are read.
const ANSWER: usize = 4096;

/// A socket that sends to a target and hears of it alone, of what routers and the target's host say by ICMP as well.
///
/// # Errors
/// What it means that there is none.
pub(super) async fn connect(
    (source, target): (Option<IpAddr>, SocketAddr),
    ports: &Ports,
) -> Result<UdpSocket, Finding> {
    for port in ports.turn() {
        let socket = bound(target, source, port, ports.device.as_deref()).and_then(|socket| {
            socket.connect(&target.into())?;
            UdpSocket::from_std(socket.into())
        });
        match socket {
            Ok(socket) => return Ok(socket),
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {}
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && source.is_some() => {
                return Err(Finding::NotMade(Hindrance::Source));
            }
            Err(error) => return Err(Finding::of_connect(&error, Duration::ZERO)),
        }
    }
    Err(Finding::NotMade(Hindrance::Ports))
}

fn bound(target: SocketAddr, source: Option<IpAddr>, port: u16, device: Option<&str>) -> io::Result<Socket> {
    let domain = if target.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // As for TCP; what comes goes to the socket that is connected with its sender.
    socket.set_reuse_address(true)?;
    // Without it the kernel keeps for itself that no way leads to a host, or that the host does not say where it is.
    if target.is_ipv4() {
        setsockopt(&socket, Ipv4RecvErr, &true)?;
    } else {
        setsockopt(&socket, Ipv6RecvErr, &true)?;
    }
    socket.bind_device(device.map(str::as_bytes))?;
    socket.bind(&SocketAddr::new(source.unwrap_or_else(|| any(target)), port).into())?;
    Ok(socket)
}

/// For how long it counts that a host was not to be reached. Who does not answer ARP is given up after three seconds, and what is
/// sent meanwhile meets silence.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// What is kept between checks for which silence is an answer: what is said about a datagram may come after its check.
#[derive(Debug, Default)]
pub(super) struct Silence {
    socket: Mutex<Option<UdpSocket>>,
    unreachable: Mutex<Option<(Instant, Finding)>>,
}

impl Silence {
    fn take(&self) -> Option<UdpSocket> {
        lock(&self.socket).take()
    }

    fn keep(&self, socket: UdpSocket) {
        *lock(&self.socket) = Some(socket);
    }

    /// What an error means, to be remembered if it is one that comes late. The socket is another one afterwards.
    fn broken(&self, error: &io::Error) -> Finding {
        let finding = Finding::of_connect(error, Duration::ZERO);
        if matches!(finding, Finding::NoRouteToHost | Finding::NoRouteToNetwork) {
            *lock(&self.unreachable) = Some((Instant::now(), finding));
        }
        finding
    }

    /// What it means that nothing was heard.
    fn meaning(&self) -> Finding {
        match *lock(&self.unreachable) {
            Some((when, finding)) if when.elapsed() < UNREACHABLE => finding,
            _ => Finding::Unrefused,
        }
    }

    fn forget(&self) {
        *lock(&self.unreachable) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is half done is ever in it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a datagram, and hears what comes of it. Where no certain answer is wanted, silence is one too; a refusal is none.
pub(super) async fn check(
    to: (Option<IpAddr>, SocketAddr),
    talk: &Talk,
    ports: &Ports,
    silence: &Silence,
    deadline: Instant,
) -> Finding {
    let send = talk.send.as_deref().unwrap_or_default();
    let asked = match &talk.expect {
        Some(expect) => ask(to, send, expect, ports, deadline).await,
        None => probe(to, send, ports, silence, deadline).await,
    };
    asked.unwrap_or_else(|finding| finding)
}

async fn ask(
    to: (Option<IpAddr>, SocketAddr),
    send: &[u8],
    expect: &[u8],
    ports: &Ports,
    deadline: Instant,
) -> Result<Finding, Finding> {
    let failed = |error: io::Error| Finding::of_connect(&error, Duration::ZERO);
    let socket = connect(to, ports).await?;
    socket.send(send).await.map_err(failed)?;
    let mut has_said_something = false;
    let mut buffer = [0; ANSWER];
    loop {
        let count = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(received) => received.map_err(failed)?,
            Err(_) if has_said_something => return Ok(Finding::OtherAnswer),
            // The caller knows how long that was.
            Err(_) => return std::future::pending().await,
        };
        let mut search = Search::new(expect);
        search.go_on(&buffer[..count]);
        if search.has_found() {
            return Ok(Finding::Said);
        }
        has_said_something = true;
    }
}

async fn probe(
    to: (Option<IpAddr>, SocketAddr),
    send: &[u8],
    ports: &Ports,
    silence: &Silence,
    deadline: Instant,
) -> Result<Finding, Finding> {
    let failed = |error: io::Error| silence.broken(&error);
    let socket = match silence.take() {
        Some(socket) => socket,
        None => connect(to, ports).await?,
    };
    let mut buffer = [0; ANSWER];
    // What has come since the last check.
    loop {
        match socket.try_recv(&mut buffer) {
            Ok(_) => silence.forget(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(failed(error)),
        }
    }
    socket.send(send).await.map_err(failed)?;
    let finding = match timeout_at(deadline, socket.recv(&mut buffer)).await {
        Ok(received) => {
            received.map_err(failed)?;
            silence.forget();
            Finding::Said
        }
        Err(_) => silence.meaning(),
    };
    silence.keep(socket);
    Ok(finding)
}
