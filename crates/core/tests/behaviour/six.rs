//! IPv6 clients and backends: what is the same as with IPv4, and what is IPv6's own.

use crate::support::*;
use evenkeel_core::{Features, Next, Ours, Reason, Service, SliceFrame, Station};
use evenkeel_packets::{Icmp, icmp};
use evenkeel_wire::IpProtocol;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const IP: usize = 14;
const TRANSPORT: usize = IP + 40;

fn six(network: u16, last: u16, port: u16) -> SocketAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, last), port).into()
}

fn web() -> SocketAddr {
    six(0, 10, 80)
}

fn nat() -> IpAddr {
    six(0, 12, 0).ip()
}

fn visitor(n: u16) -> SocketAddr {
    six(1, n, 40_000)
}

/// A service of both protocols at one address, one NAT address, two backends.
fn wide_scene(buckets: u32) -> MemoryPlane {
    let mut plane = MemoryPlane::empty(buckets);
    let service = Service { table: TABLE as u32, flags: Service::PLAIN, idle: 0, newcomers: 0 };
    for protocol in [IpProtocol::TCP, IpProtocol::UDP] {
        plane.add_service(web().ip(), web().port(), protocol, service);
    }
    plane.add_nat_address(nat());
    for last in [2, 3] {
        let backend = six(2, last, 8080);
        plane.add_backend(backend, web(), backend_mac(backend));
    }
    plane.set_maglev(TABLE, &[FIRST, SECOND]);
    plane
}

/// A connection after its handshake: where its backend is, and as whom it sees the client.
fn establish(plane: &MemoryPlane, client: SocketAddr) -> (SocketAddr, SocketAddr) {
    let sent = plane.to_backend(&tcp(client, web(), SYN));
    plane.to_client(&answer(&sent, SYN | ACK));
    plane.to_backend(&tcp(client, web(), ACK));
    (sent.to, sent.from)
}

fn answer(sent: &View, flags: u8) -> Draft {
    tcp(sent.to, sent.from, flags).source_mac(backend_mac(sent.to))
}

#[test]
fn a_segment_goes_to_the_backend_and_its_answer_comes_back() {
    let plane = wide_scene(64);
    let sent = plane.to_backend(&tcp(visitor(1), web(), SYN).ttl(64).traffic_class(46, 1).payload(b"hello"));
    assert_eq!(sent.from.ip(), nat());
    assert!((10_000..20_000).contains(&sent.from.port()));
    assert!([six(2, 2, 8080), six(2, 3, 8080)].contains(&sent.to));
    assert_eq!((sent.source_mac, sent.destination_mac), (OUR_MAC, backend_mac(sent.to)));
    assert_eq!((sent.ttl, sent.dscp, sent.flags, sent.payload.as_slice()), (63, 46, SYN, b"hello".as_slice()));

    let got = plane.to_client(&answer(&sent, SYN | ACK).ttl(60));
    assert_eq!((got.from, got.to), (web(), visitor(1)));
    assert_eq!((got.source_mac, got.destination_mac, got.ttl), (OUR_MAC, CLIENT_MAC, 59));
}

#[test]
fn an_established_connection_works_and_ends() {
    let plane = wide_scene(64);
    let (backend, nat) = establish(&plane, visitor(1));
    for word in (0..=u16::MAX).step_by(97) {
        // `View` checks every checksum.
        let there = plane.to_backend(&tcp(visitor(1), web(), ACK).payload(&word.to_be_bytes()));
        assert_eq!((there.from, there.to), (nat, backend));
        let back = plane.to_client(&answer(&there, ACK).payload(&word.to_be_bytes()));
        assert_eq!((back.from, back.to), (web(), visitor(1)));
    }
    plane.to_backend(&tcp(visitor(1), web(), FIN | ACK));
    plane.to_client(&tcp(backend, nat, FIN | ACK).source_mac(backend_mac(backend)));
    plane.pass(10_000);
    assert_eq!(plane.verdict(&tcp(visitor(1), web(), ACK)), Reason::FlowMissing);
}

#[test]
fn datagrams_go_there_and_come_back() {
    let plane = wide_scene(64);
    let sent = plane.to_backend(&udp(visitor(1), web()).payload(b"question"));
    assert_eq!((sent.from.ip(), sent.payload.as_slice()), (nat(), b"question".as_slice()));
    let got = plane.to_client(&udp(sent.to, sent.from).payload(b"an answer of odd length"));
    assert_eq!((got.from, got.to, got.payload.as_slice()), (web(), visitor(1), b"an answer of odd length".as_slice()));
}

#[test]
fn only_what_translation_needs_changes() {
    let plane = wide_scene(64);
    let mut before = tcp(visitor(1), web(), SYN).tag(VLAN, 7).payload(&[0xa5; 1200]).bytes();
    // A flow label, which no checksum covers.
    before[IP + 4 + 1] |= 0x5;
    before[IP + 4 + 3] = 0x77;
    let mut after = before.clone();
    assert_eq!(plane.process(&mut after), Reason::ToBackend);
    let (ip, transport) = (IP + 4, TRANSPORT + 4);
    let may_change = |at: usize| {
        at < 12
            || at == ip + 7
            || (ip + 8..ip + 40).contains(&at)
            || (transport..transport + 4).contains(&at)
            || (transport + 16..transport + 18).contains(&at)
    };
    for (at, (old, new)) in before.iter().zip(&after).enumerate() {
        assert!(old == new || may_change(at), "byte {at} went from {old:#x} to {new:#x}");
    }
}

#[test]
fn many_clients_are_told_apart() {
    let plane = wide_scene(4096);
    let mut seen = std::collections::HashSet::new();
    for n in 0..2000 {
        let (backend, nat) = establish(&plane, visitor(n));
        assert!(seen.insert((backend, nat)), "{n} has another's port");
    }
    for n in 0..2000 {
        let view = plane.to_backend(&tcp(visitor(n), web(), ACK));
        assert!(seen.remove(&(view.to, view.from)), "{n} has changed its port");
    }
}

#[test]
fn addresses_that_differ_in_one_bit_are_different_clients() {
    let plane = wide_scene(1024);
    let IpAddr::V6(base) = visitor(0).ip() else { unreachable!() };
    let clients: Vec<SocketAddr> =
        (4..128).map(|bit| SocketAddr::new(Ipv6Addr::from(u128::from(base) ^ 1 << bit).into(), 40_000)).collect();
    // Bits that make a group's or an unspecified address of it are not among them.
    let clients: Vec<_> = clients.into_iter().filter(|client| !client.ip().is_multicast()).collect();
    let ends: std::collections::HashSet<_> = clients.iter().map(|&client| establish(&plane, client)).collect();
    assert_eq!(ends.len(), clients.len());
}

#[test]
fn extension_headers_are_skipped() {
    let plane = wide_scene(64);
    for numbers in [vec![0], vec![60], vec![0, 60], vec![0, 60, 60, 60]] {
        let draft = numbers.iter().fold(tcp(visitor(1), web(), SYN), |draft, &number| draft.extension(number, &[0; 6]));
        let view = plane.to_backend(&draft);
        assert_eq!(view.from.ip(), nat(), "{numbers:?}");
    }
    // A routing header with no more stops than this one.
    plane.to_backend(&tcp(visitor(2), web(), SYN).extension(43, &[2, 0, 0, 0, 0, 0]));
    // One with more is not ours to look behind, nor are five, nor some that are long.
    let mut more = tcp(visitor(3), web(), SYN).extension(43, &[2, 1, 0, 0, 0, 0]);
    assert_eq!(plane.verdict(&more), Reason::NotTcpUdp);
    more = (0..5).fold(tcp(visitor(3), web(), SYN), |draft, _| draft.extension(60, &[0; 6]));
    assert_eq!(plane.verdict(&more), Reason::NotTcpUdp);
    more = tcp(visitor(3), web(), SYN).extension(60, &[0; 6 + 8 * 20]);
    assert_eq!(plane.verdict(&more), Reason::NotTcpUdp);
    more = tcp(visitor(3), web(), SYN).extension(60, &[0; 6 + 8 * 19]);
    assert_eq!(plane.verdict(&more), Reason::ToBackend);
}

#[test]
fn a_part_of_a_datagram_is_no_datagram_and_a_whole_one_in_a_fragment_header_is() {
    let plane = wide_scene(64);
    for (offset, more) in [(0, true), (185, true), (185, false)] {
        assert_eq!(plane.verdict(&udp(visitor(1), web()).fragment(offset, more)), Reason::Fragment);
    }
    plane.to_backend(&udp(visitor(1), web()).fragment(0, false));
}

#[test]
fn our_addresses_answer_an_echo_and_nobody_elses_do() {
    let plane = wide_scene(64);
    for ours in [web().ip(), nat()] {
        let (reason, reply) = plane.send(&echo(visitor(1).ip(), ours).ttl(9).payload(b"are you there?"));
        let reply = reply.expect("an answer is sent");
        assert_eq!((reason, reply.from.ip(), reply.to.ip()), (Reason::EchoReply, ours, visitor(1).ip()));
        assert_eq!((reply.ttl, reply.source_mac, reply.destination_mac), (64, OUR_MAC, CLIENT_MAC));
        assert_eq!(reply.payload, b"are you there?");
    }
    assert_eq!(plane.verdict(&echo(visitor(1).ip(), six(0, 14, 0).ip())), Reason::NotOurs);
    assert_eq!(plane.verdict(&icmp(visitor(1).ip(), web().ip(), Icmp::Reply)), Reason::NotTcpUdp);
}

#[test]
fn neighbours_questions_go_to_the_kernel_even_where_it_lacks_the_address() {
    let mut plane = wide_scene(64);
    plane.ours = Ours::ALONE;
    for kind in 133..=137 {
        for (hop_limit, reason) in [(255, Reason::NotTcpUdp), (254, Reason::Unserved), (1, Reason::Unserved)] {
            let mut bytes = echo(visitor(1).ip(), web().ip()).ttl(hop_limit).bytes();
            bytes[TRANSPORT] = kind;
            assert_eq!(plane.process(&mut bytes), reason, "{kind}");
        }
    }
    assert_eq!(plane.verdict(&icmp(visitor(1).ip(), web().ip(), Icmp::Reply)), Reason::Unserved);
}

#[test]
fn what_nobody_serves_is_refused() {
    let mut plane = wide_scene(64);
    plane.ours = Ours::ALONE;
    plane.settings.refuses = 1;
    let nobody = SocketAddr::new(web().ip(), 81);
    let (reason, view) = plane.send(&tcp(visitor(1), nobody, SYN));
    let view = view.expect("a reset");
    assert_eq!((reason, view.from, view.to, view.flags), (Reason::UnservedRefused, nobody, visitor(1), RST | ACK));
    for draft in [udp(visitor(1), nobody), udp(visitor(1), nobody).extension(60, &[0; 6]).tag(VLAN, 3)] {
        // `View` checks the message's checksum; what it quotes begins with the packet.
        let before = draft.bytes();
        let mut after = before.clone();
        assert_eq!(plane.process(&mut after), Reason::UnservedRefused);
        let view = View::of(&after);
        assert_eq!((view.from.ip(), view.to.ip(), view.ttl), (web().ip(), visitor(1).ip(), 64));
        let link = if before[12] == 0x81 { 18 } else { 14 };
        assert_eq!(after[link + 40..][..2], [1, 4], "unreachable, port");
        let quoted = &after[link + 48..];
        assert_eq!(quoted, &before[link..link + quoted.len()]);
        assert!(quoted.len() >= 48);
    }
}

#[test]
fn who_sends_a_packet_whose_hops_are_used_up_is_told() {
    let mut plane = wide_scene(64);
    plane.settings.refuses = 1;
    for draft in [tcp(visitor(1), web(), SYN).ttl(1), udp(visitor(1), web()).ttl(1)] {
        let mut bytes = draft.bytes();
        assert_eq!(plane.process(&mut bytes), Reason::TimeExceeded);
        let view = View::of(&bytes);
        assert_eq!((view.from.ip(), view.to.ip()), (web().ip(), visitor(1).ip()));
        assert_eq!(bytes[TRANSPORT..][..2], [3, 0]);
    }
}

#[test]
fn nobody_is_served_who_cannot_be_there() {
    let plane = wide_scene(64);
    for source in ["::", "::1", "::ffff:192.0.2.1", "ff02::1", "ff0e::1234"] {
        let source = SocketAddr::new(source.parse().expect("an address"), 40_000);
        assert_eq!(plane.verdict(&tcp(source, web(), SYN)), Reason::MartianSource, "{source}");
    }
    assert_eq!(plane.verdict(&tcp(web(), web(), SYN)), Reason::OwnSource);
    assert_eq!(plane.verdict(&tcp(SocketAddr::new(nat(), 9), web(), SYN)), Reason::OwnSource);
}

#[test]
fn a_packet_that_contradicts_itself_is_dropped_and_one_that_ends_early_passed() {
    let plane = wide_scene(64);
    let whole = tcp(visitor(1), web(), SYN).payload(b"hello").bytes();
    let changed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    // The version; a payload longer than the frame; one shorter than a TCP header.
    for (at, value) in [(IP, 0x40), (IP + 4, 1), (IP + 5, 19)] {
        assert_eq!(plane.process(&mut changed(at, value)), Reason::Malformed, "{at}");
    }
    for length in IP..TRANSPORT {
        assert_eq!(plane.process(&mut whole[..length].to_vec()), Reason::Truncated, "{length}");
    }
    for length in TRANSPORT..whole.len() {
        assert_eq!(plane.process(&mut whole[..length].to_vec()), Reason::Malformed, "{length}");
    }
}

#[test]
fn a_configuration_without_ipv6_leaves_it_alone() {
    let mut plane = wide_scene(64);
    plane.features = Features::ALL.without(Features::IPV6);
    assert_eq!(plane.verdict(&tcp(visitor(1), web(), SYN)), Reason::NotIpv4);
}

#[test]
fn what_is_not_ours_needs_no_station() {
    // The kernel may have emptied the array of stations, and the host has IPv6 of its own.
    let plane = wide_scene(64);
    let foreign = six(0, 15, 80);
    for draft in [tcp(visitor(1), foreign, SYN), udp(visitor(1), foreign), echo(visitor(1).ip(), foreign.ip())] {
        let next = evenkeel_core::arrive(&mut SliceFrame(&mut draft.bytes()), &plane);
        assert_eq!(next, Next::Done(Reason::NotOurs));
    }
    let ours = tcp(visitor(1), web(), SYN);
    assert_eq!(evenkeel_core::arrive(&mut SliceFrame(&mut ours.bytes()), &plane), Next::Go(Station::Six));
}

#[test]
fn both_families_are_served_beside_each_other() {
    let mut plane = wide_scene(64);
    let service = Service { table: 1, flags: Service::PLAIN, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    plane.add_nat_address(NAT);
    let narrow = plane.add_backend(H2, WEB, backend_mac(H2));
    plane.set_maglev(1, &[narrow]);
    let connection = plane.establish(client(1));
    establish(&plane, visitor(1));
    plane.assert_works(&connection);
}
