//! One direction of one connection, in 32 bytes where both of its ends are IPv4 (*narrow*), in 64 otherwise (*wide*).
//!
//! What stands where, and what is reserved for what is not done yet. Bits are counted from the low end; whatever is reserved
//! is written as zero.
//!
//! | word | bits | narrow | wide |
//! |---|---|---|---|
//! | 0, the control word ([`Meta`]) | 0-2 | state | the same |
//! | | 3, 4 | FIN seen from the client, from the backend; in the state *reset*, who is said to have reset | |
//! | | 5 | side: 1 in the reply entry | |
//! | | 6 | 1 for UDP | |
//! | | 7 | reserved: *one-sided*, a flow whose replies do not come by here and which has one entry | |
//! | | 8-15 | uses of the place, modulo 256: tells a reader that an entry was replaced under its eyes | |
//! | | 16-31 | stamp: [`Meta::age`] | |
//! | | 32-47 | next hop towards the client ([`crate::hop`]) | |
//! | | 48-63 | peer's port: NAT port in the client entry, client's port in the reply entry | |
//! | key: addresses | | 1: source 0-31, destination 32-63 | 1, 2: source; 3, 4: destination |
//! | key: ports | 0-15, 16-31 | 2: source port, destination port | 5: the same |
//! | | 32-36 | protocol; TCP and UDP are below 32 | |
//! | | 37-39 | idle class: which of eight sets of idle times | |
//! | | 40-63 | the backend's [`BackendRef`] | |
//! | peer, client entry | | 3: NAT address 0-31 | 6: number of the NAT address 0-15 |
//! | | | 3: proof 32-63 | 6: proof 32-63; 7: reserved |
//! | peer, reply entry | | 3: client's address 0-31 | 6, 7: client's address |
//! | | | 3: reserved 32-63, *offset* | |
//!
//! *Proof* is what the next step of TCP's handshake has to acknowledge: the client's SYN while the connection is opening, the
//! backend's SYN-ACK once it is answered. It is in the client entry only: a wide reply entry has no room for it, its 128 bits
//! of peer are the client's address, and before a connection is established every packet looks at both entries anyway.
//! After that the place is reserved for an *offset* between the two sides' sequence numbers; only a packet of a wide
//! connection that has one, as few have, would have to look at its client entry too. A NAT address is one of few and does not
//! change, so its number is enough.

use super::meta::Meta;
use super::time::Now;
use super::timeouts::IDLE_CLASSES;
use crate::backend::BackendRef;
use crate::key::{FlowKey, HopNumber, Key as _, Peer, Side, WideAddress, WideKey};
use crate::word::Word;
use evenkeel_wire::{Ipv4Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An entry of either size, as a bucket deals with it.
pub trait Record {
    /// What it is made of.
    type Word: Word;
    /// What it is found by.
    type Key: Copy + PartialEq;
    /// What it says of its peer, beside the port in the control word.
    type Peer: Copy;
    /// What is written into it.
    type New;

    /// Its control word, see [`Meta`].
    fn meta(&self) -> &Self::Word;

    /// Whether the first word of the key agrees: a hint that spares reading the rest of most entries.
    fn resembles(&self, key: &Self::Key) -> bool;

    /// Its key. Means something only between two readings of the control word, like all that follows.
    fn key(&self) -> Self::Key;

    /// The connection's backend.
    fn backend(&self) -> BackendRef;

    /// Which set of idle times is the connection's, below [`super::IDLE_CLASSES`].
    fn class(&self) -> usize;

    /// What the next step of TCP's handshake has to acknowledge. Means something in client entries only.
    fn proof(&self) -> u32;

    /// Changes that number, in a client entry that said `peer` and `was`. Another CPU may be doing the same; then one of them wins.
    /// If the place has become another entry's, nothing is changed.
    fn note_proof(&self, peer: Self::Peer, was: u32, proof: u32);

    /// Its peer's address, or what stands for it.
    fn peer(&self) -> Self::Peer;

    /// Fills it, once it is claimed. The control word is the caller's to publish.
    fn write(&self, new: &Self::New);

    /// The key of a new entry.
    fn key_of(new: &Self::New) -> Self::Key;

    /// The control word of a new entry; the count of uses in it is still zero.
    fn meta_of(new: &Self::New) -> Meta;
}

/// A narrow entry.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry<W> {
    /// See [`Meta`].
    pub meta: W,
    /// See [`FlowKey::addresses`].
    pub addresses: W,
    /// See [`FlowKey::ports`]; the backend's reference in the upper 24 bits.
    pub ports: W,
    /// The peer's address in the low half.
    pub peer: W,
}

/// A wide entry.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WideEntry<W> {
    /// See [`Meta`].
    pub meta: W,
    /// See [`WideKey::source`].
    pub source: [W; 2],
    /// See [`WideKey::destination`].
    pub destination: [W; 2],
    /// As [`Entry::ports`].
    pub ports: W,
    /// In a client entry the number of the NAT address, in a reply entry the client's address.
    pub peer: [W; 2],
}

const _: () = assert!(size_of::<Entry<u64>>() == 32 && size_of::<WideEntry<u64>>() == 64);

const BACKEND_SHIFT: u32 = 40;
const CLASS_SHIFT: u32 = 37;
const PROOF_SHIFT: u32 = 32;

#[inline(always)]
fn class(ports: u64) -> usize {
    (ports >> CLASS_SHIFT) as usize & (IDLE_CLASSES - 1)
}

/// What an entry's word of ports says beside them.
#[inline(always)]
fn owner(backend: BackendRef, class: u16) -> u64 {
    u64::from(backend.bits()) << BACKEND_SHIFT | u64::from(class & (IDLE_CLASSES as u16 - 1)) << CLASS_SHIFT
}

#[inline(always)]
fn backend(ports: u64) -> BackendRef {
    BackendRef::from_bits((ports >> BACKEND_SHIFT) as u32)
}

/// What a new narrow entry says, in the words that it will hold. Plain memory, so that it can cross a call that a plane
/// makes (see [`crate::FamilyTables::insert`]).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct NewEntry {
    meta: u64,
    addresses: u64,
    ports: u64,
    peer: u64,
}

impl NewEntry {
    /// An entry in the state [`super::State::Opening`]. `peer` is, for a client entry, the NAT address and port to send from;
    /// for a reply entry, the client. `hop` is where the client's packets come from, `class` see [`Record::class`].
    #[inline(always)]
    pub fn new(
        key: FlowKey,
        side: Side,
        now: Now,
        backend: BackendRef,
        class: u16,
        peer: Peer,
        hop: HopNumber,
    ) -> Self {
        Self {
            meta: Meta::opening(side, key.protocol(), now, hop, peer.port).0,
            addresses: key.addresses,
            ports: key.ports | owner(backend, class),
            peer: u64::from(peer.address.bits()),
        }
    }

    /// The same for a client entry whose backend has to acknowledge this number.
    #[inline(always)]
    #[must_use]
    pub fn with_proof(self, proof: u32) -> Self {
        Self { peer: self.peer | u64::from(proof) << PROOF_SHIFT, ..self }
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> FlowKey {
        FlowKey { addresses: self.addresses, ports: self.ports & FlowKey::PORTS_MASK }
    }
}

impl<W: Word> Record for Entry<W> {
    type Word = W;
    type Key = FlowKey;
    type Peer = Ipv4Address;
    type New = NewEntry;

    #[inline(always)]
    fn meta(&self) -> &W {
        &self.meta
    }

    #[inline(always)]
    fn resembles(&self, key: &FlowKey) -> bool {
        self.addresses.load() == key.addresses
    }

    #[inline(always)]
    fn key(&self) -> FlowKey {
        FlowKey { addresses: self.addresses.load(), ports: self.ports.load() & FlowKey::PORTS_MASK }
    }

    #[inline(always)]
    fn backend(&self) -> BackendRef {
        backend(self.ports.load())
    }

    #[inline(always)]
    fn class(&self) -> usize {
        class(self.ports.load())
    }

    #[inline(always)]
    fn proof(&self) -> u32 {
        (self.peer.load() >> PROOF_SHIFT) as u32
    }

    #[inline(always)]
    fn note_proof(&self, peer: Ipv4Address, was: u32, proof: u32) {
        let address = u64::from(peer.bits());
        self.peer.compare_exchange(address | u64::from(was) << PROOF_SHIFT, address | u64::from(proof) << PROOF_SHIFT);
    }

    #[inline(always)]
    fn peer(&self) -> Ipv4Address {
        Ipv4Address::from_bits(self.peer.load() as u32)
    }

    #[inline(always)]
    fn write(&self, new: &NewEntry) {
        self.addresses.store(new.addresses);
        self.ports.store(new.ports);
        self.peer.store(new.peer);
    }

    #[inline(always)]
    fn key_of(new: &NewEntry) -> FlowKey {
        new.key()
    }

    #[inline(always)]
    fn meta_of(new: &NewEntry) -> Meta {
        Meta(new.meta)
    }
}

/// What a new wide entry says, in the words that it will hold.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct NewWideEntry {
    meta: u64,
    source: [u64; 2],
    destination: [u64; 2],
    ports: u64,
    peer: [u64; 2],
}

impl NewWideEntry {
    /// A client entry in the state [`super::State::Opening`], that sends from this one of the NAT addresses and from this port.
    #[inline(always)]
    pub fn client(key: WideKey, now: Now, backend: BackendRef, class: u16, nat: (u16, Port), hop: HopNumber) -> Self {
        let meta = Meta::opening(Side::Client, key.protocol(), now, hop, nat.1);
        Self::new(key, meta, owner(backend, class), [u64::from(nat.0), 0])
    }

    /// The same for a client entry whose backend has to acknowledge this number.
    #[inline(always)]
    #[must_use]
    pub fn with_proof(self, proof: u32) -> Self {
        let [nat, rest] = self.peer;
        Self { peer: [nat | u64::from(proof) << PROOF_SHIFT, rest], ..self }
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> WideKey {
        let Self { source, destination, ports, .. } = *self;
        WideKey { source, destination, ports: ports & FlowKey::PORTS_MASK }
    }

    /// A reply entry in the same state; `client` is the client's address and port.
    #[inline(always)]
    pub fn reply(
        key: WideKey,
        now: Now,
        backend: BackendRef,
        class: u16,
        client: Peer<WideAddress>,
        hop: HopNumber,
    ) -> Self {
        let meta = Meta::opening(Side::Backend, key.protocol(), now, hop, client.port);
        Self::new(key, meta, owner(backend, class), client.address.words())
    }

    #[inline(always)]
    fn new(key: WideKey, meta: Meta, owner: u64, peer: [u64; 2]) -> Self {
        let WideKey { source, destination, ports } = key;
        Self { meta: meta.0, source, destination, ports: ports | owner, peer }
    }
}

impl<W: Word> Record for WideEntry<W> {
    type Word = W;
    type Key = WideKey;
    type Peer = WideAddress;
    type New = NewWideEntry;

    #[inline(always)]
    fn meta(&self) -> &W {
        &self.meta
    }

    #[inline(always)]
    fn resembles(&self, key: &WideKey) -> bool {
        // The low half of an IPv6 address: hosts differ there. Bytes are in memory order, so it is the second word.
        self.source[1].load() == key.source[1]
    }

    #[inline(always)]
    fn key(&self) -> WideKey {
        WideKey {
            source: [self.source[0].load(), self.source[1].load()],
            destination: [self.destination[0].load(), self.destination[1].load()],
            ports: self.ports.load() & FlowKey::PORTS_MASK,
        }
    }

    #[inline(always)]
    fn backend(&self) -> BackendRef {
        backend(self.ports.load())
    }

    #[inline(always)]
    fn class(&self) -> usize {
        class(self.ports.load())
    }

    #[inline(always)]
    fn proof(&self) -> u32 {
        (self.peer[0].load() >> PROOF_SHIFT) as u32
    }

    #[inline(always)]
    fn note_proof(&self, peer: WideAddress, _: u32, proof: u32) {
        // In a client entry the word has the number of the NAT address and the proof.
        let WideAddress(old, _) = peer;
        self.peer[0].compare_exchange(old, u64::from(old as u32) | u64::from(proof) << PROOF_SHIFT);
    }

    #[inline(always)]
    fn peer(&self) -> WideAddress {
        WideAddress(self.peer[0].load(), self.peer[1].load())
    }

    #[inline(always)]
    fn write(&self, new: &NewWideEntry) {
        self.source[0].store(new.source[0]);
        self.source[1].store(new.source[1]);
        self.destination[0].store(new.destination[0]);
        self.destination[1].store(new.destination[1]);
        self.ports.store(new.ports);
        self.peer[0].store(new.peer[0]);
        self.peer[1].store(new.peer[1]);
    }

    #[inline(always)]
    fn key_of(new: &NewWideEntry) -> WideKey {
        new.key()
    }

    #[inline(always)]
    fn meta_of(new: &NewWideEntry) -> Meta {
        Meta(new.meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;
    use evenkeel_wire::IpProtocol;

    const CLIENT: Peer<WideAddress> = Peer { address: WideAddress(0x1122_3344_5566_7788, 9), port: Port([0, 80]) };

    #[test]
    fn a_number_is_noted_in_the_entry_that_was_found_and_in_no_other() {
        let (now, backend) = (Now(1), BackendRef { index: 1, generation: 1 });
        let key = WideKey::new(CLIENT, CLIENT, IpProtocol::TCP);
        let entry = WideEntry::<AtomicU64>::default();
        entry.write(&NewWideEntry::client(key, now, backend, 0, (3, Port([0, 81])), HopNumber(1)).with_proof(7));
        let found = (entry.peer(), entry.proof());
        entry.note_proof(found.0, found.1, 8);
        assert_eq!((entry.proof(), entry.peer().0 as u32), (8, 3));
        // Somebody else's by now: what stands there is a client's address.
        entry.write(&NewWideEntry::reply(key, now, backend, 0, CLIENT, HopNumber(1)));
        entry.note_proof(found.0, found.1, 9);
        assert_eq!(entry.peer(), CLIENT.address);

        let narrow = Entry::<AtomicU64>::default();
        let nat = Peer { address: Ipv4Address([10, 0, 0, 1]), port: Port([0, 81]) };
        let key = FlowKey::new(nat, nat, IpProtocol::TCP);
        narrow.write(&NewEntry::new(key, Side::Client, now, backend, 0, nat, HopNumber(1)).with_proof(7));
        narrow.note_proof(narrow.peer(), narrow.proof(), 8);
        assert_eq!((narrow.proof(), narrow.peer()), (8, nat.address));
        narrow.note_proof(narrow.peer(), 7, 9);
        assert_eq!(narrow.proof(), 8, "it is another number by now");
    }
}
