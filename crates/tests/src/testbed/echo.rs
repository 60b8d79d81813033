//! Servers that send back every byte, and what can be said through them.

use super::peers::{datagram_sockets, listeners, within};
use socket2::SockRef;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Connections that one server serves at once. Each has a thread that waits for it: short ones cost no new thread.
const WORKERS: usize = 64;

/// Connections that may wait for a server. No more, since it is also how many SYNs of a flood a Linux server remembers before it
/// goes over to cookies: each of them keeps a NAT port busy, in that its next owner's first SYN is answered by an ACK.
const BACKLOG: i32 = 256;

/// Has a server in each of these namespaces. They end with the test's process.
pub fn echo_servers(namespaces: &[&'static str], port: u16) {
    for namespace in namespaces {
        for listener in within(namespace, || listeners(port, BACKLOG)).expect("the port is free") {
            let listener = Arc::new(listener);
            for _ in 0..WORKERS {
                let listener = Arc::clone(&listener);
                thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok((stream, _)) = listener.accept() {
                        let _ = echo(stream, &mut buffer);
                    }
                });
            }
        }
    }
}

/// The same for datagrams.
pub fn datagram_echo_servers(namespaces: &[&'static str], port: u16) {
    for namespace in namespaces {
        for socket in within(namespace, || datagram_sockets(port)).expect("the port is free") {
            thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], client);
                }
            });
        }
    }
}

fn echo(mut stream: TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        match stream.read(buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// Bytes that differ from place to place and from stream to stream.
#[derive(Debug)]
pub struct Noise(u64);

impl Noise {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // Marsaglia, "Xorshift RNGs" (2003).
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A connection that sends noise without a pause and has it sent back, byte for byte.
#[derive(Debug)]
pub struct Transfer {
    is_over: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    from: SocketAddr,
    writer: JoinHandle<io::Result<u64>>,
    reader: JoinHandle<Result<u64, String>>,
}

/// How much of a transfer is written or compared in one go.
const BLOCK: usize = 1 << 14;

impl Transfer {
    /// Begins one to this end. `patience` is how long it may stand still, `rest` how long it pauses after each 16 KiB.
    ///
    /// # Panics
    /// Nobody takes the connection.
    pub fn start(to: impl Into<SocketAddr>, patience: Duration, rest: Duration, seed: u64) -> Self {
        let stream = TcpStream::connect(to.into()).expect("somebody takes the connection");
        // Never so much under way that the end takes long to come.
        let limits = SockRef::from(&stream).set_send_buffer_size(1 << 18);
        let times = stream.set_read_timeout(Some(patience)).and(stream.set_write_timeout(Some(patience)));
        limits.and(times).expect("a socket has buffers and patience");
        let from = stream.local_addr().expect("a connection has an end");
        let (is_over, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut outgoing = stream.try_clone().expect("there are descriptors left");
        let mut incoming = stream;
        let is_over_for_writer = Arc::clone(&is_over);
        let writer = thread::spawn(move || {
            let (mut noise, mut block, mut written) = (Noise::new(seed), [0; BLOCK], 0);
            while !is_over_for_writer.load(Relaxed) {
                noise.fill(&mut block);
                outgoing.write_all(&block)?;
                written += BLOCK as u64;
                thread::sleep(rest);
            }
            outgoing.shutdown(Shutdown::Write)?;
            Ok(written)
        });
        let carried_by_reader = Arc::clone(&carried);
        let reader = thread::spawn(move || {
            let (mut noise, mut wanted, mut got, mut read) = (Noise::new(seed), [0; BLOCK], [0; BLOCK], 0);
            loop {
                noise.fill(&mut wanted);
                let mut length = 0;
                while length < BLOCK {
                    match incoming.read(&mut got[length..]) {
                        Ok(0) if length == 0 => return Ok(read),
                        Ok(0) => return Err(format!("it ended in the middle, after {read} bytes")),
                        Ok(more) => length += more,
                        Err(error) => return Err(format!("after {read} bytes: {error}")),
                    }
                }
                if got != wanted {
                    return Err(format!("other bytes came back after {read}"));
                }
                read += BLOCK as u64;
                carried_by_reader.store(read, Relaxed);
            }
        });
        Self { is_over, carried, from, writer, reader }
    }

    /// Its client's end.
    ///
    /// # Panics
    /// It is IPv6.
    pub fn from(&self) -> SocketAddrV4 {
        match self.from {
            SocketAddr::V4(from) => from,
            SocketAddr::V6(from) => panic!("{from} is an IPv6 end"),
        }
    }

    /// Bytes that have gone there and back so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Relaxed)
    }

    /// Ends it; fails if a byte was lost or changed.
    ///
    /// # Errors
    /// What became of it.
    pub fn finish(self) -> Result<u64, String> {
        self.is_over.store(true, Relaxed);
        let written = self.writer.join().expect("it does not panic").map_err(|error| format!("when writing: {error}"));
        let read = self.reader.join().expect("it does not panic")?;
        let written = written?;
        if read == written { Ok(read) } else { Err(format!("{written} bytes went, {read} came back")) }
    }
}
