//! Next hops towards clients: who is remembered, who makes room, and who never does.

use crate::support::*;
use evenkeel_core::flow::Tick;
use evenkeel_core::hop::{Hop, number, sweep};
use evenkeel_core::{Reason, Settings};
use evenkeel_wire::MacAddress;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Somebody's Ethernet address.
fn neighbour(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x06, 0, a, b, c, d]
}

fn known(plane: &MemoryPlane) -> Vec<Hop> {
    plane.hops.iter().map(|word| Hop(word.load(Relaxed))).filter(|hop| hop.0 != 0).collect()
}

#[test]
fn everybody_behind_one_router_shares_a_hop() {
    let plane: MemoryPlane = scene(1024);
    (0..100).for_each(|n| _ = plane.establish(client(n)));
    let known = known(&plane);
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].mac().0, known[0].is_proved()), (CLIENT_MAC, true));
}

#[test]
fn a_hop_is_proved_by_an_established_connection_and_by_nothing_less() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.open(client(1));
    plane.to_client(&connection.answers(SYN | ACK));
    assert!(!known(&plane)[0].is_proved());
    plane.to_backend(&connection.says(ACK));
    assert!(known(&plane)[0].is_proved());
}

/// Somebody on the wire invents Ethernet addresses, far more than there is room for. Those that are at work stay, and new
/// ones find room, since what nobody has proved makes it.
#[test]
fn a_flood_of_invented_neighbours_displaces_nobody_who_is_at_work() {
    let plane: MemoryPlane = scene(4096);
    let honest: Vec<_> = (0..8).map(|n| (client(n), neighbour(n.into()))).collect();
    let connections: Vec<_> = honest
        .iter()
        .map(|&(client, mac)| {
            let view = plane.to_backend(&tcp(client, WEB, SYN).source_mac(mac));
            let connection = Connection { client, nat: view.from, backend: view.to };
            plane.to_client(&connection.answers(SYN | ACK));
            plane.to_backend(&connection.says(ACK).source_mac(mac));
            connection
        })
        .collect();
    for n in 0..10_000 {
        plane.send(&tcp(client(1000), WEB, SYN).source_mac(neighbour(1 << 20 | n)));
    }
    for (connection, (_, mac)) in connections.iter().zip(&honest) {
        assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, *mac);
    }
    // One who comes in the midst of it is served as well.
    let newcomer = neighbour(77);
    let view = plane.to_backend(&tcp(client(2000), WEB, SYN).source_mac(newcomer));
    let connection = Connection { client: client(2000), nat: view.from, backend: view.to };
    assert_eq!(plane.to_client(&connection.answers(SYN | ACK)).destination_mac, newcomer);
}

#[test]
fn where_all_are_at_work_a_new_neighbour_is_refused_and_an_old_ones_new_client_is_not() {
    let plane: MemoryPlane = scene(16_384);
    let mut refused = 0;
    for n in 0..400 {
        let draft = tcp(client(n), WEB, SYN).source_mac(neighbour(n.into()));
        match plane.send(&draft) {
            (Reason::HopTableFull, None) => refused += 1,
            (Reason::ToBackend, Some(view)) => {
                let connection = Connection { client: client(n), nat: view.from, backend: view.to };
                plane.to_client(&connection.answers(SYN | ACK));
                plane.to_backend(&connection.says(ACK).source_mac(neighbour(n.into())));
            }
            other => panic!("{other:?}"),
        }
    }
    let known = known(&plane);
    assert_eq!((known.len(), refused), (64, 400 - 64), "there is room for 64");
    plane.to_backend(&tcp(client(1000), WEB, SYN).source_mac(known[20].mac().0));
}

/// One that has moved, and whose new neighbour finds no room, is served where it was known.
#[test]
fn a_client_that_moves_where_there_is_no_room_keeps_its_connection() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for word in plane.hops.iter().filter(|word| word.load(Relaxed) == 0) {
        word.store(0x99 | 1 << 55 | (40_000 >> 8) << 56, Relaxed);
    }
    plane.to_backend(&connection.says(ACK).source_mac(neighbour(5)));
    assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, CLIENT_MAC);
}

#[test]
fn a_hop_is_remembered_for_as_long_as_its_connections_and_then_forgotten() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let longest = plane.settings.timeouts.longest;
    for _ in 0..5 {
        plane.wait(longest - 1);
        sweep(&plane.hops, longest, plane.time().tick());
        // By the backend's packets alone, which say nothing of the client's neighbour.
        assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, CLIENT_MAC);
    }
    plane.wait(longest + 3 * 256);
    sweep(&plane.hops, longest, plane.time().tick());
    assert_eq!(known(&plane).len(), 0);
}

#[test]
fn a_neighbour_that_has_proved_nothing_is_forgotten_soon() {
    let plane: MemoryPlane = scene(64);
    plane.open(client(1));
    plane.wait(3 * 256);
    sweep(&plane.hops, plane.settings.timeouts.longest, plane.time().tick());
    assert_eq!(known(&plane).len(), 0);
}

/// Somebody on the wire has one connection, and sends its segments from ever new addresses.
#[test]
fn one_connection_does_not_prove_whatever_address_it_comes_from() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for n in 0..1000 {
        plane.send(&connection.says(ACK).source_mac(neighbour(n)));
        plane.wait(if n % 100 == 0 { plane.settings.timeouts.renew } else { 0 });
    }
    assert_eq!(known(&plane).iter().filter(|hop| hop.is_proved()).count(), 1);
    plane.to_backend(&tcp(client(2), WEB, SYN).source_mac([2, 1, 1, 1, 1, 1]));
}

/// Whoever invents addresses that are higher numbers, or lower ones, is not for that reason kept before others.
#[test]
fn which_hop_on_trial_makes_room_does_not_depend_on_its_address() {
    for invented in [[0x06, 0xff, 0xff, 0xff], [0x02, 0, 0, 0]] {
        let stays = (0..200).filter(|&n| {
            let plane: MemoryPlane = scene(4096);
            let honest = neighbour(n << 8 | 0x80);
            let view = plane.to_backend(&tcp(client(1), WEB, SYN).source_mac(honest));
            let connection = Connection { client: client(1), nat: view.from, backend: view.to };
            // Four newcomers a set on average, once all of it is taken.
            for other in 0..64 + 32 {
                let [a, b, c, d] = invented;
                plane.send(&tcp(client(1000), WEB, SYN).source_mac([a, b, c, d, n as u8, other]));
            }
            plane.to_client(&connection.answers(SYN | ACK)).destination_mac == honest
        });
        // (7/8)^4 of 200 are 117.
        let stays = stays.count();
        assert!((80..160).contains(&stays), "{stays} of 200");
    }
}

#[test]
fn neighbours_that_follow_one_another_spread_over_the_table() {
    for secret in 0..100_u32 {
        let settings =
            Settings { flow_secret: [secret.wrapping_mul(0x9e37_79b9), secret ^ 0x1234_5678, 3, 4], ..Settings::EMPTY };
        let hops: Vec<_> = (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect();
        for n in 0..4096 {
            let neighbour = MacAddress(neighbour(n)).bits();
            let found = number(&settings, |number| hops.get(usize::from(number.0)), neighbour, Tick(40_000));
            assert!(
                found.is_some(),
                "secret {secret}: neighbour {n} finds no room in a table for sixteen times as many"
            );
        }
        let used = hops.iter().filter(|hop| hop.load(Relaxed) != 0).count();
        assert_eq!(used, 4096, "secret {secret}: some have displaced others");
    }
}

#[test]
fn addresses_that_no_host_can_have_are_not_remembered() {
    let plane: MemoryPlane = scene(64);
    for mac in [[0; 6], [0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
        assert_eq!(plane.verdict(&tcp(client(1), WEB, SYN).source_mac(mac)), Reason::HopTableFull);
    }
    assert!(plane.remembered().is_empty());
}
