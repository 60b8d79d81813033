//! ICMP echo: answered for our addresses only.

use crate::support::*;
use evenkeel_core::Reason;

const IP: usize = 14;
const ICMP: usize = IP + 20;

#[test]
fn our_addresses_answer() {
    let plane: MemoryPlane = scene(64);
    for ours in [WEB.ip(), NAT] {
        let (reason, reply) = plane.send(&echo(client(1).ip(), ours).ttl(9).payload(b"are you there?"));
        let reply = reply.expect("an answer is sent");
        assert_eq!(reason, Reason::EchoReply);
        assert_eq!((reply.from.ip(), reply.to.ip()), (ours, client(1).ip()));
        assert_eq!((reply.source_mac, reply.destination_mac), (OUR_MAC, CLIENT_MAC));
        assert_eq!((reply.ttl, reply.payload.as_slice()), (64, b"are you there?".as_slice()));
    }
}

#[test]
fn the_reply_is_a_reply() {
    let plane: MemoryPlane = scene(64);
    let before = echo(client(1).ip(), WEB.ip()).tag(VLAN, 5).bytes();
    let mut after = before.clone();
    assert_eq!(plane.process(&mut after), Reason::EchoReply);
    let icmp = ICMP + 4;
    assert_eq!((after[icmp], after[icmp + 1]), (0, 0));
    assert_eq!(after[icmp + 4..], before[icmp + 4..], "identifier, sequence and data come back");
}

#[test]
fn every_checksum_of_a_request_gives_a_right_reply() {
    // The carry of the incremental update shows only for some; etherparse checks each of them.
    let plane: MemoryPlane = scene(64);
    for word in 0..=u16::MAX {
        let (reason, _) = plane.send(&echo(client(1).ip(), WEB.ip()).payload(&word.to_be_bytes()));
        assert_eq!(reason, Reason::EchoReply);
    }
}

#[test]
fn nobody_elses_address_is_answered_for() {
    let plane: MemoryPlane = scene(64);
    for foreign in [[10, 0, 0, 98], [10, 0, 0, 99], [255; 4], [224, 0, 0, 2]].map(IpAddr::from) {
        assert_eq!(plane.verdict(&echo(client(1).ip(), foreign)), Reason::NotOurs);
    }
    for foreign in [H2.ip(), client(2).ip()] {
        assert_eq!(plane.verdict(&echo(client(1).ip(), foreign)), Reason::NotOurs);
    }
}

#[test]
fn nothing_but_a_request_is_answered() {
    let plane: MemoryPlane = scene(64);
    let request = echo(client(1).ip(), WEB.ip()).bytes();
    // Echo reply, unreachable, redirect, and a request with a code that does not exist.
    for (kind, code) in [(0, 0), (3, 3), (5, 1), (8, 1)] {
        let mut bytes = request.clone();
        (bytes[ICMP], bytes[ICMP + 1]) = (kind, code);
        assert_eq!(plane.process(&mut bytes), Reason::NotTcpUdp);
    }
}

#[test]
fn we_do_not_answer_ourselves() {
    let plane: MemoryPlane = scene(64);
    assert_eq!(plane.verdict(&echo(NAT, WEB.ip())), Reason::OwnSource);
    assert_eq!(plane.verdict(&echo(WEB.ip(), WEB.ip())), Reason::OwnSource);
}

#[test]
fn a_request_that_is_too_short_is_dropped() {
    let plane: MemoryPlane = scene(64);
    let mut bytes = echo(client(1).ip(), WEB.ip()).payload(b"").bytes();
    bytes[IP + 3] -= 1;
    assert_eq!(plane.process(&mut bytes), Reason::Malformed);
}
