//! Answers that follow the host's routes: to the router that leads to a client, whoever the client's packets come from.

use crate::support::*;
use evenkeel_core::hop::Hop;
use evenkeel_core::reply::{KEPT, ROUTES, Route, is_kept};
use evenkeel_core::{Features, Reason, Service};
use evenkeel_packets::Mac;
use evenkeel_wire::{IpProtocol, MacAddress};
use std::sync::atomic::Ordering::Relaxed;

const FIRST_ROUTER: Mac = [0x02, 0, 0, 0, 9, 1];
const SECOND_ROUTER: Mac = [0x02, 0, 0, 0, 9, 2];
/// What both routers are known by together, as by VRRP (RFC 9568, section 7.3).
const VIRTUAL_ROUTER: Mac = [0, 0, 0x5e, 0, 1, 7];

/// The clients' network, 192.0.2.0.
const CLIENTS: u32 = 0xc000_0200;

/// The scene, in which answers of the TCP service follow routes and those of the UDP service do not.
fn routed() -> MemoryPlane {
    let mut plane: MemoryPlane = scene(1024);
    let service = Service { table: TABLE as u32, flags: Service::ROUTED, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    plane
}

impl MemoryPlane {
    /// A route with this number: everything that begins like `network` is behind this router.
    fn route(&self, number: usize, network: u32, length: u8, router: Mac) {
        self.lead(number, router);
        self.kept[usize::from(ROUTES) + number].store(Route::new(network, length, false).0, Relaxed);
    }

    /// From now on the route leads there.
    fn lead(&self, number: usize, router: Mac) {
        self.kept[number].store(MacAddress(router).bits(), Relaxed);
    }

    fn answered_to(&self, connection: &Connection) -> Mac {
        self.to_client(&connection.answers(ACK)).destination_mac
    }
}

/// A connection that came by this router.
fn establish_by(plane: &MemoryPlane, number: u16, router: Mac) -> Connection {
    let view = plane.to_backend(&tcp(client(number), WEB, SYN).source_mac(router));
    let connection = Connection { client: client(number), nat: view.from, backend: view.to };
    plane.to_client(&connection.answers(SYN | ACK));
    plane.to_backend(&connection.says(ACK).source_mac(router));
    connection
}

#[test]
fn answers_go_to_the_router_of_the_routes_wherever_packets_come_from() {
    let plane = routed();
    plane.route(0, 0, 0, VIRTUAL_ROUTER);
    let connection = establish_by(&plane, 1, FIRST_ROUTER);
    for router in [FIRST_ROUTER, SECOND_ROUTER, VIRTUAL_ROUTER, SECOND_ROUTER] {
        plane.to_backend(&connection.says(ACK).source_mac(router));
        assert_eq!(plane.answered_to(&connection), VIRTUAL_ROUTER);
        plane.wait(plane.settings.timeouts.renew);
    }
    assert!(plane.hops.iter().all(|hop| hop.load(Relaxed) == 0), "nothing was learned");
}

/// A download: the client says nothing, and its router dies.
#[test]
fn when_a_router_is_followed_by_another_every_connection_goes_there_at_once() {
    let plane = routed();
    plane.route(3, 0, 0, FIRST_ROUTER);
    let connections: Vec<_> = (0..20).map(|number| establish_by(&plane, number, FIRST_ROUTER)).collect();
    plane.lead(3, SECOND_ROUTER);
    for connection in &connections {
        assert_eq!(plane.answered_to(connection), SECOND_ROUTER);
        plane.close(connection);
    }
}

/// So it is with every other service.
#[test]
fn where_answers_follow_packets_a_silent_client_is_lost_with_its_router() {
    let plane = routed();
    plane.route(0, 0, 0, FIRST_ROUTER);
    let view = plane.to_backend(&udp(client(1), DNS).source_mac(FIRST_ROUTER));
    let flow = Connection { client: client(1), nat: view.from, backend: view.to };
    plane.lead(0, SECOND_ROUTER);
    assert_eq!(plane.to_client(&flow.answers_by_udp()).destination_mac, FIRST_ROUTER);
    plane.to_backend(&flow.asks_by_udp().source_mac(SECOND_ROUTER));
    assert_eq!(plane.to_client(&flow.answers_by_udp()).destination_mac, SECOND_ROUTER);
}

#[test]
fn the_longest_prefix_says_and_a_near_client_is_answered_where_it_is() {
    let plane = routed();
    plane.route(5, 0, 0, FIRST_ROUTER);
    plane.route(0, CLIENTS, 24, SECOND_ROUTER);
    plane.route(31, CLIENTS | 9, 32, VIRTUAL_ROUTER);
    let near = Route::new(CLIENTS | 16, 28, true);
    plane.kept[usize::from(ROUTES) + 7].store(near.0, Relaxed);
    let own = [0x02, 0, 0, 0, 8, 8];
    for (number, expected) in [
        (1, SECOND_ROUTER),
        (9, VIRTUAL_ROUTER),
        (15, SECOND_ROUTER),
        (16, own),
        (31, own),
        (32, SECOND_ROUTER),
        (256, FIRST_ROUTER),
    ] {
        let connection = establish_by(&plane, number, own);
        assert_eq!(plane.answered_to(&connection), expected, "client {number}");
    }
}

#[test]
fn without_a_route_or_a_router_that_is_known_answers_go_back() {
    let plane = routed();
    let connection = establish_by(&plane, 1, SECOND_ROUTER);
    assert_eq!(plane.answered_to(&connection), SECOND_ROUTER, "there is no route");
    plane.route(0, 0, 0, [0; 6]);
    let connection = establish_by(&plane, 2, SECOND_ROUTER);
    assert_eq!(plane.answered_to(&connection), SECOND_ROUTER, "the router has not been found");
    plane.lead(0, FIRST_ROUTER);
    let connection = establish_by(&plane, 3, SECOND_ROUTER);
    assert_eq!(plane.answered_to(&connection), FIRST_ROUTER);
}

/// Once the client says something that is noted: every few seconds, and at the end.
#[test]
fn connections_follow_other_routes() {
    let plane = routed();
    plane.route(0, 0, 0, FIRST_ROUTER);
    let connection = establish_by(&plane, 1, FIRST_ROUTER);
    plane.route(1, CLIENTS, 24, SECOND_ROUTER);
    assert_eq!(plane.answered_to(&connection), FIRST_ROUTER);
    plane.wait(plane.settings.timeouts.renew);
    plane.to_backend(&connection.says(ACK).source_mac(FIRST_ROUTER));
    assert_eq!(plane.answered_to(&connection), SECOND_ROUTER);
    // And with no route left it stays where it was.
    plane.kept[usize::from(ROUTES)..].iter().for_each(|route| route.store(0, Relaxed));
    plane.wait(plane.settings.timeouts.renew);
    plane.to_backend(&connection.says(ACK).source_mac(FIRST_ROUTER));
    assert_eq!(plane.answered_to(&connection), SECOND_ROUTER);
}

/// A program that was loaded for services that do not ask for it, over tables where connections have such hops.
#[test]
fn whoever_does_not_know_of_routes_learns_from_packets() {
    let mut plane = routed();
    plane.route(0, 0, 0, VIRTUAL_ROUTER);
    let connection = establish_by(&plane, 1, FIRST_ROUTER);
    plane.features = Features::NONE;
    assert_eq!(plane.answered_to(&connection), VIRTUAL_ROUTER);
    plane.to_backend(&connection.says(ACK).source_mac(FIRST_ROUTER));
    assert_eq!(plane.answered_to(&connection), FIRST_ROUTER);
    assert!(plane.remembered().iter().all(|entry| !is_kept(entry.meta.hop())));
}

/// Every neighbour there can be finds a number that is not the control side's.
#[test]
fn what_packets_bring_never_comes_to_a_kept_hop() {
    let plane: MemoryPlane = scene(4096);
    for n in 0..50_000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let reason = plane.verdict(&tcp(client(1), WEB, SYN).source_mac([0x06, 0, a, b, c, d]));
        assert!(matches!(reason, Reason::ToBackend | Reason::HopTableFull));
        plane.pass(1);
    }
    assert!(plane.kept.iter().all(|word| Hop(word.load(Relaxed)).0 == 0));
    assert_eq!(plane.kept.len(), usize::from(KEPT));
}
