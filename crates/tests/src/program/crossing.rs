//! Conversations through two workers, each of which sees one direction only: a client's packets come to one queue, and
//! what the backend answers comes to the other.
//!
//! This is the wire of a DPDK port with two queues. Whoever drives a queue polls its worker, takes what it has sent, and
//! plays the host that it was sent to. The worst that spreading by a hash of the ports may do, for every packet.

use super::dpdk::DpdkUnderTest;
use super::ledger::Connection;
use super::rig::Rig;
use super::scenes::{self, WEB, backend_mac, client};
use super::setup::Setup;
use super::table;
use evenkeel_control::Plane as _;
use evenkeel_control::config::Protocol;
use evenkeel_core::{Event, Reason};
use evenkeel_packets::{ACK, CLIENT_MAC, FIN, Packet, SYN};
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections, all of them open at once. Even ones begin at queue 0, odd ones at queue 1.
const CONVERSATIONS: u16 = 1000;
/// Packets that each client sends, from SYN to FIN; each is answered.
const ROUNDS: u16 = 120;
/// The clock moves on once in so many packets: often enough that stamps are renewed several times, from both sides, and
/// not so often that a NAT port could have a second owner within the test.
const PACKETS_PER_TICK: u64 = 8000;
/// Only a guard against waiting for ever for a packet that was lost.
const DEADLINE: Duration = Duration::from_secs(200);

/// The hosts of all conversations.
#[expect(missing_debug_implementations, reason = "the workers have none")]
pub struct Crossing<'r, 'a, 'p> {
    dpdk: &'r DpdkUnderTest<'a, 'p>,
    conversations: Vec<Conversation>,
    /// Conversations that have not begun, and packets that are on their way to a queue or in it.
    pending: AtomicU64,
    /// Packets that were given to the queues.
    offered: AtomicU64,
    /// SYNs that came to a backend which had had them.
    repeated: AtomicU64,
    faults: Mutex<Vec<String>>,
}

struct Conversation {
    client: SocketAddr,
    /// NAT address and backend, as the first packet showed them.
    way: OnceLock<(SocketAddr, SocketAddr)>,
    /// Answers that have reached the client.
    answered: AtomicU16,
}

/// What a packet carries, so that whoever gets it knows what to do.
struct Note {
    number: u16,
    round: u16,
    /// Sent twice: this one by the other queue, and it is not answered.
    is_copy: bool,
}

impl Note {
    fn bytes(&self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.number.to_be_bytes(), self.round.to_be_bytes());
        [a, b, c, d, self.is_copy.into()]
    }

    fn of(payload: &[u8]) -> Option<Self> {
        let &[a, b, c, d, is_copy] = payload else { return None };
        let (number, round) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Self { number, round, is_copy: is_copy != 0 })
    }

    /// The queue that the client's packets come to.
    fn home(&self) -> usize {
        usize::from(self.number % 2)
    }

    fn flags(&self) -> u8 {
        match self.round {
            0 => SYN,
            LAST => FIN | ACK,
            _ => ACK,
        }
    }
}

const LAST: u16 = ROUNDS - 1;

/// Packets on their way to each queue.
type Outbox = [VecDeque<Vec<u8>>; 2];

impl<'r, 'a, 'p> Crossing<'r, 'a, 'p> {
    /// What the rig must be made with: NAT ports that are few enough to be wanted by two at times.
    pub fn setup() -> Setup {
        Setup { queues: 2, ..Setup::new(scenes::few_ports(20_000, 22_999), 4 * u32::from(CONVERSATIONS)) }
    }

    /// Nobody has said anything yet.
    pub fn new(dpdk: &'r DpdkUnderTest<'a, 'p>) -> Self {
        let conversation = |n| Conversation { client: client(n), way: OnceLock::new(), answered: AtomicU16::new(0) };
        Self {
            dpdk,
            conversations: (0..CONVERSATIONS).map(conversation).collect(),
            pending: AtomicU64::new(CONVERSATIONS.into()),
            offered: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            faults: Mutex::default(),
        }
    }

    /// Drives one of the two queues until every conversation is over; both must be driven at once.
    pub fn drive(&self, queue: usize) {
        let mut lane = self.dpdk.lane(queue);
        let mut outbox = Outbox::default();
        let end = Instant::now() + DEADLINE;
        let mut turn = |outbox: &mut Outbox| {
            for (queue, packets) in outbox.iter_mut().enumerate() {
                while packets.front().is_some_and(|packet| self.offer(queue, packet)) {
                    packets.pop_front();
                }
            }
            let busy = lane.poll();
            lane.sent().iter().for_each(|packet| self.arrive(queue, packet, outbox));
            if !busy {
                // Somebody else may need the CPU, such as the other one.
                thread::yield_now();
            }
            if Instant::now() > end {
                self.fault("a packet is lost: nothing moves any more".to_owned());
            }
            busy
        };
        for number in (0..CONVERSATIONS).filter(|number| usize::from(number % 2) == queue) {
            let conversation = &self.conversations[usize::from(number)];
            let note = Note { number, round: 0, is_copy: false };
            // A SYN may be told to try again, if two lcores want one place in the flow table in the same instant. Or it is
            // still in the ring, unseen: what is put into a ring shows when whoever began to put something into it before
            // has ended. Then it is said twice, as clients do.
            while conversation.way.get().is_none() && self.is_sound() {
                if self.offer(queue, &conversation.says(&note)) {
                    while turn(&mut outbox) {}
                } else {
                    turn(&mut outbox);
                }
            }
        }
        while self.pending.load(SeqCst) > 0 && self.is_sound() {
            turn(&mut outbox);
        }
    }

    fn offer(&self, queue: usize, packet: &[u8]) -> bool {
        let taken = self.dpdk.inlet(queue).offer(packet);
        if taken && self.offered.fetch_add(1, SeqCst).is_multiple_of(PACKETS_PER_TICK) {
            self.dpdk.clock().advance(1);
        }
        taken
    }

    /// A packet that this queue's worker has sent arrives at its host.
    fn arrive(&self, queue: usize, packet: &[u8], outbox: &mut Outbox) {
        if let Err(fault) = self.try_arrive(queue, packet, outbox) {
            self.fault(format!("{fault}: {packet:02x?}"));
        }
        self.pending.fetch_sub(1, SeqCst);
    }

    fn try_arrive(&self, queue: usize, bytes: &[u8], outbox: &mut Outbox) -> Result<(), String> {
        let packet = Packet::of(bytes).ok_or("what is sent is no packet")?;
        if packet.clone().bytes() != bytes {
            return Err("a checksum is wrong".to_owned());
        }
        let note = Note::of(&packet.payload).ok_or("the payload has changed")?;
        let conversation = &self.conversations[usize::from(note.number)];
        let (home, away) = (note.home(), 1 - note.home());
        let mut send = |queue: usize, packet| {
            self.pending.fetch_add(1, SeqCst);
            outbox[queue].push_back(packet);
        };
        if packet.destination() == conversation.client {
            let round = conversation.answered.fetch_add(1, SeqCst);
            let expected = (away, WEB, CLIENT_MAC, round);
            if (queue, packet.source(), packet.ethernet.destination, note.round) != expected {
                return Err(format!("answer {} came by queue {queue} where {expected:?} was due", note.round));
            }
            if round < LAST {
                let next = Note { round: round + 1, is_copy: false, ..note };
                send(home, conversation.says(&next));
                send(away, conversation.says(&Note { is_copy: true, ..next }));
            }
            return Ok(());
        }
        let way = (packet.source(), packet.destination());
        let is_first = conversation.way.set(way).is_ok();
        let known = *conversation.way.get_or_init(|| way);
        let mac = backend_mac(known.1.ip());
        if (way, packet.ethernet.destination) != (known, mac) {
            return Err(format!("a connection by {known:?} has moved to {way:?}"));
        }
        if note.round == 0 && !is_first {
            // It was not among those that had to come.
            self.repeated.fetch_add(1, SeqCst);
            self.pending.fetch_add(1, SeqCst);
        } else if !note.is_copy {
            send(away, conversation.answers(&note));
        }
        Ok(())
    }

    fn fault(&self, fault: String) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    fn is_sound(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What must be true when every conversation is over.
    #[track_caller]
    pub fn assert_is_over(self, rig: &Rig) {
        let faults = self.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty(), "{} faults, such as {:#?}", faults.len(), &faults[..faults.len().min(3)]);
        let ways: HashSet<_> = self.conversations.iter().map(|conversation| conversation.way.get()).collect();
        assert_eq!(ways.len(), self.conversations.len(), "a NAT port was used twice towards one backend");
        for conversation in &self.conversations {
            assert_eq!(conversation.answered.load(SeqCst), ROUNDS, "{}", conversation.client);
        }
        let (conversations, rounds) = (u64::from(CONVERSATIONS), u64::from(ROUNDS));
        // All but the SYNs were sent twice, and some of these.
        let repeated = self.repeated.into_inner();
        let (said, answered) = (conversations * (2 * rounds - 1) + repeated, conversations * rounds);
        let counters = rig.counters();
        let verdict = |reason: Reason| counters.verdicts[reason as usize];
        let again = verdict(Reason::FlowContended);
        assert_eq!((verdict(Reason::ToBackend), verdict(Reason::ToClient)), (said, answered));
        assert_eq!(counters.verdicts.iter().sum::<u64>(), said + answered + again);
        assert_eq!(self.offered.into_inner(), said + answered + again);
        assert_eq!(counters.events[Event::FlowOpened as usize], conversations);
        assert_eq!(counters.events[Event::TransmitQueueFull as usize], 0);
        assert!(counters.events[Event::PortCollision as usize] > 0, "no two wanted one NAT port");
        let carried: Vec<_> = (0..3).map(|index| rig.plane().traffic(index).expect("it has a place")).collect();
        let packets = |of: fn(&evenkeel_core::Traffic) -> u64| carried.iter().map(of).sum::<u64>();
        assert_eq!((packets(|sum| sum.client_packets), packets(|sum| sum.backend_packets)), (said, answered));
        let entries = table::entries(rig.plane());
        assert_eq!(entries.len(), 2 * self.conversations.len());
        assert_eq!(table::violations(rig.plane()), [""; 0]);
        println!("{} packets, {again} told to try again, {repeated} SYNs said twice", said + answered + again);
    }
}

impl Conversation {
    fn connection(&self) -> Connection {
        // A client's packet does not need to know the way.
        let (nat, backend) = self.way.get().copied().unwrap_or((WEB, WEB));
        let (protocol, client) = (Protocol::Tcp, self.client);
        Connection { protocol, client, client_mac: CLIENT_MAC, service: WEB, nat, backend }
    }

    fn says(&self, note: &Note) -> Vec<u8> {
        self.connection().says(note.flags()).payload(&note.bytes()).bytes()
    }

    fn answers(&self, note: &Note) -> Vec<u8> {
        self.connection().answers(note.flags() | ACK).payload(&note.bytes()).bytes()
    }
}
