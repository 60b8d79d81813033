//! ARP in an Ethernet frame.

use super::IntoBytes as _;
use evenkeel_wire::{Arp, EtherType, Ethernet, MacAddress};
use zerocopy::FromBytes as _;

/// The shortest frame, without its check sequence (IEEE 802.3, clause 4.2.3.3).
const SHORTEST: usize = 60;

/// A frame that carries this to `destination`.
pub(super) fn arp(destination: MacAddress, arp: &Arp) -> Vec<u8> {
    let ethernet = Ethernet { destination, source: arp.sender_mac, ether_type: EtherType::ARP };
    let mut frame = [ethernet.as_bytes(), arp.as_bytes()].concat();
    frame.resize(SHORTEST, 0);
    frame
}

/// The ARP packet that a frame carries, if it is about IPv4 and comes from a host.
pub(super) fn read_arp(frame: &[u8]) -> Option<Arp> {
    let (ethernet, rest) = Ethernet::read_from_prefix(frame).ok()?;
    let (arp, _) = Arp::read_from_prefix(rest).ok()?;
    let from_a_host = !arp.sender_mac.is_zero() && arp.sender_mac.0[0] & 1 == 0;
    (ethernet.ether_type == EtherType::ARP && arp.is_ipv4_over_ethernet() && from_a_host).then_some(arp)
}
