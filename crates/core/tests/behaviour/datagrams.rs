//! UDP: who is asked for room, and that neither protocol's floods lock the other one out.

use crate::support::*;
use evenkeel_core::flow::{Key as _, State};
use evenkeel_core::{Event, Reason};

/// Clients that nobody has seen yet.
struct Strangers<'p> {
    plane: &'p MemoryPlane,
    next: u16,
}

impl<'p> Strangers<'p> {
    fn of(plane: &'p MemoryPlane) -> Self {
        Self { plane, next: 1000 }
    }

    /// So many of them send a datagram, and are answered or not.
    fn ask(&mut self, count: u16, is_answered: bool) {
        for _ in 0..count {
            self.next += 1;
            let (reason, view) = self.plane.send(&udp(client(self.next), DNS));
            assert!(matches!(reason, Reason::ToBackend | Reason::FlowTableFull), "{}", reason.name());
            if let Some(view) = view.filter(|_| is_answered) {
                self.plane.to_client(&udp(view.to, view.from));
            }
        }
        self.plane.pass(1);
    }

    /// So many of them send a SYN, and are answered or not.
    fn open(&mut self, count: u16, is_answered: bool) {
        for _ in 0..count {
            self.next += 1;
            let (reason, view) = self.plane.send(&tcp(client(self.next), WEB, SYN));
            assert!(matches!(reason, Reason::ToBackend | Reason::FlowTableFull), "{}", reason.name());
            if let Some(view) = view.filter(|_| is_answered) {
                self.plane.to_client(&tcp(view.to, view.from, SYN | ACK));
            }
        }
        self.plane.pass(1);
    }
}

const BUCKETS: u16 = 64;

/// A full table, in which so many packets fill every place once more.
const FULL: u16 = BUCKETS * 8;
/// So many make two entries in every bucket.
const PRESSURE: u16 = BUCKETS;

/// How many of a hundred TCP handshakes are completed if so much comes before and after their answer.
fn handshakes(plane: &MemoryPlane, mut between: impl FnMut(State)) -> usize {
    let mut completed = Vec::new();
    for n in 0..100 {
        let Some(view) = plane.send(&tcp(client(n), WEB, SYN)).1 else { continue };
        let connection = Connection { client: client(n), nat: view.from, backend: view.to };
        between(State::Opening);
        plane.verdict(&connection.answers(SYN | ACK));
        between(State::Answered);
        if plane.verdict(&connection.says(ACK)) == Reason::ToBackend {
            completed.push(connection);
        }
    }
    completed.iter().for_each(|connection| plane.assert_works(connection));
    completed.len()
}

/// How many of a hundred questions are answered if so much comes between.
fn questions(plane: &MemoryPlane, mut between: impl FnMut()) -> usize {
    let answered = (0..100).filter(|&n| {
        let Some(view) = plane.send(&udp(client(n), DNS)).1 else { return false };
        between();
        plane.verdict(&udp(view.to, view.from)) == Reason::ToClient
    });
    answered.count()
}

#[test]
fn datagrams_give_way_before_a_tcp_connection_is_refused() {
    // Streams give way last, and there is nothing else.
    let plane: MemoryPlane = scene(BUCKETS.into());
    Strangers::of(&plane).ask(2 * FULL, true);
    plane.wait(2);
    let known = plane.remembered();
    for n in 1000..1001 + 2 * FULL {
        if known.iter().any(|entry| entry.key.source() == address(client(n))) {
            plane.verdict(&udp(client(n), DNS));
        }
    }
    let streams = plane.remembered().iter().filter(|entry| entry.meta.state() == State::Established).count();
    assert!(streams > 200 && plane.remembered().len() > usize::from(FULL) * 3 / 4, "{streams}");
    // One in 64 has both of its entries in one bucket.
    let evicted = plane.happened(Event::UdpEvicted);
    let completed = handshakes(&plane, |_| {});
    assert!(completed >= 95, "{completed} of 100");
    assert!(plane.happened(Event::UdpEvicted) - evicted > 100);
}

#[test]
fn no_flood_of_datagrams_locks_tcp_out() {
    for is_answered in [false, true] {
        let plane: MemoryPlane = scene(BUCKETS.into());
        let mut strangers = Strangers::of(&plane);
        strangers.ask(2 * FULL, is_answered);
        let completed = handshakes(&plane, |_| strangers.ask(PRESSURE, is_answered));
        assert!(completed >= 90, "answered: {is_answered}: {completed} of 100");
    }
}

#[test]
fn no_flood_of_syns_locks_datagrams_out() {
    for is_answered in [false, true] {
        let plane: MemoryPlane = scene(BUCKETS.into());
        let mut strangers = Strangers::of(&plane);
        strangers.open(2 * FULL, is_answered);
        let answered = questions(&plane, || strangers.open(PRESSURE, is_answered));
        assert!(answered >= 90, "answered: {is_answered}: {answered} of 100");
    }
}

/// Each protocol's newcomers displace each other's under a flood of their own, the oldest first.
#[test]
fn under_a_flood_of_its_own_a_protocol_still_works() {
    let plane: MemoryPlane = scene(BUCKETS.into());
    let mut strangers = Strangers::of(&plane);
    strangers.ask(2 * FULL, false);
    let answered = questions(&plane, || strangers.ask(PRESSURE, false));
    assert!(answered >= 90, "{answered} of 100");

    let plane: MemoryPlane = scene(BUCKETS.into());
    let mut strangers = Strangers::of(&plane);
    strangers.open(2 * FULL, true);
    // The backend's answer takes no longer for one than for the other.
    let completed = handshakes(&plane, |state| {
        if state == State::Answered {
            strangers.open(PRESSURE, true);
        }
    });
    assert!(completed >= 90, "{completed} of 100");
}
