//! Honest clients that come one after another, each with one question, and what becomes of them.

use super::echo::Noise;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients that are at it at the same time, or at once with a pace of their own.
#[derive(Debug)]
pub struct Newcomers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    /// Those whose turn it has been.
    begun: AtomicU64,
    served: AtomicU64,
    /// Why others were not, and how often.
    failed: Mutex<BTreeMap<String, u64>>,
    /// Of those that were served, who had to ask twice.
    late: AtomicU64,
    /// How long the slowest that was served has taken, in microseconds.
    slowest: AtomicU64,
}

/// What became of newcomers.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// Those that got their answer.
    pub served: u64,
    /// Those of them that waited for so long that they had to send something twice: Linux sends a SYN again after a second.
    pub late: u64,
    /// Why others did not.
    pub failed: BTreeMap<String, u64>,
    /// The longest that one waited and was served.
    pub slowest: Duration,
}

impl Welcome {
    /// The share of them that got their answer.
    pub fn share(&self) -> f64 {
        self.served as f64 / self.tried().max(1) as f64
    }

    /// How many there were.
    pub fn tried(&self) -> u64 {
        self.served + self.failed.values().sum::<u64>()
    }
}

/// A little less than Linux waits before it sends a SYN again.
const RETRY: Duration = Duration::from_millis(900);

/// How newcomers behave.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Where they go.
    pub to: SocketAddrV4,
    /// Where they come from, in turn; nothing: wherever the kernel says.
    pub from: Vec<Ipv4Addr>,
    /// How many at once.
    pub at_once: usize,
    /// How many a second; 0: without a pause.
    pub pace: u64,
    /// How many in all.
    pub most: u64,
    /// How long one waits for its connection, and for its answer.
    pub patience: Duration,
}

impl Newcomers {
    /// They come.
    pub fn start(manners: &Manners) -> Self {
        let (shared, began) = (Arc::<Shared>::default(), Instant::now());
        let threads = (0..manners.at_once).map(|_| {
            let (shared, manners) = (Arc::clone(&shared), manners.clone());
            thread::spawn(move || shared.come(&manners, began))
        });
        Self { threads: threads.collect(), shared }
    }

    /// How many have got their answer, or none, so far.
    pub fn tried(&self) -> u64 {
        self.shared.welcome().tried()
    }

    /// Lets those who are under way come to an end, and tells.
    pub fn finish(self) -> Welcome {
        self.shared.is_over.store(true, Relaxed);
        self.wait()
    }

    /// Waits until all have come, and tells.
    pub fn wait(self) -> Welcome {
        self.threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        self.shared.welcome()
    }
}

impl Shared {
    fn come(&self, manners: &Manners, began: Instant) {
        while !self.is_over.load(Relaxed) {
            let number = self.begun.fetch_add(1, Relaxed);
            if number >= manners.most {
                break;
            }
            if manners.pace > 0 {
                let due = Duration::from_secs_f64(number as f64 / manners.pace as f64);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            let began = Instant::now();
            match ask(manners, number) {
                Ok(()) => {
                    self.served.fetch_add(1, Relaxed);
                    let took = began.elapsed();
                    self.late.fetch_add((took >= RETRY).into(), Relaxed);
                    self.slowest.fetch_max(took.as_micros() as u64, Relaxed);
                }
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    *failed.entry(error.to_string()).or_default() += 1;
                }
            }
        }
    }

    fn welcome(&self) -> Welcome {
        Welcome {
            served: self.served.load(Relaxed),
            late: self.late.load(Relaxed),
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slowest: Duration::from_micros(self.slowest.load(Relaxed)),
        }
    }
}

/// Connects, asks, gets the answer, and closes first.
fn ask(manners: &Manners, number: u64) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // For the reason that `Connection::open_to_speak` has.
    socket.set_tcp_quickack(false)?;
    if let Some(address) = manners.from.get(number as usize % manners.from.len().max(1)) {
        // The port is chosen when the other end is known: many ports serve many times more connections so.
        choose_port_late(&socket)?;
        socket.bind(&SocketAddrV4::new(*address, 0).into())?;
    }
    let named = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    socket.connect_timeout(&manners.to.into(), manners.patience).map_err(named("connecting"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(manners.patience))?;
    stream.set_write_timeout(Some(manners.patience))?;
    let (mut question, mut answer) = ([0; 100], [0; 100]);
    Noise::new(number).fill(&mut question);
    stream.write_all(&question).map_err(named("asking"))?;
    stream.read_exact(&mut answer).map_err(named("waiting for the answer"))?;
    if answer == question { Ok(()) } else { Err(io::Error::other("somebody else's answer")) }
}

/// ip(7): with it, binding to an address does not choose a port.
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: an integer that lives, of the length that is said.
    let done = unsafe {
        let option = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const yes).cast(), size_of_val(&yes) as u32)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
