//! ARP: how neighbours of IPv4 find each other (RFC 826).

use super::frame::{self, Tags};
use super::message::{Question, Said, Word};
use evenkeel_wire::{Arp, ArpOperation, EtherType, Ipv4Address, MacAddress};
use std::net::Ipv4Addr;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// What an ARP packet says, if it is about IPv4 and comes from a host.
pub(super) fn read(packet: &[u8]) -> Option<Said<'_>> {
    let (arp, _) = Arp::ref_from_prefix(packet).ok()?;
    if !arp.is_ipv4_over_ethernet() || !frame::is_host(arp.sender_mac) {
        return None;
    }
    let sender = (arp.sender != Ipv4Address::default()).then(|| Ipv4Addr::from(arp.sender).into());
    let question = (arp.operation == ArpOperation::REQUEST).then(|| Question {
        target: Ipv4Addr::from(arp.target).into(),
        asker: sender,
        mac: arp.sender_mac,
    });
    // ARP does not tell an answer from what is said unasked.
    let word = |address| Word { address, mac: Some(arp.sender_mac), is_answer: true, overrides: true };
    Some(Said::Neighbour { word: sender.map(word), question })
}

/// "Who has `target`? I am `sender`, and here." Of itself, that is an announcement (RFC 5227, section 2.3).
pub(super) fn question(to: MacAddress, mac: MacAddress, tags: &Tags, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let arp = Arp::new(ArpOperation::REQUEST, mac, sender.into(), MacAddress::default(), target.into());
    frame::write(to, mac, tags, EtherType::ARP, &[arp.as_bytes()])
}

/// "`target` is here."
pub(super) fn answer(to: MacAddress, mac: MacAddress, tags: &Tags, target: Ipv4Addr, asker: Ipv4Addr) -> Vec<u8> {
    let arp = Arp::new(ArpOperation::REPLY, mac, target.into(), to, asker.into());
    frame::write(to, mac, tags, EtherType::ARP, &[arp.as_bytes()])
}
