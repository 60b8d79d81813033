//! Which service a packet is for, and which backend a new connection gets.

use crate::support::*;
use evenkeel_core::{Reason, Service};
use evenkeel_wire::IpProtocol;
use std::collections::HashSet;

#[test]
fn an_exact_port_goes_before_any_port() {
    let mut plane: MemoryPlane = scene(64);
    let any = Service { table: 1, flags: Service::PLAIN, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), 0, IpProtocol::TCP, any);
    plane.set_maglev(TABLE, &[FIRST]);
    plane.set_maglev(1, &[SECOND]);
    for n in 0..8 {
        assert_eq!(plane.to_backend(&tcp(client(n), WEB, SYN)).to, H2);
        assert_eq!(plane.to_backend(&tcp(client(n), at(WEB.ip(), 81), SYN)).to, H3);
    }
}

#[test]
fn a_service_is_of_one_protocol() {
    let mut plane: MemoryPlane = scene(64);
    let service = Service { table: TABLE as u32, flags: Service::PLAIN, idle: 0, newcomers: 0 };
    plane.add_service([10, 0, 0, 20].into(), 0, IpProtocol::UDP, service);
    assert_eq!(plane.verdict(&tcp(client(1), end([10, 0, 0, 20], 53), SYN)), Reason::NoService);
    assert_eq!(plane.verdict(&udp(client(1), end([10, 0, 0, 20], 53))), Reason::ToBackend);
}

#[test]
fn connections_of_one_client_spread_over_the_backends() {
    let plane: MemoryPlane = scene(1024);
    let backends: HashSet<_> = (0..32).map(|n| plane.open(at(client(1).ip(), 30_000 + n)).backend).collect();
    assert_eq!(backends, HashSet::from([H2, H3]));
}

#[test]
fn with_affinity_all_connections_of_one_client_go_to_one_backend() {
    let mut plane: MemoryPlane = scene(4096);
    let service = Service { table: TABLE as u32, flags: Service::CLIENT_ADDRESS, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    let mut chosen = HashSet::new();
    for n in 0..32 {
        let opened: Vec<_> = (0..16).map(|port| plane.open(at(client(n).ip(), 30_000 + port))).collect();
        let backends: HashSet<_> = opened.iter().map(|connection| connection.backend).collect();
        assert_eq!(backends.len(), 1, "client {n}");
        chosen.extend(backends);
    }
    assert_eq!(chosen.len(), 2, "and not all clients to the same");
}

#[test]
fn the_pick_follows_the_secret() {
    let picks = |secret| {
        let mut plane: MemoryPlane = scene(1024);
        plane.settings.pick_secret = secret;
        (0..64).map(|n| plane.open(client(n)).backend).collect::<Vec<_>>()
    };
    assert_eq!(picks([1, 2]), picks([1, 2]));
    assert_ne!(picks([1, 2]), picks([1, 3]));
}
