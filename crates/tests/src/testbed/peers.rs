//! Clients and servers of the test's own, where nc cannot say enough: they know which server a connection is on, and
//! compare every byte.
//!
//! A message is its length in four bytes and the payload. A server answers with its own name and the same payload.

use super::DEADLINE;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Where the balancer listens.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

/// Does something in another network namespace; what is opened there stays there. An empty name is the local machine.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            enter(namespace);
            work()
        });
        worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

/// Moves the calling thread into a network namespace, for good.
fn enter(namespace: &str) {
    if namespace.is_empty() {
        return;
    }
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // SAFETY: a descriptor and a flag; concerns the calling thread only.
    let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "cannot enter {namespace}: {}", io::Error::last_os_error());
}

/// A socket of each family that the kernel has, bound to this port of any address.
fn sockets(kind: Type, protocol: Protocol, port: u16) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
        let any = SocketAddr::new(any, port);
        let socket = match Socket::new(Domain::for_address(any), kind, Some(protocol)) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
            socket => socket?,
        };
        if any.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&any.into())?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Who listens on this port, for each family.
pub(super) fn listeners(port: u16, backlog: i32) -> io::Result<Vec<TcpListener>> {
    let sockets = sockets(Type::STREAM, Protocol::TCP, port)?;
    sockets.into_iter().map(|socket| socket.listen(backlog).map(|()| TcpListener::from(socket))).collect()
}

/// The same for datagrams.
pub(super) fn datagram_sockets(port: u16) -> io::Result<Vec<UdpSocket>> {
    Ok(sockets(Type::DGRAM, Protocol::UDP, port)?.into_iter().map(UdpSocket::from).collect())
}

type Received = BTreeMap<Vec<u8>, Vec<String>>;

/// Servers in any number of namespaces, which remember what they got. They end with the test's process.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    received: Arc<Mutex<Received>>,
}

impl Servers {
    /// Servers in h2 and h3.
    pub fn tcp(port: u16) -> Self {
        Self::tcp_in(&["h2", "h3"], port)
    }

    /// Servers in these namespaces, whose names have two letters.
    pub fn tcp_in(namespaces: &[&'static str], port: u16) -> Self {
        let servers = Self::default();
        namespaces.iter().for_each(|namespace| servers.listen_tcp(namespace, port));
        servers
    }

    /// The same in h2 and h3 for UDP; a datagram is a payload without its length.
    pub fn udp(port: u16) -> Self {
        let servers = Self::default();
        servers.listen_udp("h2", port);
        servers.listen_udp("h3", port);
        servers
    }

    fn listen_tcp(&self, namespace: &'static str, port: u16) {
        for listener in within(namespace, || listeners(port, 1024)).expect("the port is free") {
            let servers = self.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let servers = servers.clone();
                    thread::spawn(move || servers.serve(namespace, stream));
                }
            });
        }
    }

    fn serve(&self, namespace: &str, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        while let Ok(payload) = read_message(&mut stream) {
            self.note(namespace, &payload);
            let answer = [namespace.as_bytes(), &payload].concat();
            if write_message(&mut stream, &answer).is_err() {
                break;
            }
        }
    }

    fn listen_udp(&self, namespace: &'static str, port: u16) {
        for socket in within(namespace, || datagram_sockets(port)).expect("the port is free") {
            let servers = self.clone();
            thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    servers.note(namespace, &buffer[..length]);
                    let _ = socket.send_to(&[namespace.as_bytes(), &buffer[..length]].concat(), client);
                }
            });
        }
    }

    fn note(&self, namespace: &str, payload: &[u8]) {
        self.lock().entry(payload.to_vec()).or_default().push(namespace.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers that got this payload whole, one entry for each time.
    pub fn that_got(&self, payload: &[u8]) -> Vec<String> {
        self.lock().get(payload).cloned().unwrap_or_default()
    }

    /// How many payloads came.
    pub fn total(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }
}

/// A client's TCP connection to the balancer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects from this namespace, and from this address and port if they are given.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn open(namespace: &str, from: Option<SocketAddrV4>, port: u16) -> io::Result<Self> {
        Self::open_within(DEADLINE, namespace, from, port)
    }

    /// The same with this patience, for the connection and for each answer.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn open_within(patience: Duration, namespace: &str, from: Option<SocketAddrV4>, port: u16) -> io::Result<Self> {
        let socket = within(namespace, || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)))?;
        socket.set_reuse_address(true)?;
        if let Some(from) = from {
            socket.bind(&from.into())?;
        }
        Self::connect(socket, patience, port)
    }

    /// The same from the local machine, for a client that has something to say at once: its handshake ends with the first
    /// message, and not with a segment of its own. If a server's kernel takes the two in on two CPUs at the same moment,
    /// then now and then (Linux 6.18: about one connection in a hundred thousand) it does not find the connection that the
    /// one has just made for the other, and resets it.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn open_to_speak(patience: Duration, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_quickack(false)?;
        Self::connect(socket, patience, port)
    }

    /// A connection to this place, from the local machine.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn to(place: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(place), Type::STREAM, Some(Protocol::TCP))?;
        Self::connect_to(socket, DEADLINE, place)
    }

    fn connect(socket: Socket, patience: Duration, port: u16) -> io::Result<Self> {
        Self::connect_to(socket, patience, SocketAddr::new(SERVICE.into(), port))
    }

    fn connect_to(socket: Socket, patience: Duration, place: SocketAddr) -> io::Result<Self> {
        socket.connect_timeout(&place.into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream })
    }

    /// The same from the local machine, any port; it must work.
    pub fn new(port: u16) -> Self {
        Self::open("", None, port).expect("the balancer takes the connection")
    }

    /// Waits this long for an answer, and no longer.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a patience is not zero");
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        write_message(&mut self.stream, payload)
    }

    /// Takes the answer to a message, which must be the message, and says who gave it.
    ///
    /// # Errors
    /// The connection broke, or nothing came.
    pub fn receive(&mut self, payload: &[u8]) -> io::Result<String> {
        let answer = read_message(&mut self.stream)?;
        let (server, rest) = answer.split_at_checked(2).unwrap_or_default();
        assert!(rest == payload, "another connection's answer, or a damaged one: {} bytes", answer.len());
        Ok(String::from_utf8_lossy(server).into_owned())
    }

    /// Ends it in peace: FIN, and the server's FIN.
    ///
    /// # Panics
    /// The server says something else.
    pub fn close(mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(self.stream.read(&mut [0]).expect("the server ends it, too"), 0);
    }

    /// Ends it by a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket can linger for no time");
    }

    /// Sends a message, takes the answer.
    ///
    /// # Errors
    /// The connection broke, or nothing came.
    pub fn exchange(&mut self, payload: &[u8]) -> io::Result<String> {
        self.send(payload)?;
        self.receive(payload)
    }
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

fn write_message(stream: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    let message = [&(payload.len() as u32).to_be_bytes(), payload].concat();
    stream.write_all(&message)
}
