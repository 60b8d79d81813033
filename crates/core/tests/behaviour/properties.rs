//! What holds for any bytes. `PROPTEST_CASES` raises the number of tries.

use crate::support::*;
use evenkeel_core::{Ours, Reason, Verdict};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;

/// A packet that means something to the scene, or nearly.
fn drafts() -> impl Strategy<Value = Draft> {
    let addresses = prop_oneof![
        4 => Just(WEB.ip()),
        2 => Just(NAT),
        1 => Just(H2.ip()),
        2 => (0..4u16).prop_map(|n| client(n).ip()),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
    ];
    let ports =
        prop_oneof![3 => Just(80u16), 2 => Just(8080), 2 => Just(40_000), 2 => 10_000..10_004u16, 1 => any::<u16>()];
    let ends = (addresses, ports).prop_map(|(address, port)| at(address, port));
    let shape = (0..3u8, 0..32u8, prop::collection::vec(0..4096u16, 0..4), 0..=10usize, 0..=3u8, 0..64u8);
    (ends.clone(), ends, shape, prop::collection::vec(any::<u8>(), 0..64)).prop_map(
        |(from, to, (kind, flags, vlans, options, ttl, dscp), payload)| {
            let draft = match kind {
                0 => tcp(from, to, flags),
                1 if flags & 1 == 0 => udp(from, to),
                1 => udp(from, to).without_checksum(),
                _ => echo(from.ip(), to.ip()),
            };
            let draft = vlans.iter().enumerate().fold(draft, |draft, (outer, &id)| {
                draft.tag(if outer + 1 < vlans.len() { SERVICE_VLAN } else { VLAN }, id)
            });
            draft.options(&vec![1; 4 * options]).ttl(ttl * 21).traffic_class(dscp, 0).payload(&payload)
        },
    )
}

/// A plane with connections in every state, for packets to meet.
fn lively() -> MemoryPlane<AtomicU64> {
    let mut plane: MemoryPlane = scene(16);
    (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_003);
    plane.establish(client(0));
    plane.open(client(1));
    let closing = plane.establish(client(2));
    plane.close(&closing);
    plane.open_udp(client(3));
    plane
}

fn ip_offset(bytes: &[u8]) -> usize {
    let mut offset = 14;
    while matches!(bytes.get(offset - 2..offset), Some([0x81, 0x00] | [0x88, 0xa8])) {
        offset += 4;
    }
    offset
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_harmless(mut bytes in prop::collection::vec(any::<u8>(), 0..200), to_us: bool) {
        if to_us && bytes.len() >= 14 {
            bytes[..6].copy_from_slice(&OUR_MAC);
            bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        }
        // `MemoryPlane::process` checks that nothing changes but what is sent.
        lively().process(&mut bytes);
    }

    #[test]
    fn damaged_packets_are_harmless(
        draft in drafts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = draft.bytes();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(length) = cut {
            bytes.truncate(length.index(bytes.len() + 1));
        }
        let before = bytes.clone();
        let reason = lively().process(&mut bytes);
        prop_assert_eq!(bytes.len(), before.len());
        if reason.verdict() == Verdict::Transmit {
            // A checksum that was right is right, one that was wrong is wrong: damage is never covered up.
            let (old, new) = (ip_offset(&before), ip_offset(&bytes));
            prop_assert_eq!(transport_sum_is_sound(&before, old), transport_sum_is_sound(&bytes, new));
        }
    }

    #[test]
    fn what_is_sent_is_sound_and_carries_the_same_payload(draft in drafts()) {
        let before = draft.bytes();
        let (reason, sent) = lively().send(&draft);
        if let Some(sent) = sent {
            // `View` has checked the checksums.
            let before = View::of(&before);
            prop_assert_eq!(&sent.payload, &before.payload);
            prop_assert_eq!((sent.dscp, sent.flags), (before.dscp, before.flags));
            prop_assert_eq!(sent.checksum == 0 && reason != Reason::EchoReply, before.checksum == 0);
            prop_assert_eq!(sent.source_mac, OUR_MAC);
            prop_assert_eq!(sent.ttl, if reason == Reason::EchoReply { 64 } else { before.ttl - 1 });
        }
    }

    #[test]
    fn what_is_said_unasked_is_sound_as_well(draft in drafts(), ttl in 0..3u8) {
        let mut plane = lively();
        (plane.ours, plane.settings.refuses) = (Ours::ALONE, 1);
        let (reason, sent) = plane.send(&draft.clone().ttl(ttl));
        let is_translated = matches!(reason, Reason::ToBackend | Reason::ToClient);
        if let Some(sent) = sent.filter(|_| !is_translated) {
            // `View` has checked the checksums.
            prop_assert_eq!((sent.source_mac, sent.destination_mac), (OUR_MAC, CLIENT_MAC), "{}", reason.name());
            prop_assert_eq!((sent.from.ip(), sent.to.ip()), (draft.to.ip(), draft.from.ip()), "{}", reason.name());
        }
    }

    #[test]
    fn what_is_not_for_us_is_passed(draft in drafts(), address: [u8; 4]) {
        let address = IpAddr::from(address);
        prop_assume!(address != WEB.ip() && address != NAT);
        let mut draft = draft;
        draft.to.set_ip(address);
        let reason = lively().verdict(&draft);
        prop_assert_eq!(reason.verdict(), Verdict::Pass, "{}", reason.name());
    }
}
