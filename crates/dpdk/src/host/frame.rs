//! Ethernet frames, with VLAN tags or without.

use arrayvec::ArrayVec;
use evenkeel_wire::{EtherType, Ethernet, MacAddress, VlanTag};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The shortest frame, without its check sequence (IEEE 802.3, clause 4.2.3.3).
const SHORTEST: usize = 60;
/// Tags that a frame may have, as for the core.
const TAGS: usize = 2;

/// The VLAN tags of a frame, outermost first, each with the EtherType that announces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags(ArrayVec<(EtherType, [u8; 2]), TAGS>);

impl Tags {
    /// One tag of IEEE 802.1Q, or none.
    pub(super) fn of(vlan: Option<u16>) -> Self {
        Self(vlan.map(|vlan| (EtherType::VLAN, vlan.to_be_bytes())).into_iter().collect())
    }

    /// Whether they name this VLAN and no other. A tag of no VLAN says only how urgent the frame is (IEEE 802.1Q, clause 9.6).
    pub(super) fn are_of(&self, vlan: Option<u16>) -> bool {
        let named = self.0.iter().map(|(_, control)| u16::from_be_bytes(*control) & 0xfff).filter(|vlan| *vlan != 0);
        named.eq(vlan)
    }
}

/// A frame that was taken apart.
#[derive(Debug)]
pub(super) struct Parts<'f> {
    pub(super) source: MacAddress,
    pub(super) tags: Tags,
    pub(super) ether_type: EtherType,
    /// What follows the tags.
    pub(super) payload: &'f [u8],
}

/// Takes a frame apart, if it comes from a host. `is_wanted` says of what follows the tags whether there is any need to.
#[inline]
pub(super) fn read(frame: &[u8], is_wanted: impl Fn(EtherType) -> bool) -> Option<Parts<'_>> {
    let (ethernet, mut payload) = Ethernet::ref_from_prefix(frame).ok()?;
    let mut tags = Tags::default();
    let mut ether_type = ethernet.ether_type;
    while ether_type.is_vlan() && !tags.0.is_full() {
        let (tag, rest) = VlanTag::ref_from_prefix(payload).ok()?;
        tags.0.push((ether_type, tag.control));
        (ether_type, payload) = (tag.ether_type, rest);
    }
    let is_fit = is_wanted(ether_type) && is_host(ethernet.source);
    is_fit.then_some(Parts { source: ethernet.source, tags, ether_type, payload })
}

/// Whether a host may have this Ethernet address.
pub(super) fn is_host(mac: MacAddress) -> bool {
    !mac.is_zero() && !mac.is_group()
}

/// A frame with these parts.
pub(super) fn write(
    destination: MacAddress,
    source: MacAddress,
    tags: &Tags,
    ether_type: EtherType,
    payload: &[&[u8]],
) -> Vec<u8> {
    let mut frame = [destination.as_bytes(), source.as_bytes()].concat();
    for (announced, control) in &tags.0 {
        frame.extend_from_slice(&[announced.0, *control].concat());
    }
    frame.extend_from_slice(&ether_type.0);
    payload.iter().for_each(|part| frame.extend_from_slice(part));
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}
