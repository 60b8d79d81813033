//! A SYN that no backend takes, for a service that refuses: the reset that answers it.

use crate::support::*;
use etherparse::{PacketHeaders, TcpHeader, TransportHeader};
use evenkeel_core::{Reason, Service};
use evenkeel_wire::IpProtocol;

/// The scene with a service that refuses and has no backend.
fn refusing() -> MemoryPlane {
    let mut plane = scene(64);
    let service = Service { table: TABLE as u32, flags: Service::RESET, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    plane.add_service(DNS.ip(), DNS.port(), IpProtocol::UDP, service);
    plane.set_maglev(TABLE, &[]);
    plane
}

/// The reset, and its TCP header.
fn refused(plane: &MemoryPlane, draft: &Draft) -> (View, TcpHeader) {
    let mut bytes = draft.bytes();
    assert_eq!(plane.process(&mut bytes), Reason::Refused, "{draft:?}");
    let headers = PacketHeaders::from_ethernet_slice(&bytes).expect("a well-formed packet");
    let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("TCP") };
    (View::of(&bytes), tcp)
}

#[test]
fn a_syn_is_answered_by_a_reset_from_the_service() {
    let plane = refusing();
    let (view, tcp) = refused(&plane, &tcp(client(1), WEB, SYN).payload(&[]));
    assert_eq!((view.from, view.to), (WEB, client(1)));
    assert_eq!((view.source_mac, view.destination_mac), (OUR_MAC, CLIENT_MAC));
    assert_eq!((view.flags, view.ttl, view.payload.as_slice()), (RST | ACK, 64, [].as_slice()));
    // RFC 9293, section 3.10.7.1: the sequence number is zero, and the SYN is acknowledged.
    let syn = TcpHeader::from_slice(&self::tcp(client(1), WEB, SYN).bytes()[34..]).expect("a header").0;
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (0, syn.sequence_number + 1));
    assert_eq!((tcp.window_size, tcp.urgent_pointer, tcp.options.len()), (0, 0, 0));
}

#[test]
fn what_a_syn_carries_is_acknowledged_as_well_and_not_sent_back() {
    let plane = refusing();
    let syn = TcpHeader::from_slice(&tcp(client(1), WEB, SYN).bytes()[34..]).expect("a header").0;
    for length in [1, 7, 500, 1400] {
        let draft = tcp(client(1), WEB, SYN).payload(&vec![0x5a; length]);
        for draft in [draft.clone(), draft.clone().options(&[1; 40]), draft.tag(VLAN, 7)] {
            let (view, tcp) = refused(&plane, &draft);
            assert_eq!(tcp.acknowledgment_number, syn.sequence_number + 1 + length as u32, "{length}");
            assert!(view.payload.is_empty());
        }
    }
}

#[test]
fn every_checksum_is_right_whatever_the_client() {
    let plane = refusing();
    // `View::of` has etherparse check them.
    for n in 0..2000 {
        refused(&plane, &tcp(end([10, 1, (n >> 8) as u8, n as u8], 1024 + 31 * n), WEB, SYN));
    }
}

#[test]
fn nothing_but_a_syn_is_refused_and_nothing_but_tcp() {
    let plane = refusing();
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | SYN] {
        assert_eq!(plane.verdict(&tcp(client(1), WEB, flags)), Reason::FlowMissing);
    }
    assert_eq!(plane.verdict(&udp(client(1), DNS)), Reason::NoBackend);
    assert_eq!(plane.verdict(&tcp(client(1), WEB, SYN).ttl(1)), Reason::TtlExpired);
    assert_eq!(plane.verdict(&tcp(at(NAT, 5000), WEB, SYN)), Reason::OwnSource);
}

#[test]
fn live_connections_go_on_while_new_ones_are_refused() {
    let mut plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let service = Service { table: TABLE as u32, flags: Service::RESET, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    plane.set_maglev(TABLE, &[]);
    refused(&plane, &tcp(client(2), WEB, SYN));
    plane.assert_works(&connection);
}
