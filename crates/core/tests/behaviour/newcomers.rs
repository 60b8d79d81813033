//! A service that lets in so many newcomers a second: who else is let in, and who is not touched by it.

use crate::support::*;
use evenkeel_core::{Event, Features, Reason, Service};
use evenkeel_wire::IpProtocol;
use std::net::SocketAddr;

/// Newcomers that are let in at the first try within a second.
const A_SECOND: u32 = 600;
/// Units of time in a second.
const UNITS: u32 = 60;

/// The scene in which the TCP and the UDP service have one limit, each for itself: they have tables of their own.
fn limited(buckets: u32, a_second: u32) -> MemoryPlane {
    let mut plane = scene(buckets);
    for (end, protocol, table) in [(WEB, IpProtocol::TCP, 0), (DNS, IpProtocol::UDP, 1)] {
        let newcomers = Service::newcomers(a_second);
        let service = Service { table, flags: Service::PLAIN, idle: 0, newcomers };
        plane.add_service(end.ip(), end.port(), protocol, service);
        plane.set_maglev(table as usize, &[FIRST, SECOND]);
    }
    plane
}

/// A stranger whom nobody has seen.
fn stranger(n: u32) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    end([100, 64 | a, b, c], 1024 + (n % 60_000) as u16)
}

/// How many of these strangers' SYNs open a connection: once in some thousand times one looks like somebody else who has asked.
fn flood(plane: &MemoryPlane, strangers: std::ops::Range<u32>) -> u32 {
    let opens = |n: &u32| match plane.verdict(&tcp(stranger(*n), WEB, SYN)) {
        Reason::ToBackend => true,
        Reason::NewcomerLimit => false,
        other => panic!("{other:?}"),
    };
    strangers.filter(opens).count() as u32
}

#[test]
fn so_many_are_let_in_and_then_as_many_as_time_brings() {
    let plane = limited(1024, A_SECOND);
    let let_in = flood(&plane, 0..2000);
    assert!((A_SECOND..A_SECOND + 3).contains(&let_in), "{let_in}");
    for round in 0..UNITS {
        plane.pass(1);
        let let_in = flood(&plane, 4000 + 100 * round..4100 + 100 * round);
        assert!((A_SECOND / UNITS..A_SECOND / UNITS + 3).contains(&let_in), "{let_in}");
    }
    // However long nobody has come.
    plane.wait(20_000);
    let let_in = flood(&plane, 20_000..22_000);
    assert!((A_SECOND..A_SECOND + 3).contains(&let_in), "{let_in}");
}

#[test]
fn who_asks_again_is_let_in() {
    let plane = limited(1024, A_SECOND);
    flood(&plane, 0..1000);
    for n in 0..100 {
        let syn = tcp(client(n), WEB, SYN);
        assert_eq!(plane.verdict(&syn), Reason::NewcomerLimit);
        let connection = plane.open(client(n));
        plane.to_client(&connection.answers(SYN | ACK));
        plane.to_backend(&connection.says(ACK));
        plane.assert_works(&connection);
    }
    assert_eq!(plane.happened(Event::AskedAgain), 100);
    // From another port it is somebody else.
    assert_eq!(plane.verdict(&tcp(SocketAddr::new(client(1).ip(), 7), WEB, SYN)), Reason::NewcomerLimit);
}

#[test]
fn who_has_asked_is_remembered_for_a_second_of_a_flood_of_three_for_each_place() {
    // As many in vain in a second as the default table has to bear at 750,000.
    let plane = limited(4096, 10);
    let honest: Vec<_> = (0..1000).map(client).collect();
    flood(&plane, 0..10);
    for client in &honest {
        assert_eq!(plane.verdict(&tcp(*client, WEB, SYN)), Reason::NewcomerLimit);
    }
    let let_in = flood(&plane, 100..100 + 3 * 2048);
    assert!(let_in < 10, "{let_in} who have not asked");
    plane.pass(UNITS);
    flood(&plane, 9_000_000..9_000_010);
    let let_in = honest.iter().filter(|client| plane.verdict(&tcp(**client, WEB, SYN)) == Reason::ToBackend).count();
    assert!(let_in > 950, "{let_in}");
}

#[test]
fn a_datagram_opens_nothing_beyond_it_however_often_it_comes() {
    let plane = limited(1024, A_SECOND);
    for n in 0..A_SECOND as u16 {
        plane.answered_udp(client(n));
    }
    for n in 1000..1010 {
        assert!((0..3).all(|_| plane.verdict(&udp(client(n), DNS)) == Reason::NewcomerLimit));
    }
    assert_eq!(plane.verdict(&udp(client(1), DNS)), Reason::ToBackend, "there it is a flow");
    assert_eq!(flood(&plane, 0..1000), A_SECOND, "another service");
}

#[test]
fn nobody_who_is_there_is_touched() {
    let plane = limited(1024, A_SECOND);
    let connections: Vec<_> = (0..100).map(|n| plane.establish(client(n))).collect();
    let half_open = plane.open(client(100));
    flood(&plane, 0..2000);
    connections.iter().for_each(|connection| plane.assert_works(connection));
    plane.to_client(&half_open.answers(SYN | ACK));
    plane.to_backend(&half_open.says(ACK));
    plane.assert_works(&half_open);
    assert_eq!(plane.verdict(&tcp(client(200), WEB, ACK)), Reason::FlowMissing);
}

#[test]
fn without_a_limit_or_the_feature_there_is_none() {
    let plane = scene(1024);
    assert_eq!(flood(&plane, 0..3000), 3000);
    let mut plane = limited(1024, 10);
    plane.features = Features::NONE;
    assert_eq!(flood(&plane, 0..3000), 3000);
}

#[test]
fn what_is_asked_for_is_what_a_second_brings() {
    for a_second in [10, 11, 24, 59, 60, 61, 100, 999, 20_000, 1_000_000, 10_000_000] {
        let brings = f64::from(Service::newcomers(a_second)) / 256.0 * f64::from(UNITS);
        let share = brings / f64::from(a_second);
        let most = if a_second < 24 { 1.03 } else { 1.01 };
        assert!((1.0..=most).contains(&share), "{a_second}: {brings}");
    }
    assert_ne!(Service::newcomers(u32::MAX), 0);
}
