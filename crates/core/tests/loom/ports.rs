//! NAT ports that change hands while packets of both connections are on their way, by all that the core does with a packet.
//!
//! There is one port, one backend and one bucket. Whatever happens at once, the port is one client's afterwards, and no
//! packet of the backend's has gone to another than the one that it was for.

use crate::{LoomWord, explore, word};
use evenkeel_core::backend::{Backend, Kind, Link, Ports};
use evenkeel_core::flow::{
    Bucket, BucketOf, Entry, HopNumber, IdleTimes, Key as _, Meta, Now, Peer, Side, State, Timeouts, WideAddress,
    WideBucket,
};
use evenkeel_core::{
    Asked, BackendRef, BackendState, Event, FamilyTables, Ours, Reason, Service, ServiceKey, Settings, SliceFrame,
    Tables, V4, V6, Word, process,
};
use evenkeel_packets::{ACK, CLIENT_MAC, Draft, FIN, OUR_MAC, RST, SYN, View, end, tcp};
use evenkeel_wire::{IpProtocol, Ipv4Address, Ipv6Address, MacAddress, Port};
use loom::sync::Arc;
use loom::thread;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const WEB: SocketAddr = end([10, 0, 0, 10], 80);
const NAT: SocketAddr = end([10, 0, 0, 12], 10_000);
const SERVER: SocketAddr = end([10, 0, 1, 2], 8080);
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const BACKEND: BackendRef = BackendRef { index: 0, generation: 1 };

/// Memory of which loom is told only if somebody writes to it.
enum Memory {
    Shared(LoomWord),
    Constant(u64),
}

impl Word for Memory {
    fn load(&self) -> u64 {
        match self {
            Self::Shared(word) => word.load(),
            Self::Constant(value) => *value,
        }
    }

    fn store(&self, value: u64) {
        let Self::Shared(word) = self else { panic!("nobody writes here") };
        word.store(value);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        let Self::Shared(word) = self else { panic!("nobody writes here") };
        word.compare_exchange(current, new)
    }

    fn publish(&self, value: u64) {
        let Self::Shared(word) = self else { panic!("nobody writes here") };
        word.publish(value);
    }
}

struct Plane {
    settings: Settings,
    bucket: Bucket<Memory>,
    backend: Backend<Memory>,
    hop: Memory,
    clock: AtomicU32,
}

fn peer(end: SocketAddr) -> Peer {
    let IpAddr::V4(address) = end.ip() else { panic!("{end:?}") };
    Peer { address: address.into(), port: Port::from_number(end.port()) }
}

fn client(n: u8) -> SocketAddr {
    end([192, 0, 2, n], 40_000)
}

/// What client `n` begins with, and what the backend answers it with.
fn numbers(n: u8) -> (u32, u32) {
    (u32::from(n) << 24, u32::from(n) << 24 | 1 << 23)
}

impl Plane {
    /// With room for this many entries: the rest of the bucket is others' connections.
    fn new(room: usize) -> Self {
        let shared = || Entry { meta: shared(), addresses: shared(), ports: shared(), peer: shared() };
        let taken = Meta(0).with_state(State::Established).with_seen(START).0;
        let others = || Entry {
            meta: Memory::Constant(taken),
            addresses: Memory::Constant(0),
            ports: Memory::Constant(0),
            peer: Memory::Constant(0),
        };
        let constant = Memory::Constant;
        let link = Link::new(MacAddress(SERVER_MAC), BACKEND.generation, BackendState::Up);
        Self {
            settings: Settings {
                nat_addresses: 1,
                nat_port_first: NAT.port(),
                nat_port_last: NAT.port(),
                mac: MacAddress(OUR_MAC),
                timeouts: Timeouts::uniform(IdleTimes::DEFAULT),
                ..Settings::EMPTY
            },
            bucket: BucketOf(std::array::from_fn(|place| if place < room { shared() } else { others() })),
            backend: Backend {
                link: constant(link.0),
                kind: constant(Kind::new(IpProtocol::TCP).0),
                ports: constant(Ports::new(peer(SERVER).port, peer(WEB).port, Port::default()).0),
                reserved: constant(0),
                target: Ipv6Address::from(SERVER.ip()).bits().map(constant),
                service: Ipv6Address::from(WEB.ip()).bits().map(constant),
            },
            // Proved just now: nobody has any news of it.
            hop: constant(MacAddress(CLIENT_MAC).bits() | 1 << 55 | u64::from(START.tick().0 >> 8) << 56),
            clock: AtomicU32::new(START.0),
        }
    }

    fn send(&self, draft: &Draft) -> (Reason, Option<View>) {
        let mut bytes = draft.bytes();
        let reason = process(&mut SliceFrame(&mut bytes), self);
        let is_forwarded = matches!(reason, Reason::ToBackend | Reason::ToClient);
        (reason, is_forwarded.then(|| View::of(&bytes)))
    }

    /// Whether this client's segment gets to the backend, from the port.
    fn says(&self, n: u8, flags: u8) -> bool {
        let (own, other) = numbers(n);
        let sequence = if flags & SYN != 0 { own } else { own + 1 };
        let (reason, sent) = self.send(&tcp(client(n), WEB, flags).numbers(sequence, other + 1));
        let is_sent = reason == Reason::ToBackend;
        if let Some(view) = sent {
            assert_eq!((view.from, view.to), (NAT, SERVER));
        }
        is_sent
    }

    /// Whom the backend's segment to this client gets to, if anybody.
    fn answers(&self, n: u8, flags: u8) -> Option<SocketAddr> {
        let (other, own) = numbers(n);
        let sequence = if flags & SYN != 0 { own } else { own + 1 };
        let (reason, sent) = self.send(&tcp(SERVER, NAT, flags).numbers(sequence, other + 1));
        assert!(sent.is_none() || reason == Reason::ToClient);
        sent.map(|view| view.to)
    }

    fn pass(&self, units: u32) {
        self.clock.fetch_add(units, Relaxed);
    }

    /// A client whose SYN has gone through completes its handshake, by its own numbers; another has nothing to complete.
    fn judge_newcomer(&self, n: u8, is_in: bool) {
        if is_in {
            assert_eq!(self.answers(n, SYN | ACK), Some(client(n)));
            assert!(self.says(n, ACK));
        }
        let its_own = self.bucket.0.iter().filter_map(Entry::read).filter(|found| {
            (found.key.source() == peer(client(n)) || found.peer() == peer(client(n)))
                && found.meta.state() == State::Established
        });
        assert_eq!(its_own.count(), if is_in { 2 } else { 0 });
    }

    /// The port is one client's at most; he alone speaks from it, and he alone is answered.
    fn judge(&self, clients: &[u8]) {
        let owners: Vec<_> =
            self.bucket.0.iter().filter_map(Entry::read).filter(|found| found.key.source() == peer(SERVER)).collect();
        assert!(owners.len() <= 1, "{} have the port", owners.len());
        let owner = owners.first().map(|found| found.peer());
        drop(owners);
        for &n in clients {
            let is_owner = owner == Some(peer(client(n)));
            assert!(!self.says(n, ACK) || is_owner, "client {n} speaks from a port that is not its own");
            let heard = self.answers(n, ACK);
            assert!(heard.is_none_or(|to| Some(peer(to)) == owner), "{heard:?} hears what is {owner:?}'s");
        }
    }
}

const START: Now = Now(40_000 << 6);

fn shared() -> Memory {
    Memory::Shared(word())
}

impl Tables for Plane {
    type Word = Memory;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> Now {
        Now(self.clock.load(Relaxed))
    }

    fn allowance(&self, _: u32) -> Option<&Memory> {
        None
    }

    fn asked(&self, _: u32) -> Option<&Asked<Memory>> {
        None
    }

    fn hop(&self, _: HopNumber) -> Option<&Memory> {
        Some(&self.hop)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        let web = ServiceKey::ipv4(peer(WEB).address, peer(WEB).port, IpProtocol::TCP);
        (*key == web).then_some(Service { table: 0, flags: Service::PLAIN, idle: 0, newcomers: 0 })
    }

    fn maglev(&self, _: u32, _: u32) -> Option<BackendRef> {
        Some(BACKEND)
    }

    fn backend(&self, _: u16) -> Option<&Backend<Memory>> {
        Some(&self.backend)
    }

    fn count(&self, _: Reason) {}

    fn count_events(&self, _: Event, _: u32) {}

    fn count_traffic(&self, _: u16, _: Side, _: u32) {}
}

impl FamilyTables<V4> for Plane {
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        FamilyTables::<V4>::is_ours(self, address)
    }

    fn ours(&self, address: Ipv4Address) -> Option<Ours> {
        [peer(WEB).address, peer(NAT).address].contains(&address).then_some(Ours::HOSTS)
    }

    fn flows(&self, _: u32) -> Option<&Bucket<Memory>> {
        Some(&self.bucket)
    }

    fn nat_address(&self, _: u32) -> Option<Ipv4Address> {
        Some(peer(NAT).address)
    }
}

impl FamilyTables<V6> for Plane {
    fn may_be_ours(&self, _: WideAddress) -> bool {
        false
    }

    fn ours(&self, _: WideAddress) -> Option<Ours> {
        None
    }

    fn flows(&self, _: u32) -> Option<&WideBucket<Memory>> {
        None
    }

    fn nat_address(&self, _: u32) -> Option<WideAddress> {
        None
    }
}

/// Client 1 has come so far, and a while later something of its connection's happens while client 2 wants its port.
fn meets_a_newcomer(
    before: fn(&Plane),
    happens: impl Fn(&Plane) -> bool + Copy + Send + Sync + 'static,
    judge: impl Fn(&Plane, bool, bool) + Copy + Send + Sync + 'static,
) {
    explore(2, move || {
        let plane = Arc::new(Plane::new(4));
        assert!(plane.says(1, SYN));
        before(&plane);
        plane.pass(100);
        let other = Arc::clone(&plane);
        let thread = thread::spawn(move || other.says(2, SYN));
        let happened = happens(&plane);
        let is_taken_over = thread.join().expect("the thread ends");
        judge(&plane, happened, is_taken_over);
        plane.judge(&[1, 2]);
    });
}

fn half_open(_: &Plane) {}

fn answered(plane: &Plane) {
    assert_eq!(plane.answers(1, SYN | ACK), Some(client(1)));
}

fn established(plane: &Plane) {
    answered(plane);
    assert!(plane.says(1, ACK));
}

fn doubtful(plane: &Plane) {
    established(plane);
    assert!(plane.says(1, RST));
}

fn finished(plane: &Plane) {
    established(plane);
    assert!(plane.says(1, FIN | ACK));
    assert_eq!(plane.answers(1, FIN | ACK), Some(client(1)));
}

#[test]
fn a_handshake_is_completed_or_its_port_taken_over_and_never_both() {
    meets_a_newcomer(
        answered,
        |plane| plane.says(1, ACK),
        |plane, _, is_taken_over| {
            // What met the change was not yet the newcomer's; what comes after it is sent by one of them.
            assert_ne!(plane.says(1, ACK), is_taken_over);
            plane.judge_newcomer(2, is_taken_over);
        },
    );
}

#[test]
fn an_answer_gets_to_whom_it_is_for_or_to_nobody() {
    meets_a_newcomer(
        half_open,
        |plane| plane.answers(1, SYN | ACK).inspect(|to| assert_eq!(*to, client(1))).is_some(),
        |plane, _, is_taken_over| plane.judge_newcomer(2, is_taken_over),
    );
}

#[test]
fn what_is_left_of_a_finished_connection_gets_to_whom_it_is_for_or_to_nobody() {
    meets_a_newcomer(
        finished,
        |plane| plane.answers(1, ACK).inspect(|to| assert_eq!(*to, client(1))).is_some(),
        |plane, _, is_taken_over| plane.judge_newcomer(2, is_taken_over),
    );
}

#[test]
fn a_connection_goes_on_after_a_stray_reset_or_its_port_is_taken_over_and_never_both() {
    meets_a_newcomer(
        doubtful,
        |plane| plane.says(1, ACK),
        |plane, _, is_taken_over| {
            assert_ne!(plane.says(1, ACK), is_taken_over);
            plane.judge_newcomer(2, is_taken_over);
        },
    );
}

#[test]
fn a_client_begins_anew_or_its_port_is_taken_over_and_never_both() {
    meets_a_newcomer(
        finished,
        |plane| plane.says(1, SYN),
        |plane, has_begun, is_taken_over| {
            assert!(has_begun || is_taken_over);
            plane.judge_newcomer(2, is_taken_over);
        },
    );
}

#[test]
fn of_two_newcomers_one_at_most_has_the_port() {
    explore(2, || {
        let plane = Arc::new(Plane::new(4));
        assert!(plane.says(1, SYN));
        plane.pass(100);
        let other = Arc::clone(&plane);
        let thread = thread::spawn(move || other.says(2, SYN));
        let mine = plane.says(3, SYN);
        let theirs = thread.join().expect("the thread ends");
        assert!(!(mine && theirs), "two have it");
        assert!(!plane.says(1, ACK) || !(mine || theirs));
        plane.judge(&[1, 2, 3]);
    });
}
