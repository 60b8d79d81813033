//! NAT addresses and ports: who gets which, and when they are free again.

use crate::support::*;
use evenkeel_core::flow::{IdleTimes, Tick};
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
    let service = evenkeel_core::Service { table: 0, flags: evenkeel_core::Service::CLIENT_ADDRESS, idle: 0 };
    plane.add_service(WEB.ip(), WEB.port(), evenkeel_wire::IpProtocol::TCP, service);
    for port in 0..200 {
        plane.open(at(client(1).ip(), 30_000 + port));
    }
    assert!(plane.happened(Event::PortCollision) < 20, "{} collisions", plane.happened(Event::PortCollision));
}
