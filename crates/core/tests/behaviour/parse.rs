//! VLAN tags, IP options, fragments, and headers that lie.

use crate::support::*;
use evenkeel_core::Reason;

/// Where the IPv4 header begins in a packet without VLAN tags.
const IP: usize = 14;

fn changed(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

#[test]
fn one_and_two_vlan_tags_are_kept() {
    let plane: MemoryPlane = scene(64);
    for tags in [vec![(VLAN, 100)], vec![(SERVICE_VLAN, 100), (VLAN, 200)]] {
        let draft = tags.iter().fold(tcp(client(1), WEB, SYN), |draft, &(ether_type, id)| draft.tag(ether_type, id));
        let before = draft.bytes();
        let mut after = before.clone();
        assert_eq!(plane.process(&mut after), Reason::ToBackend);
        let tagged = 12..12 + 4 * tags.len() + 2;
        assert_eq!(after[tagged.clone()], before[tagged]);
        assert_eq!(View::of(&after).to.port(), 8080);
    }
}

#[test]
fn three_vlan_tags_are_not_for_us() {
    let plane: MemoryPlane = scene(64);
    assert_eq!(
        plane.verdict(&tcp(client(1), WEB, SYN).tag(SERVICE_VLAN, 1).tag(SERVICE_VLAN, 2).tag(VLAN, 3)),
        Reason::NotIpv4
    );
}

#[test]
fn the_ports_are_found_behind_options() {
    let plane: MemoryPlane = scene(64);
    for words in 1..=10 {
        let sent = plane.to_backend(&tcp(client(words), WEB, SYN).options(&vec![1; 4 * usize::from(words)]));
        assert_eq!((sent.from.ip(), sent.to.port()), (NAT, 8080));
    }
}

#[test]
fn no_fragment_is_translated() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    // The first part has ports and would match; the later ones hold payload where ports would be.
    for (offset, more) in [(0, true), (1, true), (1, false), (0x1fff, false)] {
        assert_eq!(plane.verdict(&connection.says(ACK).fragment(offset, more)), Reason::Fragment);
        assert_eq!(plane.verdict(&connection.answers(ACK).fragment(offset, more)), Reason::Fragment);
        assert_eq!(plane.verdict(&udp(client(2), DNS).fragment(offset, more)), Reason::Fragment);
        assert_eq!(plane.verdict(&echo(client(2).ip(), WEB.ip()).fragment(offset, more)), Reason::Fragment);
        // Somebody else's fragment is not ours to drop; 10.0.0.99 is one that the filter lets pass as foreign,
        // 10.0.0.98 one that it takes for ours at first.
        for last in [98, 99] {
            assert_eq!(
                plane.verdict(&udp(client(2), end([10, 0, 0, last], 80)).fragment(offset, more)),
                Reason::NotOurs
            );
        }
    }
}

#[test]
fn do_not_fragment_is_not_a_fragment() {
    let plane: MemoryPlane = scene(64);
    let mut bytes = tcp(client(1), WEB, SYN).bytes();
    bytes[IP + 6] |= 0x40;
    assert_eq!(plane.process(&mut bytes), Reason::ToBackend);
    assert_eq!(bytes[IP + 6], 0x40);
}

#[test]
fn a_header_that_contradicts_itself_is_dropped() {
    let plane: MemoryPlane = scene(64);
    let sound = tcp(client(1), WEB, SYN).bytes();
    let cases = [
        ("a header of 16 bytes", changed(sound.clone(), IP, 0x44)),
        ("a header longer than the packet", changed(sound.clone(), IP, 0x4f)),
        ("version 6", changed(sound.clone(), IP, 0x65)),
        ("a packet shorter than its headers", changed(sound.clone(), IP + 3, 39)),
        ("a packet longer than the frame", changed(sound.clone(), IP + 2, 1)),
    ];
    for (what, mut bytes) in cases {
        assert_eq!(plane.process(&mut bytes), Reason::Malformed, "{what}");
    }
}

#[test]
fn a_frame_may_end_anywhere() {
    let plane: MemoryPlane = scene(64);
    let whole = tcp(client(1), WEB, SYN).payload(b"").bytes();
    for length in 0..whole.len() {
        let expected = if length < IP + 20 { Reason::Truncated } else { Reason::Malformed };
        assert_eq!(plane.process(&mut whole[..length].to_vec()), expected, "{length} bytes");
    }
    assert_eq!(plane.process(&mut whole.clone()), Reason::ToBackend);
}

#[test]
fn a_tag_may_be_the_last_of_a_frame() {
    let plane: MemoryPlane = scene(64);
    let whole = tcp(client(1), WEB, SYN).tag(SERVICE_VLAN, 1).tag(VLAN, 2).bytes();
    for length in 0..IP + 8 + 20 {
        assert_eq!(plane.process(&mut whole[..length].to_vec()), Reason::Truncated, "{length} bytes");
    }
}
