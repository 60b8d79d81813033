//! One direction of one connection, in 32 bytes.

use super::meta::{Meta, State};
use super::time::Tick;
use crate::backend::BackendRef;
use crate::key::{FlowKey, Peer, Side};
use crate::word::Word;
use evenkeel_wire::{IpProtocol, MacAddress};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a new entry says, in the words that it will hold; the count of uses in the control word is still zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct NewEntry {
    meta: u64,
    addresses: u64,
    ports: u64,
    peer: u64,
}

impl NewEntry {
    /// An entry in the state [`State::Opening`]. `peer` is, for a client entry, the NAT address and port to send from;
    /// for a reply entry, the client. `mac` is the Ethernet address that the client's packets come from.
    #[inline(always)]
    pub fn new(key: FlowKey, side: Side, seen: Tick, backend: BackendRef, peer: Peer, mac: MacAddress) -> Self {
        let side = if side == Side::Backend { Meta::BACKEND_SIDE } else { 0 };
        let udp = if key.protocol() == IpProtocol::UDP { Meta::UDP } else { 0 };
        Self {
            meta: Meta(side | udp).with_state(State::Opening).with_seen(seen).with_mac(mac).0,
            addresses: key.addresses,
            ports: key.ports | u64::from(backend.bits()) << 40,
            peer: pack_peer(peer, mac),
        }
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> FlowKey {
        FlowKey { addresses: self.addresses, ports: self.ports & FlowKey::PORTS_MASK }
    }

    /// When it was made.
    #[inline(always)]
    pub fn seen(&self) -> Tick {
        Meta(self.meta).seen()
    }

    /// The control word in the place claimed with `claim`.
    #[inline(always)]
    pub(crate) fn meta(&self, claim: Meta) -> Meta {
        Meta(claim.0 & Meta::USE | self.meta)
    }
}

/// One direction of one connection: control word, key, and what to do with its packets.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry<W> {
    /// See [`Meta`].
    pub meta: W,
    /// See [`FlowKey::addresses`].
    pub addresses: W,
    /// See [`FlowKey::ports`]; the backend's reference in the upper 24 bits.
    pub ports: W,
    /// From the low end: peer address, peer port, the last two bytes of the client's Ethernet address.
    pub peer: W,
}

impl<W: Word> Entry<W> {
    /// Whether the entry's key is this one. Means something only between two readings of the control word.
    #[inline(always)]
    pub(crate) fn has_key(&self, key: FlowKey) -> bool {
        self.key() == key
    }

    /// The entry's key. Means something only between two readings of the control word.
    #[inline(always)]
    pub(crate) fn key(&self) -> FlowKey {
        FlowKey { addresses: self.addresses.load(), ports: self.ports.load() & FlowKey::PORTS_MASK }
    }

    /// Fills a claimed entry. The control word is the caller's to publish.
    #[inline(always)]
    pub(crate) fn write(&self, new: &NewEntry) {
        self.addresses.store(new.addresses);
        self.ports.store(new.ports);
        self.peer.store(new.peer);
    }

    /// The backend's reference. Means something only between two readings of the control word.
    #[inline(always)]
    pub(crate) fn backend(&self) -> BackendRef {
        BackendRef::from_bits((self.ports.load() >> 40) as u32)
    }
}

#[inline(always)]
pub(crate) fn pack_peer(peer: Peer, mac: MacAddress) -> u64 {
    peer.bits() | mac.bits() >> 32 << 48
}

#[inline(always)]
pub(crate) fn unpack_peer(peer: u64, meta: Meta) -> (Peer, MacAddress) {
    let mac = MacAddress::from_bits(meta.0 >> Meta::MAC_SHIFT | peer >> 48 << 32);
    (Peer::from_bits(peer), mac)
}

const _: () = assert!(size_of::<Entry<u64>>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_wire::{Ipv4Address, Port};

    #[test]
    fn a_peer_and_an_ethernet_address_share_words() {
        let mac = MacAddress([1, 2, 3, 4, 5, 6]);
        let peer = Peer { address: Ipv4Address([192, 0, 2, 7]), port: Port::from_number(4096) };
        assert_eq!(unpack_peer(pack_peer(peer, mac), Meta(0).with_mac(mac)), (peer, mac));
    }
}
