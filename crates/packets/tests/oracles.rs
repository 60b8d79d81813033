//! What is built here is what was thought up, and right: etherparse reads it, scapy reads it, and neither finds a length or
//! a checksum to mend. Both families, by themselves and in every tunnel.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use evenkeel_packets::{
    ACK, Change, Draft, Envelope, FIN, GUE_PORT, Icmp, Packet, RST, SERVICE_VLAN, SYN, VLAN, View, echo, end, end6,
    icmp, scapy, tcp, transport_sum_is_sound, udp,
};
use std::net::{IpAddr, SocketAddr};
use std::panic::{UnwindSafe, catch_unwind};

const V4: [SocketAddr; 2] = [end([192, 0, 2, 1], 40_000), end([203, 0, 113, 10], 80)];
const V6: [SocketAddr; 2] =
    [end6([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], 40_000), end6([0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10], 80)];
/// Who is at the ends of tunnels.
const OUTER_V4: [SocketAddr; 2] = [end([198, 51, 100, 1], 50_000), end([10, 1, 0, 1], GUE_PORT)];
const OUTER_V6: [SocketAddr; 2] =
    [end6([0x2001, 0xdb8, 3, 0, 0, 0, 0, 1], 50_000), end6([0xfd00, 0, 0, 0, 0, 0, 0, 1], GUE_PORT)];

/// A draft, and the headers that scapy has to find in it.
type Case = (Draft, String);

/// Every kind of packet that a balancer may send on, in this family.
fn balanced([from, to]: [SocketAddr; 2]) -> Vec<Case> {
    let (ip, request) = match from {
        SocketAddr::V4(_) => ("IP", "ICMP/Raw"),
        SocketAddr::V6(_) => ("IPv6", "ICMPv6EchoRequest"),
    };
    let cases = [
        (tcp(from, to, SYN), "TCP/Raw"),
        (tcp(from, to, FIN | ACK).payload(b""), "TCP"),
        (tcp(from, to, RST).payload(b"odd").tcp_options(&[2, 4, 5, 0xb4]), "TCP/Raw"),
        (udp(from, to), "UDP/Raw"),
        (udp(from, to).payload(&[0xa5; 1201]), "UDP/Raw"),
        (udp(from, to).without_checksum(), "UDP/Raw"),
        (echo(from.ip(), to.ip()), request),
    ];
    cases.map(|(draft, headers)| (draft.ttl(9).traffic_class(46, 1), format!("{ip}/{headers}"))).into()
}

/// What a balancer has no connection for.
fn others([from, to]: [SocketAddr; 2]) -> Vec<Case> {
    let (ip, reply, unreachable) = match from {
        SocketAddr::V4(_) => ("IP", "ICMP/Raw", "ICMP"),
        SocketAddr::V6(_) => ("IPv6", "ICMPv6EchoReply", "ICMPv6DestUnreach"),
    };
    let quoted = &udp(to, from).bytes()[14..];
    let cases = [
        (icmp(from.ip(), to.ip(), Icmp::Reply), reply),
        (icmp(from.ip(), to.ip(), Icmp::Unreachable).payload(quoted), unreachable),
        (tcp((from.ip(), 0), (to.ip(), 0), 0).protocol(132), "Raw"),
    ];
    cases.map(|(draft, headers)| (draft, format!("{ip}/{headers}"))).into()
}

/// What only one of the families has: IPv4's options, IPv6's extension headers.
fn peculiarities() -> Vec<Case> {
    let ([from, to], [from6, to6]) = (V4, V6);
    let pad = [1, 4, 0, 0, 0, 0];
    let cases = [
        (tcp(from, to, ACK).options(&[1; 40]), "IP/TCP/Raw"),
        (tcp(from6, to6, ACK).extension(0, &pad), "IPv6/IPv6ExtHdrHopByHop/TCP/Raw"),
        (
            tcp(from6, to6, ACK)
                .extension(0, &pad)
                .extension(43, &[0; 6])
                .extension(60, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "IPv6/IPv6ExtHdrHopByHop/IPv6ExtHdrRouting/IPv6ExtHdrDestOpt/TCP/Raw",
        ),
    ];
    cases.map(|(draft, headers)| (draft, headers.to_owned())).into()
}

/// Parts of larger packets. Those behind the first are not asked for a transport.
fn fragments() -> Vec<Case> {
    let ([from, to], [from6, to6]) = (V4, V6);
    let cases = [
        (udp(from, to).fragment(0, true), "IP/UDP/Raw"),
        (udp(from, to).fragment(0x1fff, false), "IP/Raw"),
        (udp(from6, to6).fragment(0, true), "IPv6/IPv6ExtHdrFragment/UDP/Raw"),
        (udp(from6, to6).fragment(0x1fff, false), "IPv6/IPv6ExtHdrFragment/Raw"),
        (
            tcp(from6, to6, ACK).extension(60, &[1, 4, 0, 0, 0, 0]).fragment(0, true),
            "IPv6/IPv6ExtHdrDestOpt/IPv6ExtHdrFragment/TCP/Raw",
        ),
    ];
    cases.map(|(draft, headers)| (draft, headers.to_owned())).into()
}

/// Each of these by itself and in every tunnel.
fn in_every_tunnel(cases: Vec<Case>) -> Vec<Case> {
    let mut all = Vec::new();
    for (draft, headers) in cases {
        for ([from, to], ip) in [(OUTER_V4, "IP"), (OUTER_V6, "IPv6")] {
            all.push((draft.clone().ipip(from.ip(), to.ip()), format!("{ip}/{headers}")));
            all.push((draft.clone().gue(from, to), format!("{ip}/UDP/Gue/{headers}")));
            all.push((draft.clone().gue_without_checksum(from, to), format!("{ip}/UDP/Gue/{headers}")));
        }
        all.push((draft, headers));
    }
    all
}

/// Everything that a draft can say, and what is in front of it.
fn cases() -> Vec<Case> {
    let cases = [balanced(V4), balanced(V6), others(V4), others(V6), peculiarities(), fragments()];
    let cases = in_every_tunnel(cases.concat());
    let mut all: Vec<_> = cases.iter().map(|(draft, headers)| (draft.clone(), format!("Ether/{headers}"))).collect();
    for (draft, headers) in cases {
        all.push((draft.clone().tag(VLAN, 7), format!("Ether/Dot1Q/{headers}")));
        let draft = draft.tag(SERVICE_VLAN, 4095).tag(VLAN, 0);
        all.push((draft, format!("Ether/Dot1AD/Dot1Q/{headers}")));
    }
    all
}

#[test]
fn scapy_agrees_with_every_length_and_checksum_and_finds_the_same_headers() {
    let cases = cases();
    let packets: Vec<_> = cases.iter().map(|(draft, _)| draft.bytes()).collect();
    for ((draft, headers), found) in cases.iter().zip(scapy::read(&packets)) {
        assert_eq!(*headers, found, "{draft:?}");
    }
}

#[test]
fn etherparse_reads_what_was_thought_up() {
    for (draft, _) in cases() {
        let bytes = draft.clone().padding(6).bytes();
        let packet = Packet::of(&bytes).unwrap_or_else(|| panic!("not well-formed: {draft:?}"));
        assert_eq!((packet.source(), packet.destination()), (draft.from, draft.to), "{draft:?}");
        assert_eq!(packet.padding, [0; 6], "{draft:?}");
        assert_eq!(packet.bytes(), bytes, "{draft:?}");
    }
    let [from, to] = V6;
    let draft = tcp(from, to, SYN | ACK).ttl(3).traffic_class(10, 0).payload(b"payload").source_mac([2; 6]);
    let [outer_from, outer_to] = OUTER_V4;
    for draft in [draft.clone(), draft.clone().ipip(outer_from.ip(), outer_to.ip()), draft.gue(outer_from, outer_to)] {
        let view = View::of(&draft.bytes());
        assert_eq!((view.from, view.to, view.ttl, view.dscp, view.flags), (from, to, 3, 10, SYN | ACK), "{draft:?}");
        assert_eq!((view.payload.as_slice(), view.source_mac), (b"payload".as_slice(), [2; 6]), "{draft:?}");
    }
}

#[test]
fn a_tunnel_is_between_its_own_ends() {
    let ends = |envelope: &Envelope| (envelope.network.source(), envelope.network.destination());
    for [from, to] in [V4, V6] {
        for outer in [OUTER_V4, OUTER_V6] {
            let addresses: (IpAddr, IpAddr) = (outer[0].ip(), outer[1].ip());
            let packet = Packet::of(&tcp(from, to, SYN).ttl(1).ipip(addresses.0, addresses.1).bytes()).unwrap();
            let envelope = packet.envelope.expect("it was put into one");
            assert_eq!((ends(&envelope), envelope.udp, envelope.network.hop_limit()), (addresses, None, 64));
            let packet = Packet::of(&tcp(from, to, SYN).gue(outer[0], outer[1]).bytes()).unwrap();
            let envelope = packet.envelope.expect("it was put into one");
            let udp = envelope.udp.clone().expect("GUE is in UDP");
            assert_eq!(ends(&envelope), addresses);
            assert_eq!((udp.source_port, udp.destination_port), (50_000, GUE_PORT));
        }
    }
}

#[test]
fn what_only_looks_like_a_tunnel_is_none() {
    let [from, mut to] = V4;
    to.set_port(GUE_PORT);
    // As it happens, this begins like IPv6.
    for payload in [b"evenkeel".as_slice(), b"", &[0x45; 40]] {
        let packet = Packet::of(&udp(from, to).payload(payload).bytes()).unwrap();
        assert_eq!((packet.envelope, packet.payload.as_slice()), (None, payload));
    }
    let packet = Packet::of(&tcp(from, to, 0).protocol(41).payload(b"evenkeel").bytes()).unwrap();
    assert_eq!(packet.envelope, None);
}

#[test]
fn both_oracles_make_the_same_of_a_change() {
    let cases = in_every_tunnel([balanced(V4), balanced(V6), peculiarities()].concat());
    let translated = cases.iter().map(|(draft, _)| {
        let [source, destination] = match draft.from {
            SocketAddr::V4(_) => [end([198, 51, 100, 2], 20_001), end([10, 1, 0, 3], 8080)],
            SocketAddr::V6(_) => {
                [end6([0x2001, 0xdb8, 9, 0, 0, 0, 0xffff, 1], 20_001), end6([0xfd00, 0, 0, 1, 0, 0, 0, 3], 8080)]
            }
        };
        let (destination_mac, source_mac) = ([2, 0, 1, 2, 3, 4], [2, 0, 0, 0, 0, 0x10]);
        let change = Change { destination_mac, source_mac, source, destination, ttl: 8 };
        let input = draft.bytes();
        let output = Packet::of(&input).unwrap().changed(&change).bytes();
        let view = View::of(&output);
        assert_eq!((view.from.ip(), view.to.ip(), view.ttl), (source.ip(), destination.ip(), 8), "{draft:?}");
        scapy::Translation { input, change, output }
    });
    scapy::judge(&translated.collect::<Vec<_>>());
}

#[test]
fn scapy_agrees_with_the_reset_that_answers_a_segment() {
    let segments = [(SYN, RST | ACK), (FIN, RST | ACK), (ACK, RST), (SYN | ACK, RST)];
    for ([from, to], (flags, answer)) in [V4, V6].into_iter().flat_map(|ends| segments.map(|flags| (ends, flags))) {
        let drafts = [tcp(from, to, flags), tcp(from, to, flags).tcp_options(&[1; 40]).payload(b"")];
        let resets = drafts.clone().map(|draft| draft.packet().reset().bytes());
        for (draft, reset) in drafts.iter().zip(&resets) {
            let view = View::of(reset);
            assert_eq!((view.from, view.to, view.flags), (draft.to, draft.from, answer));
            assert_eq!((view.ttl, view.payload.len(), reset.len()), (64, 0, draft.bytes().len()));
        }
        for headers in scapy::read(&resets) {
            assert!(headers.ends_with("TCP/Padding"), "{headers}");
        }
    }
}

#[test]
fn scapy_agrees_with_what_is_said_about_a_packet() {
    let [from, to] = V4;
    let drafts = [udp(from, to), udp(from, to).payload(b""), tcp(from, to, SYN).options(&[1; 40]).tag(VLAN, 7)];
    let said = drafts.iter().flat_map(|draft| {
        [(draft, draft.packet().unreachable(), [3, 3]), (draft, draft.packet().time_exceeded(), [11, 0])]
    });
    let mut messages = Vec::new();
    for (draft, message, kind) in said {
        let bytes = message.bytes();
        let view = View::of(&bytes);
        assert_eq!((view.from.ip(), view.to.ip(), view.ttl), (to.ip(), from.ip(), 64));
        // Behind the message's own two headers is the packet from its IP header to eight bytes behind that.
        let packet = draft.bytes();
        let ip = if packet[12..14] == [0x08, 0x00] { 14 } else { 18 };
        let header = usize::from(packet[ip] & 0xf) * 4;
        assert_eq!(view.payload, packet[ip..ip + header + 8], "{draft:?}");
        let icmp = bytes.len() - view.payload.len() - 8;
        assert_eq!(bytes[icmp..icmp + 2], kind);
        messages.push(bytes);
    }
    for headers in scapy::read(&messages) {
        assert!(headers.ends_with("IP/ICMP"), "{headers}");
    }
}

/// Whether this fails a test.
fn is_refused(judge: impl FnOnce() + UnwindSafe) -> bool {
    catch_unwind(judge).is_err()
}

#[test]
fn neither_oracle_lets_a_wrong_checksum_pass() {
    for ([from, to], header) in [(V4, 20), (V6, 40)] {
        for [outer_from, outer_to] in [OUTER_V4, OUTER_V6] {
            let plain = tcp(from, to, ACK);
            let ipip = plain.clone().ipip(outer_from.ip(), outer_to.ip());
            let gue = plain.clone().gue(outer_from, outer_to);
            let outer = if outer_from.is_ipv4() { 20 } else { 40 };
            // The inner transport's checksum, and that of the tunnel's UDP header.
            let places = [(plain, 14 + header + 16), (ipip, 14 + outer + header + 16), (gue, 14 + outer + 6)];
            for (draft, place) in places {
                let mut bytes = draft.bytes();
                bytes[place] ^= 0x10;
                assert!(is_refused(|| drop(View::of(&bytes))), "etherparse does not mind: {draft:?}");
                assert!(is_refused(|| drop(scapy::read(&[bytes.clone()]))), "scapy does not mind: {draft:?}");
            }
        }
    }
}

#[test]
fn a_transport_is_sound_until_it_is_damaged() {
    for [from, to] in [V4, V6] {
        for draft in [tcp(from, to, SYN), udp(from, to), echo(from.ip(), to.ip())] {
            let mut bytes = draft.bytes();
            assert_eq!(transport_sum_is_sound(&bytes, 14), Some(true), "{draft:?}");
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(transport_sum_is_sound(&bytes, 14), Some(false), "{draft:?}");
        }
        assert_eq!(transport_sum_is_sound(&udp(from, to).without_checksum().bytes(), 14), None);
        assert_eq!(transport_sum_is_sound(&tcp(from, to, 0).protocol(132).bytes(), 14), None);
    }
}

#[test]
#[should_panic(expected = "of two families")]
fn nobody_speaks_to_the_other_family() {
    tcp(V4[0], V6[1], SYN).bytes();
}
