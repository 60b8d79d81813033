//! Floods from strangers: frames from addresses that are nobody's, as fast as one thread sends them or at a pace.

use super::stranger::Stranger;
use crate::program::pin;
use evenkeel_packets::{ACK, Draft, FIN, Mac, RST, SYN, end, tcp, udp};
use evenkeel_wire::checksum::Adjustment;
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// SYNs.
    Syns,
    /// SYNs, and 50 ms later from the same address and port a segment that guesses, with ACK or without.
    Pairs,
    /// Datagrams, and from the same address and port one more when the first has long been answered.
    Datagrams,
    /// ACKs of nothing.
    Acks,
    /// Resets of nothing.
    Resets,
    /// Fragments, of datagrams and of segments, first ones and later ones.
    Fragments,
    /// Resets and FINs that name a connection which there is, with numbers that are guessed.
    Aimed(SocketAddrV4),
    /// Of everything.
    Mixture,
}

/// Frames that the kernel gets in one call.
const BATCH: usize = 64;
/// More than one thread sends in a minute or two: no flood goes on for ever.
const MOST: u64 = 200_000_000;

/// One kind of packet in a flood.
struct Kind {
    frame: Vec<u8>,
    /// Where its transport's checksum is, if it has one that is to be right.
    checksum: Option<usize>,
    /// How much later a second packet comes from the same source, and what it is.
    then: Option<(Duration, Box<[Kind]>)>,
    /// All of them from here, and not from anywhere.
    from: Option<SocketAddrV4>,
}

const IP_CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
const SEQUENCE: usize = 38;

impl Kind {
    fn new(draft: Draft, macs: (Mac, Mac), checksum: Option<usize>) -> Self {
        let mut frame = draft.source_mac(macs.0).destination_mac(macs.1).bytes();
        frame.resize(frame.len().max(60), 0);
        Self { frame, checksum, then: None, from: None }
    }

    fn then(self, after: Duration, kinds: Vec<Kind>) -> Self {
        Self { then: Some((after, kinds.into())), ..self }
    }

    /// Packet number so many, of which every one has a source of its own.
    fn write(&self, number: u64, salt: u64, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&self.frame);
        let random = mix(number ^ salt);
        let (address, port) = match self.from {
            Some(from) => (from.ip().octets(), from.port()),
            // 100.64.0.0/10 (RFC 6598): addresses that no host of the testbed has.
            None => {
                let [a, b, c, _] = (random as u32).to_be_bytes();
                ([100, 64 | a & 0x3f, b, c], 1024 | (random >> 40) as u16)
            }
        };
        let mut adjustment = Adjustment::NONE;
        adjustment = put(frame, SOURCE, u32::from_ne_bytes(address), adjustment);
        let of_ip = adjustment.apply(u16::from_ne_bytes([frame[IP_CHECKSUM], frame[IP_CHECKSUM + 1]]));
        frame[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&of_ip.to_ne_bytes());
        let Some(at) = self.checksum else { return };
        let [high, low] = port.to_be_bytes();
        let ports = u32::from_ne_bytes([high, low, frame[SOURCE_PORT + 2], frame[SOURCE_PORT + 3]]);
        adjustment = put(frame, SOURCE_PORT, ports, adjustment);
        if at == TCP_CHECKSUM {
            let other = mix(random.wrapping_add(self.frame[47].into()));
            adjustment = put(frame, SEQUENCE, other as u32, adjustment);
            adjustment = put(frame, SEQUENCE + 4, (other >> 32) as u32, adjustment);
        }
        let checksum = adjustment.apply(u16::from_ne_bytes([frame[at], frame[at + 1]]));
        frame[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
    }
}

const TCP_CHECKSUM: usize = 50;
const UDP_CHECKSUM: usize = 40;

fn put(frame: &mut [u8], at: usize, new: u32, adjustment: Adjustment) -> Adjustment {
    let old = u32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    frame[at..at + 4].copy_from_slice(&new.to_ne_bytes());
    adjustment.replace_u32(old, new)
}

/// A number that looks like any other (the finisher of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Flood {
    fn kinds(self, macs: (Mac, Mac), to: SocketAddrV4) -> Vec<Kind> {
        let from = end([100, 64, 0, 0], 1024);
        let segment =
            |flags: u8, payload: &[u8]| Kind::new(tcp(from, to, flags).payload(payload), macs, Some(TCP_CHECKSUM));
        let datagram = || Kind::new(udp(from, to), macs, Some(UDP_CHECKSUM));
        match self {
            Self::Syns => vec![segment(SYN, &[])],
            Self::Pairs => {
                let guesses = vec![segment(0, b"guess"), segment(ACK, b"guess"), segment(ACK, &[])];
                vec![segment(SYN, &[]).then(Duration::from_millis(50), guesses)]
            }
            Self::Datagrams => vec![datagram().then(Duration::from_millis(2_500), vec![datagram()])],
            Self::Acks => vec![segment(ACK, &[]), segment(ACK, b"evenkeel")],
            Self::Resets => vec![segment(RST, &[]), segment(RST | ACK, &[])],
            Self::Fragments => {
                let part = |draft: Draft, offset, more| Kind::new(draft.fragment(offset, more), macs, None);
                let payload = [7; 64];
                vec![
                    part(udp(from, to).payload(&payload), 0, true),
                    part(udp(from, to).payload(&payload), 9, false),
                    part(tcp(from, to, SYN).payload(&payload), 0, true),
                    part(tcp(from, to, ACK).payload(&payload), 10, true),
                ]
            }
            Self::Aimed(connection) => {
                let aimed = |flags| Kind { from: Some(connection), ..segment(flags, &[]) };
                vec![aimed(RST), aimed(RST | ACK), aimed(FIN | ACK), aimed(SYN), aimed(FIN)]
            }
            Self::Mixture => {
                let parts = [Self::Syns, Self::Pairs, Self::Datagrams, Self::Acks, Self::Resets, Self::Fragments];
                parts.into_iter().flat_map(|part| part.kinds(macs, to)).collect()
            }
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syns => "SYNs",
            Self::Pairs => "pairs",
            Self::Datagrams => "UDP pairs",
            Self::Acks => "bare ACKs",
            Self::Resets => "resets",
            Self::Fragments => "fragments",
            Self::Aimed(_) => "resets and FINs for a live connection",
            Self::Mixture => "all of these",
        }
    }

    /// Sends it from the local machine to the service, for so long and not longer; so many packets a
    /// second, or as many as there can be. `cpu` is the place of the CPU that it is to keep to, if any.
    ///
    /// # Panics
    /// The kernel does not let us.
    pub fn start(self, to: SocketAddrV4, pace: Option<u64>, lasts: Duration, cpu: Option<usize>) -> Flooding {
        let stranger = Stranger::at_client();
        let kinds = self.kinds(stranger.macs(), to);
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut sender = Sender {
            stranger,
            kinds,
            pace,
            end: Instant::now() + lasts,
            is_over: Arc::clone(&is_over),
            sent: Arc::clone(&sent),
        };
        let thread = thread::spawn(move || {
            if let Some(place) = cpu {
                pin(place);
            }
            sender.run()
        });
        Flooding { is_over, sent, began: Instant::now(), thread: Some(thread) }
    }
}

/// A flood that is under way. It ends by itself, or with this.
#[derive(Debug)]
pub struct Flooding {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    began: Instant,
    thread: Option<JoinHandle<Duration>>,
}

/// What a flood has been.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Packets.
    pub sent: u64,
    /// How long it has lasted.
    pub lasted: Duration,
    /// What its thread, and the network on its CPU, have had of a CPU.
    pub cpu: Duration,
}

impl Flooding {
    /// Packets so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it.
    pub fn end(mut self) -> Flooded {
        self.is_over.store(true, Relaxed);
        let cpu = self.thread.take().map_or(Duration::ZERO, |thread| thread.join().expect("it does not panic"));
        Flooded { sent: self.sent(), lasted: self.began.elapsed(), cpu }
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

struct Sender {
    stranger: Stranger,
    kinds: Vec<Kind>,
    pace: Option<u64>,
    end: Instant,
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

/// Packets of one kind that have been sent, and those that are to come from the same sources.
#[derive(Default)]
struct Course {
    first: u64,
    second: u64,
    /// First packets, so many by then.
    when: VecDeque<(Instant, u64)>,
    /// How many first packets are old enough for a second.
    due: u64,
}

impl Sender {
    /// Sends until it is over; returns what that has had of a CPU.
    fn run(&mut self) -> Duration {
        let began = Instant::now();
        let mut frames: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(128)).collect();
        let mut courses: Vec<Course> = self.kinds.iter().map(|_| Course::default()).collect();
        let mut turn = 0;
        while !self.is_over.load(Relaxed) {
            let (now, sent) = (Instant::now(), self.sent.load(Relaxed));
            if now >= self.end || sent >= MOST {
                break;
            }
            if let Some(pace) = self.pace {
                let ahead = Duration::from_secs_f64(sent as f64 / pace as f64).saturating_sub(now - began);
                if ahead > Duration::from_millis(1) {
                    thread::sleep(ahead);
                    continue;
                }
            }
            for (kind, course) in self.kinds.iter().zip(&mut courses) {
                course.look(kind, now);
            }
            for frame in &mut frames {
                turn = (turn + 1) % self.kinds.len();
                let (kind, course) = (&self.kinds[turn], &mut courses[turn]);
                match &kind.then {
                    Some((_, seconds)) if course.second < course.due => {
                        let second = &seconds[course.second as usize % seconds.len()];
                        second.write(course.second, turn as u64 * MOST, frame);
                        course.second += 1;
                    }
                    _ => {
                        kind.write(course.first, turn as u64 * MOST, frame);
                        course.first += 1;
                    }
                }
            }
            self.sent.fetch_add(self.send(&frames), Relaxed);
        }
        cpu_time_of_thread()
    }

    /// Sends what there is, and tells how much of it left.
    fn send(&self, frames: &[Vec<u8>]) -> u64 {
        let mut parts: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let mut messages: Vec<_> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: a header of zeros is one that says nothing.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
                message
            })
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &mut messages[sent..];
            // SAFETY: as many headers as said, each with a part that lives as long as `frames`, of which the kernel only reads.
            match unsafe { libc::sendmmsg(self.stranger.socket().as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) }
            {
                // No room where it goes: what is lost on the way is lost.
                ..=0 => break,
                more => sent += more as usize,
            }
        }
        sent as u64
    }
}

impl Course {
    fn look(&mut self, kind: &Kind, now: Instant) {
        let Some((after, _)) = &kind.then else { return };
        self.when.push_back((now, self.first));
        while let Some(&(then, count)) = self.when.front()
            && now - then >= *after
        {
            self.due = count;
            self.when.pop_front();
        }
    }
}

/// CPU time that the calling thread has had.
fn cpu_time_of_thread() -> Duration {
    // SAFETY: the kernel writes a time into what is one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
