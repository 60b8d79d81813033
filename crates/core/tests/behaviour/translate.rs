//! Full NAT: what changes in a packet, and what does not.

use crate::support::*;
use evenkeel_core::Reason;
use evenkeel_core::flow::Side;

#[test]
fn a_segment_goes_to_the_backend_and_its_answer_comes_back() {
    let plane: MemoryPlane = scene(64);

    let sent = plane.to_backend(&tcp(client(1), WEB, SYN).ttl(64).traffic_class(46, 0).payload(b"hello"));
    assert_eq!(sent.from.ip(), NAT);
    assert!((10_000..20_000).contains(&sent.from.port()));
    assert!(sent.to == H2 || sent.to == H3);
    assert_eq!((sent.source_mac, sent.destination_mac), (OUR_MAC, backend_mac(sent.to)));
    assert_eq!((sent.ttl, sent.dscp, sent.flags, sent.payload.as_slice()), (63, 46, SYN, b"hello".as_slice()));

    let answer =
        tcp(sent.to, sent.from, SYN | ACK).source_mac(backend_mac(sent.to)).ttl(60).traffic_class(10, 0).payload(b"");
    let got = plane.to_client(&answer);
    assert_eq!((got.from, got.to), (WEB, client(1)));
    assert_eq!((got.source_mac, got.destination_mac), (OUR_MAC, CLIENT_MAC));
    assert_eq!((got.ttl, got.dscp, got.flags, got.payload.as_slice()), (59, 10, SYN | ACK, b"".as_slice()));
}

#[test]
fn a_datagram_goes_to_the_backend_and_its_answer_comes_back() {
    let plane: MemoryPlane = scene(64);

    let sent = plane.to_backend(&udp(client(1), DNS).payload(b"question"));
    assert_eq!((sent.from.ip(), sent.payload.as_slice()), (NAT, b"question".as_slice()));
    assert_ne!(sent.checksum, 0);

    let got = plane.to_client(&udp(sent.to, sent.from).payload(b"an answer of odd length"));
    assert_eq!((got.from, got.to, got.payload.as_slice()), (DNS, client(1), b"an answer of odd length".as_slice()));
    assert_ne!(got.checksum, 0);
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let plane: MemoryPlane = scene(64);
    let sent = plane.to_backend(&udp(client(1), DNS).without_checksum());
    assert_eq!(sent.checksum, 0);
    let got = plane.to_client(&udp(sent.to, sent.from).without_checksum());
    assert_eq!(got.checksum, 0);
}

#[test]
fn a_datagram_whose_new_checksum_is_zero_carries_ones() {
    // Every value of one 16-bit word of payload gives every checksum once; 0 must come out as 0xffff.
    let plane: MemoryPlane = scene(64);
    let mut ones = 0;
    for word in 0..=u16::MAX {
        let sent = plane.to_backend(&udp(client(1), DNS).payload(&word.to_be_bytes()));
        assert_ne!(sent.checksum, 0);
        ones += u32::from(sent.checksum == 0xffff);
    }
    assert_eq!(ones, 1);
}

#[test]
fn every_transport_checksum_survives_the_way_there_and_back() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for word in (0..=u16::MAX).step_by(17) {
        // `View` checks them.
        plane.to_backend(&connection.says(ACK).payload(&word.to_be_bytes()));
        plane.to_client(&connection.answers(ACK).payload(&word.to_be_bytes()));
    }
}

#[test]
fn only_what_translation_needs_changes() {
    let plane: MemoryPlane = scene(64);
    let before = tcp(client(1), WEB, SYN).tag(VLAN, 7).options(&[1, 1, 1, 0]).payload(&[0xa5; 1200]).bytes();
    let mut after = before.clone();
    assert_eq!(plane.process(&mut after), Reason::ToBackend);
    let ip = 18;
    let transport = ip + 24;
    // MAC addresses; TTL; IPv4 checksum and addresses; ports; TCP checksum.
    let may_change = |at: usize| {
        at < 12
            || at == ip + 8
            || (ip + 10..ip + 20).contains(&at)
            || (transport..transport + 4).contains(&at)
            || (transport + 16..transport + 18).contains(&at)
    };
    for (at, (old, new)) in before.iter().zip(&after).enumerate() {
        assert!(old == new || may_change(at), "byte {at} went from {old:#x} to {new:#x}");
    }
}

#[test]
fn padding_behind_the_packet_is_left_alone_and_not_counted() {
    let plane: MemoryPlane = scene(64);
    let mut bytes = tcp(client(1), WEB, SYN).payload(b"").bytes();
    let length = bytes.len() as u64;
    bytes.extend([0xee; 6]);
    assert_eq!(plane.process(&mut bytes), Reason::ToBackend);
    assert!(bytes.ends_with(&[0xee; 6]));
    let counted = [FIRST, SECOND].map(|backend| plane.traffic(backend, Side::Client));
    assert!(counted.contains(&(1, length)) && counted.contains(&(0, 0)), "{counted:?}");
}

#[test]
fn traffic_is_counted_by_side() {
    let plane: MemoryPlane = scene(64);
    plane.set_maglev(TABLE, &[SECOND]);
    let connection = plane.establish(client(1));
    let backend = SECOND;
    let segment = connection.says(ACK).bytes().len() as u64;
    assert_eq!(plane.traffic(backend, Side::Client), (2, 2 * segment));
    assert_eq!(plane.traffic(backend, Side::Backend), (1, segment));
}

#[test]
fn the_last_hop_of_a_time_to_live_is_not_given_away() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for ttl in [0, 1] {
        assert_eq!(plane.verdict(&tcp(client(2), WEB, SYN).ttl(ttl)), Reason::TtlExpired);
        assert_eq!(plane.verdict(&connection.says(ACK).ttl(ttl)), Reason::TtlExpired);
        assert_eq!(plane.verdict(&connection.answers(ACK).ttl(ttl)), Reason::TtlExpired);
    }
    assert_eq!(plane.to_backend(&connection.says(ACK).ttl(2)).ttl, 1);
}

#[test]
fn a_port_of_the_service_is_mapped_to_the_backends_and_back() {
    let mut plane: MemoryPlane = scene(64);
    // "Any port" on both sides: the backend listens where the client asked, and answers from there.
    let any = |end: SocketAddr| SocketAddr::new(end.ip(), 0);
    let service = evenkeel_core::Service { table: 1, flags: evenkeel_core::Service::PLAIN, idle: 0, newcomers: 0 };
    plane.add_service([10, 0, 0, 20].into(), 0, evenkeel_wire::IpProtocol::TCP, service);
    let backend = plane.add_backend(any(H2), any(end([10, 0, 0, 20], 0)), backend_mac(H2));
    plane.set_maglev(1, &[backend]);

    for port in [1, 80, 8443, u16::MAX] {
        let customer = at(client(1).ip(), port);
        let service = end([10, 0, 0, 20], port);
        let sent = plane.to_backend(&tcp(customer, service, SYN));
        assert_eq!(sent.to, at(H2.ip(), port));
        let got = plane.to_client(&tcp(sent.to, sent.from, SYN | ACK));
        assert_eq!((got.from, got.to), (service, customer));
        let sent_again = plane.to_backend(&tcp(customer, service, ACK));
        assert_eq!((sent_again.from, sent_again.to), (sent.from, sent.to));
    }
    // The other service's port is 80 outside and 8080 inside, by the same code.
    assert_eq!(plane.open(client(1)).backend.port(), 8080);
}
