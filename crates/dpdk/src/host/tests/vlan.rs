//! VLAN tags.

use super::six::{BACKEND, NETWORK, SERVICE, advertisement, host_in, solicitation};
use super::*;
use evenkeel_packets::scapy;

const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SERVICE4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

/// The same frame with these tags.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

fn arp_question() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &THEIRS, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &THEIRS, &[10, 0, 0, 1]].concat();
    frame.extend([&[0; 6][..], &SERVICE4.octets()].concat());
    frame
}

fn host(vlan: Option<u16>) -> Host {
    let mut host = host_in(Network { vlan, ..NETWORK });
    host.set_addresses([SERVICE.into(), SERVICE4.into()], seconds(0));
    host
}

/// The tags of a frame that was sent, by their EtherTypes.
fn tags_of(frame: &[u8]) -> Vec<[u8; 4]> {
    let mut tags = Vec::new();
    let mut rest = &frame[12..];
    while let [0x81, 0, a, b, ..] | [0x88, 0xa8, a, b, ..] = *rest {
        tags.push([rest[0], rest[1], a, b]);
        rest = &rest[4..];
    }
    tags
}

const IN_5: [u8; 4] = [0x81, 0, 0, 5];
/// With a priority.
const URGENT_IN_5: [u8; 4] = [0x81, 0, 0xc0, 5];
const IN_6: [u8; 4] = [0x81, 0, 0, 6];
const AROUND: [u8; 4] = [0x88, 0xa8, 0, 7];
/// Of no VLAN.
const URGENT: [u8; 4] = [0x81, 0, 0xe0, 0];

#[test]
fn a_question_in_a_vlan_is_answered_there() {
    let questions = [arp_question(), solicitation(THEIRS, CLIENT, SERVICE).frame()];
    for tags in [&[][..], &[IN_5], &[URGENT_IN_5], &[AROUND, IN_5], &[URGENT]] {
        for question in &questions {
            let outcome = host(None).receive(&tagged(question, tags), seconds(20));
            assert_eq!(outcome.frames.len(), 1, "{tags:02x?}");
            assert_eq!(tags_of(&outcome.frames[0]), tags);
            scapy::read(&outcome.frames);
        }
    }
    // More than two are nobody's.
    for question in &questions {
        assert_eq!(host(None).receive(&tagged(question, &[AROUND, IN_5, IN_6]), seconds(20)), Outcome::default());
    }
}

#[test]
fn who_is_in_a_vlan_speaks_and_listens_there() {
    let mut host = host(Some(5));
    let frames: Vec<_> = (0..20).flat_map(|now| host.tick(seconds(now)).frames).collect();
    scapy::read(&frames);
    assert!(frames.len() > 20 && frames.iter().all(|frame| tags_of(frame) == [IN_5]));
    for question in [arp_question(), solicitation(THEIRS, CLIENT, SERVICE).frame()] {
        for (tags, is_answered) in [
            (&[IN_5][..], true),
            (&[URGENT_IN_5], true),
            (&[URGENT, IN_5], true),
            (&[], false),
            (&[URGENT], false),
            (&[IN_6], false),
            (&[AROUND, IN_5], false),
        ] {
            let outcome = host.receive(&tagged(&question, tags), seconds(20));
            assert_eq!(outcome.frames.len(), usize::from(is_answered), "{tags:02x?}");
        }
    }
    let answer = advertisement(THEIRS, BACKEND, 0x60).frame();
    assert_eq!(host.receive(&answer, seconds(20)).news, []);
    assert_eq!(host.receive(&tagged(&answer, &[IN_6]), seconds(20)).news, []);
    let known = News::Backend(BACKEND.into(), Resolution::Known(MacAddress(THEIRS)));
    assert_eq!(host.receive(&tagged(&answer, &[IN_5]), seconds(20)).news, [known]);
}

#[test]
fn a_backend_is_not_where_somebody_in_another_vlan_says_that_it_is() {
    let mut host = host(None);
    let answer = advertisement(THEIRS, BACKEND, 0x60).frame();
    assert_eq!(host.receive(&tagged(&answer, &[IN_5]), seconds(1)).news, []);
    // A priority is no VLAN.
    let known = News::Backend(BACKEND.into(), Resolution::Known(MacAddress(THEIRS)));
    assert_eq!(host.receive(&tagged(&answer, &[URGENT]), seconds(1)).news, [known]);
    // Who has our address in a VLAN in which we answer for it is in the way.
    let theirs = advertisement(MOVED, SERVICE, 0x20).frame();
    let conflict = News::Conflict(SERVICE.into(), MacAddress(MOVED));
    assert_eq!(host.receive(&tagged(&theirs, &[IN_5]), seconds(1)).news, [conflict]);
}
