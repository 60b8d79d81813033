//! What clients do, and how much of it they get done.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Ports of the servers: a connection for each question; many questions on a connection; one direction only.
pub(super) const CLOSING: u16 = 8080;
pub(super) const KEEPING: u16 = 8081;
pub(super) const SINK: u16 = 8082;
/// Bytes of a question and of its answer.
pub(super) const QUESTION: usize = 64;
pub(super) const ANSWER: usize = 512;

/// How long anything of a client's may take. What takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Eight clients that open a connection for each question.
    Closing,
    /// Sixteen that ask one question after the other on a connection of their own.
    Keeping,
    /// Transfers from client to server, side by side.
    Streams(usize),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Answers, or bytes, a second.
    pub(crate) rate: f64,
    /// Connections that came to nothing.
    pub(crate) failed: u64,
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [Self::Closing, Self::Keeping, Self::Streams(1), Self::Streams(8)];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Closing => "connect-close".to_owned(),
            Self::Keeping => "keep-alive".to_owned(),
            Self::Streams(1) => "one stream".to_owned(),
            Self::Streams(count) => format!("{count} streams"),
        }
    }

    /// A rate in words.
    pub(crate) fn told(self, rate: f64) -> String {
        match self {
            Self::Closing | Self::Keeping => format!("{:.1} k/s", rate / 1e3),
            Self::Streams(_) => format!("{:.2} Gb/s", rate * 8.0 / 1e9),
        }
    }

    fn clients(self) -> usize {
        match self {
            Self::Closing => 8,
            Self::Keeping => 16,
            Self::Streams(count) => count,
        }
    }

    /// Puts it on these servers, in turn, for a while.
    pub(crate) fn on(self, servers: &[Ipv4Addr], time: Duration) -> Done {
        let (is_over, done, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (is_over, done, failed) = (&is_over, &done, &failed);
        let mut taken = Duration::ZERO;
        thread::scope(|scope| {
            for (_, &server) in (0..self.clients()).zip(servers.iter().cycle()) {
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        if self.once(server, is_over, done).is_none() && !is_over.load(Relaxed) {
                            failed.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
            // Until the first of it is under way.
            thread::sleep(time / 4);
            let (begun, before) = (Instant::now(), done.load(Relaxed));
            thread::sleep(time);
            taken = begun.elapsed();
            done.fetch_sub(before, Relaxed);
            is_over.store(true, Relaxed);
        });
        // What was under way at the end counts, a few of thousands.
        Done { rate: done.load(Relaxed) as f64 / taken.as_secs_f64(), failed: failed.load(Relaxed) }
    }

    /// One connection.
    fn once(self, server: Ipv4Addr, is_over: &AtomicBool, done: &AtomicU64) -> Option<()> {
        let port = match self {
            Self::Closing => CLOSING,
            Self::Keeping => KEEPING,
            Self::Streams(_) => SINK,
        };
        let mut connection = TcpStream::connect_timeout(&SocketAddr::from((server, port)), PATIENCE).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        connection.set_write_timeout(Some(PATIENCE)).ok()?;
        connection.set_nodelay(true).ok()?;
        let mut ask = || {
            connection.write_all(&[0; QUESTION]).ok()?;
            connection.read_exact(&mut [0; ANSWER]).ok()?;
            done.fetch_add(1, Relaxed);
            Some(())
        };
        match self {
            Self::Closing => {
                ask()?;
                // The server ends first, so that it is not the client whose ports are used up.
                connection.read(&mut [0]).ok().filter(|&bytes| bytes == 0).map(drop)
            }
            Self::Keeping => {
                while !is_over.load(Relaxed) {
                    ask()?;
                }
                Some(())
            }
            Self::Streams(_) => {
                let block = vec![0; 1 << 16];
                while !is_over.load(Relaxed) {
                    let bytes = connection.write(&block).ok()?;
                    done.fetch_add(bytes as u64, Relaxed);
                }
                Some(())
            }
        }
    }
}
