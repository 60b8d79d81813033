//! One direction of one connection, in 32 bytes.

use crate::backend::BackendRef;
use crate::flow::Tick;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, Ipv4Address, MacAddress, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An IPv4 5-tuple as a packet carries it, in the two words that an entry keeps it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address in the low half, destination address in the high half.
    pub addresses: u64,
    /// Source port, destination port and protocol, from the low end; 40 bits.
    pub ports: u64,
}

impl FlowKey {
    const PORTS_MASK: u64 = (1 << 40) - 1;

    /// The key of packets from `source` to `destination`.
    #[inline(always)]
    pub fn new(source: Peer, destination: Peer, protocol: IpProtocol) -> Self {
        Self {
            addresses: u64::from(source.address.bits()) | u64::from(destination.address.bits()) << 32,
            ports: u64::from(source.port.bits())
                | u64::from(destination.port.bits()) << 16
                | u64::from(protocol.0) << 32,
        }
    }

    /// Where the packets come from.
    #[inline(always)]
    pub fn source(self) -> Peer {
        Peer { address: Ipv4Address::from_bits(self.addresses as u32), port: Port::from_bits(self.ports as u16) }
    }

    /// Where the packets go.
    #[inline(always)]
    pub fn destination(self) -> Peer {
        Peer {
            address: Ipv4Address::from_bits((self.addresses >> 32) as u32),
            port: Port::from_bits((self.ports >> 16) as u16),
        }
    }

    /// TCP or UDP.
    #[inline(always)]
    pub fn protocol(self) -> IpProtocol {
        IpProtocol((self.ports >> 32) as u8)
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Peer {
    /// The address.
    pub address: Ipv4Address,
    /// The port.
    pub port: Port,
}

impl Peer {
    /// The address in the low 32 bits, then the port, both as wire bytes in memory order.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        u64::from(self.address.bits()) | u64::from(self.port.bits()) << 32
    }

    /// The inverse of [`Peer::bits`]; the upper 16 bits are ignored.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self { address: Ipv4Address::from_bits(bits as u32), port: Port::from_bits((bits >> 32) as u16) }
    }
}

/// The way in which an entry's packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From a client to a service.
    Client,
    /// From a backend to a NAT address.
    Backend,
}

/// How far a connection has come. TCP and UDP share the states: a TCP connection moves by its flags, a UDP flow by who
/// has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The place is free.
    Free,
    /// A CPU is writing the entry.
    Claimed,
    /// The client has sent its first packet.
    Opening,
    /// The backend has answered.
    Answered,
    /// The client has confirmed the answer.
    Established,
    /// Both sides have sent FIN, or one has sent RST.
    Closing,
}

/// The entry's control word.
///
/// From the low end: state (3 bits), FIN seen from the client, FIN seen from the backend, side, UDP, one spare; a
/// counter of the place's uses (8 bits), which tells a reader that an entry was replaced under its eyes; when the
/// connection was last active (16 bits); the client's Ethernet address, first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(pub u64);

impl Meta {
    const STATE: u64 = 0x07;
    const CLIENT_FIN: u64 = 0x08;
    const BACKEND_FIN: u64 = 0x10;
    const BACKEND_SIDE: u64 = 0x20;
    const UDP: u64 = 0x40;
    const USE_SHIFT: u32 = 8;
    const USE: u64 = 0xff << Self::USE_SHIFT;
    const SEEN_SHIFT: u32 = 16;
    const SEEN: u64 = 0xffff << Self::SEEN_SHIFT;
    const MAC_SHIFT: u32 = 32;

    /// The state.
    #[inline(always)]
    pub fn state(self) -> State {
        match self.0 & Self::STATE {
            1 => State::Claimed,
            2 => State::Opening,
            3 => State::Answered,
            4 => State::Established,
            5 => State::Closing,
            _ => State::Free,
        }
    }

    /// State and protocol as a number below 16, for [`super::Timeouts`].
    #[inline(always)]
    pub(super) fn kind(self) -> usize {
        (self.0 & Self::STATE | (self.0 & Self::UDP) >> 3) as usize
    }

    /// Whether the entry stands for a connection.
    #[inline(always)]
    pub fn is_live(self) -> bool {
        self.0 & Self::STATE >= State::Opening as u64
    }

    /// The way in which the entry's packets arrive.
    #[inline(always)]
    pub fn side(self) -> Side {
        if self.0 & Self::BACKEND_SIDE == 0 { Side::Client } else { Side::Backend }
    }

    /// Whether this is a UDP flow.
    #[inline(always)]
    pub fn is_udp(self) -> bool {
        self.0 & Self::UDP != 0
    }

    /// Whether this side has sent its FIN.
    #[inline(always)]
    pub fn has_fin(self, side: Side) -> bool {
        self.0 & Self::fin(side) != 0
    }

    /// When the connection was last known to be active.
    #[inline(always)]
    pub fn seen(self) -> Tick {
        Tick((self.0 >> Self::SEEN_SHIFT) as u16)
    }

    /// The same with another state.
    #[inline(always)]
    pub fn with_state(self, state: State) -> Self {
        Self(self.0 & !Self::STATE | state as u64)
    }

    /// The same with this side's FIN noted.
    #[inline(always)]
    pub fn with_fin(self, side: Side) -> Self {
        Self(self.0 | Self::fin(side))
    }

    /// The same with no FIN noted.
    #[inline(always)]
    pub fn without_fins(self) -> Self {
        Self(self.0 & !(Self::CLIENT_FIN | Self::BACKEND_FIN))
    }

    /// The same, active at `now`.
    #[inline(always)]
    pub fn with_seen(self, now: Tick) -> Self {
        Self(self.0 & !Self::SEEN | u64::from(now.0) << Self::SEEN_SHIFT)
    }

    /// The same for another client Ethernet address (its first four bytes).
    #[inline(always)]
    pub(super) fn with_mac(self, mac: MacAddress) -> Self {
        Self(self.0 & 0xffff_ffff | mac.bits() << Self::MAC_SHIFT)
    }

    /// State and FINs of `other`, everything else from here.
    #[inline(always)]
    pub(super) fn with_progress_of(self, other: Self) -> Self {
        let progress = Self::STATE | Self::CLIENT_FIN | Self::BACKEND_FIN;
        Self(self.0 & !progress | other.0 & progress)
    }

    /// A claim on the place that this word was read from: a new use of it.
    #[inline(always)]
    pub(super) fn claim(self) -> Self {
        let uses = self.0.wrapping_add(1 << Self::USE_SHIFT) & Self::USE;
        Self(uses | State::Claimed as u64)
    }

    /// The place given up; the count of its uses stays.
    #[inline(always)]
    pub fn released(self) -> Self {
        Self(self.0 & Self::USE)
    }

    /// Whether `later`, read after this, is about the same use of the place, with its key and peer unchanged.
    #[inline(always)]
    pub(super) fn is_same_use(self, later: Self) -> bool {
        (self.0 ^ later.0) & Self::USE == 0 && later.is_live()
    }

    /// How often the place has been used, modulo 256.
    #[inline(always)]
    pub(super) fn uses(self) -> u8 {
        (self.0 >> Self::USE_SHIFT) as u8
    }

    fn fin(side: Side) -> u64 {
        match side {
            Side::Client => Self::CLIENT_FIN,
            Side::Backend => Self::BACKEND_FIN,
        }
    }
}

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
    pub(super) fn meta(&self, claim: Meta) -> Meta {
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
    pub(super) fn has_key(&self, key: FlowKey) -> bool {
        self.key() == key
    }

    /// The entry's key. Means something only between two readings of the control word.
    #[inline(always)]
    pub(super) fn key(&self) -> FlowKey {
        FlowKey { addresses: self.addresses.load(), ports: self.ports.load() & FlowKey::PORTS_MASK }
    }

    /// Fills a claimed entry. The control word is the caller's to publish.
    #[inline(always)]
    pub(super) fn write(&self, new: &NewEntry) {
        self.addresses.store(new.addresses);
        self.ports.store(new.ports);
        self.peer.store(new.peer);
    }

    /// The backend's reference. Means something only between two readings of the control word.
    #[inline(always)]
    pub(super) fn backend(&self) -> BackendRef {
        BackendRef::from_bits((self.ports.load() >> 40) as u32)
    }
}

#[inline(always)]
pub(super) fn pack_peer(peer: Peer, mac: MacAddress) -> u64 {
    peer.bits() | mac.bits() >> 32 << 48
}

#[inline(always)]
pub(super) fn unpack_peer(peer: u64, meta: Meta) -> (Peer, MacAddress) {
    let mac = MacAddress::from_bits(meta.0 >> Meta::MAC_SHIFT | peer >> 48 << 32);
    (Peer::from_bits(peer), mac)
}

const _: () = assert!(size_of::<Entry<u64>>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_fields_do_not_touch_each_other() {
        let mac = MacAddress([1, 2, 3, 4, 5, 6]);
        let meta = Meta(0xab << 8).with_state(State::Established).with_seen(Tick(0xfedc)).with_mac(mac);
        let meta = meta.with_fin(Side::Backend);
        assert_eq!((meta.state(), meta.seen(), meta.side()), (State::Established, Tick(0xfedc), Side::Client));
        assert!(meta.has_fin(Side::Backend) && !meta.has_fin(Side::Client) && !meta.is_udp());
        let peer = Peer { address: Ipv4Address([192, 0, 2, 7]), port: Port::from_number(4096) };
        assert_eq!(unpack_peer(pack_peer(peer, mac), meta), (peer, mac));
        assert_eq!(meta.claim().0, 0xac << 8 | 1);
        assert_eq!(Meta(0xff << 8).claim().0, 1);
        assert!(!meta.claim().is_live() && !meta.released().is_live() && meta.is_live());
    }

    #[test]
    fn keys_give_back_what_they_were_made_of() {
        let source = Peer { address: Ipv4Address([10, 0, 0, 1]), port: Port::from_number(40000) };
        let destination = Peer { address: Ipv4Address([10, 0, 0, 10]), port: Port::from_number(8080) };
        let key = FlowKey::new(source, destination, IpProtocol::UDP);
        assert_eq!((key.source(), key.destination(), key.protocol()), (source, destination, IpProtocol::UDP));
    }
}
