//! NAT addresses and ports: who gets which, and when they are free again.

use crate::support::*;
use evenkeel_core::flow::{IdleTimes, Key as _, Tick};
use evenkeel_core::{Event, PORT_TRIES, Reason};
use std::collections::HashSet;

/// The scene with few ports, all towards one backend.
fn few_ports(first: u16, last: u16) -> MemoryPlane {
    let mut plane: MemoryPlane = scene(1024);
    (plane.settings.nat_port_first, plane.settings.nat_port_last) = (first, last);
    plane.set_maglev(TABLE, &[FIRST]);
    plane
}

#[test]
fn two_clients_with_the_same_source_port_get_different_nat_ports() {
    let plane = few_ports(10_000, 10_999);
    let connections: Vec<_> = (0..500).map(|n| plane.establish(client(n))).collect();
    let ports: HashSet<_> = connections.iter().map(|connection| connection.nat).collect();
    assert_eq!(ports.len(), connections.len());
    connections.iter().for_each(|connection| plane.assert_works(connection));
}

#[test]
fn one_nat_port_serves_towards_two_backends_at_once() {
    let plane = few_ports(10_000, 10_000);
    let first = plane.establish(client(1));
    plane.set_maglev(TABLE, &[SECOND]);
    let second = plane.establish(client(2));
    assert_eq!((first.nat, first.backend, second.backend), (second.nat, H2, H3));
    plane.assert_works(&first);
    plane.assert_works(&second);
}

#[test]
fn one_nat_port_serves_tcp_and_udp_at_once() {
    let plane = few_ports(10_000, 10_000);
    let tcp = plane.establish(client(1));
    let udp = plane.open_udp(client(2));
    assert_eq!(tcp.nat, udp.nat);
    plane.assert_works(&tcp);
    assert_eq!(plane.to_client(&udp.answers_by_udp()).to, client(2));
}

#[test]
fn exhaustion_is_counted_and_harms_nobody() {
    let plane = few_ports(10_000, 10_003);
    let connections: Vec<_> = (0..4).map(|n| plane.establish(client(n))).collect();
    let ports: HashSet<_> = connections.iter().map(|connection| connection.nat.port()).collect();
    assert_eq!(ports, HashSet::from([10_000, 10_001, 10_002, 10_003]));
    let collisions = plane.happened(Event::PortCollision);

    for n in 10..20 {
        assert_eq!(plane.verdict(&tcp(client(n), WEB, SYN)), Reason::NatPortsExhausted);
    }
    assert_eq!(plane.counted(Reason::NatPortsExhausted), 10);
    assert_eq!(plane.happened(Event::PortCollision), collisions + 10 * u64::from(PORT_TRIES));
    assert_eq!(plane.happened(Event::FlowOpened), 4);
    assert_eq!(plane.remembered().len(), 8, "a refused flow leaves nothing behind");
    connections.iter().for_each(|connection| plane.assert_works(connection));
    // Towards the other backend, and by the other protocol, the same ports are free.
    assert_eq!(plane.verdict(&udp(client(10), DNS)), Reason::ToBackend);
    plane.set_maglev(TABLE, &[SECOND]);
    plane.establish(client(10));
}

#[test]
fn a_port_is_free_again_only_when_its_flow_is_gone() {
    let plane = few_ports(10_000, 10_000);
    let first = plane.establish(client(1));
    let idle = Tick::span(IdleTimes::DEFAULT.established);
    for wait in [0, idle, 1] {
        plane.wait(wait);
        assert_eq!(plane.verdict(&tcp(client(2), WEB, SYN)), Reason::NatPortsExhausted);
    }
    plane.wait(1);
    let second = plane.establish(client(2));
    assert_eq!(plane.happened(Event::PortTakenOver), 0, "nobody had it any more");
    assert_eq!(second.nat, first.nat);
    assert_eq!(plane.verdict(&first.says(ACK)), Reason::FlowMissing);
    plane.assert_works(&second);
    assert_eq!(plane.happened(Event::HalfOpenEvicted), 0, "an abandoned entry is not an evicted one");
}

const MOMENT: u32 = 60;

type Prepare = fn(&MemoryPlane, SocketAddr) -> Connection;

fn finished(plane: &MemoryPlane, client: SocketAddr) -> Connection {
    let connection = plane.establish(client);
    plane.close(&connection);
    connection
}

fn half_open(plane: &MemoryPlane, client: SocketAddr) -> Connection {
    plane.open(client)
}

fn answered(plane: &MemoryPlane, client: SocketAddr) -> Connection {
    let connection = plane.open(client);
    plane.to_client(&connection.answers(SYN | ACK));
    connection
}

fn doubtful(plane: &MemoryPlane, client: SocketAddr) -> Connection {
    let connection = plane.establish(client);
    plane.reset(&connection);
    connection
}

fn half_closed(plane: &MemoryPlane, client: SocketAddr) -> Connection {
    let connection = plane.establish(client);
    plane.to_backend(&connection.says(FIN | ACK));
    connection
}

#[test]
fn a_port_is_taken_over_when_its_owner_can_spare_it_and_not_before() {
    let cases: [(&str, Prepare, u32); 4] = [
        ("finished", finished, MOMENT),
        ("half-open", half_open, 4),
        ("answered", answered, 4),
        ("reset", doubtful, MOMENT),
    ];
    for (what, prepare, units) in cases {
        let plane = few_ports(10_000, 10_000);
        let first = prepare(&plane, client(1));
        plane.pass(units - 1);
        assert_eq!(plane.verdict(&tcp(client(2), WEB, SYN)), Reason::NatPortsExhausted, "{what}");
        assert_eq!(plane.happened(Event::PortTakenOver), 0);
        plane.pass(1);
        let second = plane.establish(client(2));
        assert_eq!((second.nat, plane.happened(Event::PortTakenOver)), (first.nat, 1), "{what}");
        plane.assert_works(&second);
        // Not because its time was over, and not for a place in the table.
        for event in [Event::HalfOpenEvicted, Event::ClosingEvicted, Event::UdpEvicted] {
            assert_eq!(plane.happened(event), 0, "{what}");
        }
    }
}

#[test]
fn a_port_in_use_is_never_taken_over() {
    let cases: [(&str, Prepare, u32); 2] = [
        ("established", |plane, client| plane.establish(client), IdleTimes::DEFAULT.established),
        ("half-closed", half_closed, IdleTimes::DEFAULT.half_closed),
    ];
    for (what, prepare, idle) in cases {
        let plane = few_ports(10_000, 10_000);
        let first = prepare(&plane, client(1));
        let idle = Tick::span(idle);
        for wait in [0, 1, 4, 60, idle - 65] {
            plane.wait(wait);
            assert_eq!(plane.verdict(&tcp(client(2), WEB, SYN)), Reason::NatPortsExhausted, "{what}");
        }
        plane.assert_works(&first);
    }
}

#[test]
fn of_several_the_oldest_gives_way_first() {
    for prepare in [finished, half_open, answered, doubtful] as [Prepare; 4] {
        let plane = few_ports(10_000, 10_003);
        let mut owners = Vec::new();
        for n in 0..4 {
            owners.push(prepare(&plane, client(n)));
            plane.pass(2);
        }
        plane.pass(MOMENT);
        for n in 0..4 {
            let newcomer = plane.establish(client(10 + n));
            assert_eq!(newcomer.nat, owners[usize::from(n)].nat);
        }
        assert_eq!(plane.verdict(&tcp(client(20), WEB, SYN)), Reason::NatPortsExhausted);
    }
}

#[test]
fn who_has_finished_gives_way_before_who_is_half_open_and_last_who_may_have_been_reset() {
    let plane = few_ports(10_000, 10_004);
    // The last to go is the oldest.
    let prepare: [Prepare; 5] = [|plane, client| plane.establish(client), doubtful, half_open, answered, finished];
    let mut owners = Vec::new();
    for (n, prepare) in (0..).zip(prepare) {
        owners.push(prepare(&plane, client(n)));
        plane.pass(1);
    }
    plane.pass(MOMENT);
    for (n, owner) in [(10, 4), (11, 2), (12, 3), (13, 1)] {
        assert_eq!(plane.establish(client(n)).nat, owners[owner].nat);
    }
    assert_eq!(plane.verdict(&tcp(client(20), WEB, SYN)), Reason::NatPortsExhausted);
    plane.assert_works(&owners[0]);
}

/// What is left of the former owner's connection speaks to nobody, and nobody speaks to it.
#[test]
fn who_has_lost_its_port_finds_its_connection_gone() {
    for prepare in [finished, half_open, answered, doubtful] as [Prepare; 4] {
        for establishes in [true, false] {
            let plane = few_ports(10_000, 10_000);
            let first = prepare(&plane, client(1));
            plane.pass(MOMENT);
            // The new owner has begun with other numbers.
            let (own, other) = (0x3333_0000, 0x4444_0000);
            let view = plane.to_backend(&tcp(client(2), WEB, SYN).numbers(own, 0));
            let second = Connection { client: client(2), nat: view.from, backend: view.to };
            // What the backend still has to say to the first gets to neither.
            for flags in [SYN | ACK, ACK, FIN | ACK] {
                assert_eq!(plane.verdict(&first.answers(flags)), Reason::ResetStale);
            }
            if establishes {
                plane.assert_carries(&second, &second.answers(SYN | ACK).numbers(other, own + 1));
                plane.assert_carries(&second, &second.says(ACK).numbers(own + 1, other + 1));
            }
            for flags in [ACK, FIN | ACK, RST, RST | ACK, SYN | ACK, 0] {
                let (reason, sent) = plane.send(&first.says(flags));
                assert_eq!((reason, sent), (Reason::FlowMissing, None), "{flags:#x}");
            }
            // It has no other port to open a connection with.
            assert_eq!(plane.verdict(&first.says(SYN)), Reason::NatPortsExhausted);
            if establishes {
                plane.assert_works(&second);
            }
        }
    }
}

#[test]
fn a_client_that_has_lost_its_port_opens_another_connection() {
    let plane = few_ports(10_000, 10_001);
    let first = plane.open(client(1));
    plane.pass(4);
    let others = [plane.open(client(2)), plane.open(client(3))];
    assert!(others.iter().any(|other| other.nat == first.nat));
    plane.pass(4);
    let again = plane.establish(client(1));
    plane.assert_works(&again);
    assert_eq!(plane.remembered().iter().filter(|entry| entry.key.source() == address(client(1))).count(), 1);
}

/// Neither thousands of ports nor all of the tries are looked at where many would give way, nor where one has finished.
#[test]
fn a_search_ends_as_soon_as_it_would_not_do_better() {
    for prepare in [half_open, finished, doubtful] as [Prepare; 3] {
        let plane = few_ports(10_000, 10_031);
        (0..32).for_each(|n| _ = prepare(&plane, client(n)));
        plane.pass(MOMENT);
        let before = plane.happened(Event::PortCollision);
        plane.open(client(200));
        assert!(plane.happened(Event::PortCollision) - before < 10);
    }
    let plane = few_ports(10_000, 10_031);
    (0..32).for_each(|n| _ = plane.establish(client(n)));
    let before = plane.happened(Event::PortCollision);
    assert_eq!(plane.verdict(&tcp(client(200), WEB, SYN)), Reason::NatPortsExhausted);
    assert_eq!(plane.happened(Event::PortCollision) - before, u64::from(PORT_TRIES));
}

#[test]
fn datagrams_give_up_their_ports_to_datagrams() {
    let cases: [(&str, Prepare, u32); 3] = [
        ("unanswered", |plane, client| plane.open_udp(client), 4),
        ("answered", |plane, client| plane.answered_udp(client), MOMENT),
        ("stream", |plane, client| plane.stream(client), 16 << 6),
    ];
    for (what, prepare, units) in cases {
        let plane = few_ports(10_000, 10_000);
        let first = prepare(&plane, client(1));
        plane.pass(units - 1);
        assert_eq!(plane.verdict(&udp(client(2), DNS)), Reason::NatPortsExhausted, "{what}");
        // TCP has ports of its own.
        plane.establish(client(3));
        plane.pass(1);
        let second = plane.open_udp(client(2));
        assert_eq!((second.nat, plane.happened(Event::PortTakenOver)), (first.nat, 1), "{what}");
        assert_eq!(plane.to_client(&second.answers_by_udp()).to, client(2));
    }
    // Unanswered ones before answered ones, those before streams, though they are younger.
    let plane = few_ports(10_000, 10_002);
    let stream = plane.stream(client(1));
    plane.wait(20);
    let answered = plane.answered_udp(client(2));
    plane.pass(MOMENT);
    let unanswered = plane.open_udp(client(3));
    plane.pass(4);
    for (n, owner) in [(10, unanswered), (11, answered), (12, stream)] {
        assert_eq!(plane.open_udp(client(n)).nat, owner.nat);
    }
    assert_eq!(plane.verdict(&udp(client(20), DNS)), Reason::NatPortsExhausted);
}

#[test]
fn every_nat_address_is_used() {
    let mut plane = few_ports(10_000, 10_007);
    plane.add_nat_address(SECOND_NAT);
    let connections: Vec<_> = (0..16).map(|n| plane.establish(client(n))).collect();
    let ports: HashSet<_> = connections.iter().map(|connection| connection.nat).collect();
    assert_eq!(ports.len(), 16);
    assert_eq!(ports.iter().filter(|nat| nat.ip() == SECOND_NAT).count(), 8);
    connections.iter().for_each(|connection| plane.assert_works(connection));
}

#[test]
fn the_range_of_all_ports_works() {
    let plane = few_ports(0, u16::MAX);
    for n in 0..100 {
        plane.establish(client(n));
    }
    let plane = few_ports(u16::MAX, u16::MAX);
    assert_eq!(plane.establish(client(1)).nat.port(), u16::MAX);
}

#[test]
fn flows_of_one_client_with_affinity_begin_at_different_ports() {
    let mut plane = few_ports(10_000, 19_999);
    let service =
        evenkeel_core::Service { table: 0, flags: evenkeel_core::Service::CLIENT_ADDRESS, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), evenkeel_wire::IpProtocol::TCP, service);
    for port in 0..200 {
        plane.open(at(client(1).ip(), 30_000 + port));
    }
    assert!(plane.happened(Event::PortCollision) < 20, "{} collisions", plane.happened(Event::PortCollision));
}
