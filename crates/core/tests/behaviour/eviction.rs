//! A full table: who makes room, and who never does.

use crate::support::*;
use evenkeel_core::flow::{
    Bucket, FlowKey, HopNumber, IdleTimes, Insertion, Key as _, Meta, NewEntry, Now, Side, State, Tick, Victim, find,
    insert,
};
use evenkeel_core::{Event, Reason};
use evenkeel_wire::IpProtocol;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Establishes connections until the table takes no more.
fn fill(plane: &MemoryPlane) -> Vec<Connection> {
    let mut connections = Vec::new();
    let mut refused = 0;
    for n in 0.. {
        match plane.send(&tcp(client(n), WEB, SYN)) {
            (Reason::ToBackend, Some(view)) => {
                let connection = Connection { client: client(n), nat: view.from, backend: view.to };
                plane.to_client(&connection.answers(SYN | ACK));
                plane.to_backend(&connection.says(ACK));
                connections.push(connection);
            }
            (Reason::FlowTableFull, None) => refused += 1,
            other => panic!("{other:?}"),
        }
        if refused == 100 {
            break;
        }
    }
    connections
}

#[test]
fn a_flood_never_evicts_an_established_connection() {
    let plane: MemoryPlane = scene(16);
    let connections: Vec<_> = (0..30).map(|n| plane.establish(client(n))).collect();
    let mut opened = 0;
    for n in 1000..6000 {
        let (reason, _) = plane.send(&tcp(client(n), WEB, SYN));
        assert!(matches!(reason, Reason::ToBackend | Reason::FlowTableFull), "{reason:?}");
        opened += u64::from(reason == Reason::ToBackend);
        // Stray segments, as attackers send them.
        plane.verdict(&tcp(client(n), WEB, RST));
        plane.verdict(&tcp(client(n + 6000), WEB, ACK));
    }
    assert!(opened > 1000 && plane.happened(Event::HalfOpenEvicted) > opened, "two entries each made room");
    for connection in &connections {
        plane.assert_works(connection);
        plane.assert_state(connection, State::Established);
    }
}

#[test]
fn a_table_full_of_established_connections_says_so() {
    let plane: MemoryPlane = scene(1);
    let connections: Vec<_> = (0..4).map(|n| plane.establish(client(n))).collect();
    for n in 10..20 {
        assert_eq!(plane.verdict(&tcp(client(n), WEB, SYN)), Reason::FlowTableFull);
    }
    assert_eq!((plane.counted(Reason::FlowTableFull), plane.happened(Event::HalfOpenEvicted)), (10, 0));
    connections.iter().for_each(|connection| plane.assert_works(connection));
    plane.wait(Tick::span(IdleTimes::DEFAULT.established) + 2);
    plane.establish(client(10));
    assert_eq!(plane.happened(Event::HalfOpenEvicted), 0);
}

#[test]
fn a_larger_table_fills_without_harm() {
    let plane: MemoryPlane = scene(8);
    let connections = fill(&plane);
    assert!(connections.len() >= 24, "{} of 32", connections.len());
    connections.iter().for_each(|connection| plane.assert_works(connection));
}

#[test]
fn the_oldest_half_open_connection_makes_room_first() {
    let plane: MemoryPlane = scene(1);
    let mut half_open = Vec::new();
    for n in 0..4 {
        half_open.push(plane.open(client(n)));
        plane.wait(1);
    }
    // Each newcomer needs both entries of one connection, and takes those of the oldest.
    for n in 0..4 {
        let oldest = half_open[usize::from(n)];
        plane.open(client(10 + n));
        assert_eq!(plane.states(&oldest), (State::Free, State::Free));
        assert_eq!(plane.happened(Event::HalfOpenEvicted), 2 * u64::from(n + 1));
        for younger in &half_open[usize::from(n) + 1..] {
            plane.assert_state(younger, State::Opening);
        }
        plane.wait(1);
    }
}

fn client_entry(n: u16, protocol: IpProtocol, seen: Now) -> NewEntry {
    let key = FlowKey::new(address(client(n)), address(WEB), protocol);
    NewEntry::new(key, Side::Client, seen, FIRST, 0, address(at(NAT, n)), HopNumber(7))
}

fn set_state(bucket: &Bucket<AtomicU64>, slot: u8, state: State, seen: Now) {
    let meta = &bucket.0[usize::from(slot)].meta;
    meta.store(Meta(meta.load(Relaxed)).with_state(state).with_seen(seen).0, Relaxed);
}

#[test]
fn half_open_makes_room_before_answered_and_answered_before_closing() {
    let plane: MemoryPlane = scene(1);
    let bucket = &plane.buckets[0];
    let timeouts = &plane.settings.timeouts;
    let entry = |n: u16, seen: u32| client_entry(n, IpProtocol::TCP, Now(seen));
    let now = Now(1040);
    // Two of each state, the older one second; the states that go first are the youngest.
    let states = [State::Established, State::Closing, State::Answered, State::Opening];
    for (n, state) in states.iter().flat_map(|state| [*state; 2]).enumerate() {
        let seen = 1000 + 10 * (n as u32 / 2) - n as u32 % 2;
        let Insertion::Done { slot, .. } = insert(bucket, 0, &entry(n as u16, seen), timeouts, now) else {
            panic!("{n}")
        };
        set_state(bucket, slot, state, Now(seen));
    }
    let gone = || (0..8).filter(|n| find(bucket, entry(*n, 0).key(), 0).is_none()).collect::<Vec<_>>();
    let mut expected = Vec::new();
    for (newcomer, victim) in (100..).zip([7, 6, 5, 4, 3, 2]) {
        let Insertion::Done { slot, victim: Some(kind), .. } = insert(bucket, 0, &entry(newcomer, 1040), timeouts, now)
        else {
            panic!("{newcomer} has evicted nobody")
        };
        assert_eq!(kind, if victim < 4 { Victim::Finished } else { Victim::HalfOpen });
        set_state(bucket, slot, State::Established, now);
        expected.insert(0, victim);
        assert_eq!(gone(), expected);
    }
    assert_eq!(insert(bucket, 0, &entry(200, 1040), timeouts, now), Insertion::Full);
}

/// One of each kind in one bucket, and all of one age: the order in which they make room for a newcomer. The last one never
/// does.
#[test]
fn every_kind_of_flow_has_its_turn() {
    let (tcp, udp) = (IpProtocol::TCP, IpProtocol::UDP);
    let half_open = [(State::Opening, Some(Victim::HalfOpen)), (State::Answered, Some(Victim::HalfOpen))];
    let half_open = half_open.map(|(state, victim)| (tcp, state, victim));
    let finished = (tcp, State::Closing, Some(Victim::Finished));
    let asked = [State::Opening, State::Answered].map(|state| (udp, state, Some(Victim::Udp)));
    let stream = (udp, State::Established, Some(Victim::Udp));
    let doubtful = (tcp, State::Reset, Some(Victim::Finished));
    let proved = (tcp, State::HalfClosed, None);
    let to_tcp = [half_open[0], half_open[1], asked[0], finished, asked[1], stream, doubtful, proved];
    let to_udp = [asked[0], asked[1], half_open[0], half_open[1], finished, stream, doubtful, proved];
    for (protocol, order) in [(tcp, to_tcp), (udp, to_udp)] {
        assert_order(protocol, order);
    }
}

fn assert_order(newcomers: IpProtocol, order: [(IpProtocol, State, Option<Victim>); 8]) {
    let plane: MemoryPlane = scene(1);
    let bucket = &plane.buckets[0];
    let timeouts = &plane.settings.timeouts;
    let (then, now) = (Now(1 << 12), Now((1 << 12) + 64));
    // The last to go comes first.
    for (n, (protocol, state, _)) in order.into_iter().enumerate().rev() {
        let Insertion::Done { slot, .. } = insert(bucket, 0, &client_entry(n as u16, protocol, then), timeouts, now)
        else {
            panic!("{n}")
        };
        set_state(bucket, slot, state, then);
    }
    for (n, (protocol, state, victim)) in order.into_iter().enumerate() {
        let newcomer = client_entry(100 + n as u16, newcomers, now);
        let outcome = insert(bucket, 0, &newcomer, timeouts, now);
        let Some(victim) = victim else {
            assert_eq!(outcome, Insertion::Full);
            continue;
        };
        let Insertion::Done { slot, victim: found, .. } = outcome else { panic!("{state:?}: {outcome:?}") };
        assert_eq!(found, Some(victim), "{state:?}");
        assert!(find(bucket, client_entry(n as u16, protocol, then).key(), 0).is_none(), "{state:?}");
        set_state(bucket, slot, State::HalfClosed, now);
    }
}

#[test]
fn an_abandoned_entry_makes_room_before_a_half_open_one() {
    let plane: MemoryPlane = scene(1);
    let abandoned = plane.establish(client(1));
    plane.wait(Tick::span(IdleTimes::DEFAULT.established) + 2);
    let half_open: Vec<_> = (2..5).map(|n| plane.open(client(n))).collect();
    plane.open(client(5));
    assert_eq!(plane.states(&abandoned), (State::Free, State::Free));
    half_open.iter().for_each(|connection| plane.assert_state(connection, State::Opening));
    assert_eq!(plane.happened(Event::HalfOpenEvicted), 0);
}

/// Half of a half-open connection may be evicted; the other half is then worth nothing.
#[test]
fn an_evicted_connection_is_gone_from_both_sides() {
    let plane: MemoryPlane = scene(1);
    let victims: Vec<_> = (0..4).map(|n| plane.open(client(n))).collect();
    (10..14).for_each(|n| _ = plane.open(client(n)));
    for victim in victims {
        let (reason, _) = plane.send(&victim.answers(SYN | ACK));
        // No service listens on a NAT port, so a stray answer is not even looked at twice.
        assert!(matches!(reason, Reason::FlowMissing | Reason::NoService | Reason::ToClient), "{reason:?}");
        if reason == Reason::ToClient {
            let owner = plane.remembered().into_iter().find(|entry| entry.key.destination() == address(victim.nat));
            assert_ne!(owner.map(|entry| entry.peer), Some(address(victim.client)), "the port is somebody else's now");
        }
        assert_eq!(plane.verdict(&victim.says(ACK)), Reason::FlowMissing);
    }
}

#[test]
fn an_evicted_clients_port_is_never_used_by_two() {
    // Few ports and few entries: every port changes hands all the time.
    let mut plane: MemoryPlane = scene(4);
    (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_011);
    let mut opened = Vec::new();
    for round in 0..2000u16 {
        let n = round.wrapping_mul(7) % 97;
        if let (Reason::ToBackend, Some(view)) = plane.send(&tcp(client(n), WEB, SYN)) {
            opened.push(Connection { client: client(n), nat: view.from, backend: view.to });
        }
        // Of all that were ever opened, whoever can still speak does so from a port of which it is the owner.
        let mut speakers = HashSet::new();
        let clients: HashSet<_> = opened.iter().rev().take(60).map(|connection| connection.client).collect();
        for speaker in clients {
            if let (Reason::ToBackend, Some(view)) = plane.send(&tcp(speaker, WEB, ACK)) {
                assert!(
                    speakers.insert((view.from, view.to)),
                    "two clients speak from {:?} to {:?}",
                    view.from,
                    view.to
                );
                let owner = plane.to_client(&tcp(view.to, view.from, ACK)).to;
                assert_eq!(owner, speaker);
            }
        }
        plane.wait(round % 2);
        // Keep some of them half-open.
        if round % 3 == 0 {
            plane.wait(Tick::span(IdleTimes::DEFAULT.established) + 2);
        }
    }
}

/// Both entries of a connection may belong into one bucket. If that has room for one, the second must not take the
/// first one's place: the connection would be opened, and never answered.
#[test]
fn a_new_connection_does_not_make_room_for_itself() {
    let plane: MemoryPlane = scene(8);
    for n in 0..400 {
        let (entries, opened) = (plane.remembered().len(), plane.happened(Event::FlowOpened));
        let (reason, view) = plane.send(&tcp(client(n), WEB, SYN));
        let grown = plane.remembered().len() - entries;
        assert_eq!(grown, if reason == Reason::ToBackend { 2 } else { 0 }, "client {n}: {}", reason.name());
        assert_eq!(plane.happened(Event::FlowOpened) - opened, u64::from(reason == Reason::ToBackend));
        if let Some(view) = view {
            plane.to_client(&tcp(view.to, view.from, SYN | ACK));
            plane.to_backend(&tcp(client(n), WEB, ACK));
        }
    }
}
