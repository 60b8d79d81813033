//! Backends, as the packet path sees them: shared memory that the control side changes while packets fly.

use crate::family::Family;
use crate::key::Peer;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, MacAddress, Port};

/// A backend of one service: its place in the table and which use of that place is meant, so that a flow never
/// mistakes a place's new owner for its old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendRef {
    /// Place in the table of backends.
    pub index: u16,
    /// Use of the place; 0 is never used, so a zero slot of a Maglev table means "none".
    pub generation: u8,
}

impl BackendRef {
    /// The reference in the low 24 bits.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        u32::from(self.index) | u32::from(self.generation) << 16
    }

    /// The inverse of [`BackendRef::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        Self { index: bits as u16, generation: (bits >> 16) as u8 }
    }
}

/// What may be sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Nothing.
    Down,
    /// Everything.
    Up,
    /// What belongs to its connections, but no new one.
    Draining,
    /// What belongs to its TCP connections, which go on to their end. Datagrams go to another backend, if one takes them.
    Finishing,
    /// Nothing: TCP's connections are told so by a reset. Datagrams go to another backend, if one takes them.
    Resetting,
}

/// The part of a backend that changes while packets fly, in one word: Ethernet address (48 bits), generation, state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u64);

impl Link {
    /// Puts the word together.
    pub fn new(mac: MacAddress, generation: u8, state: BackendState) -> Self {
        Self(mac.bits() | u64::from(generation) << 48 | (state as u64) << 56)
    }

    /// The next hop's Ethernet address, zero while it is not known.
    #[inline(always)]
    pub fn mac(self) -> MacAddress {
        MacAddress::from_bits(self.0)
    }

    /// The use of the place that is current.
    #[inline(always)]
    pub fn generation(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Whether packets of all its connections go to it.
    #[inline(always)]
    pub fn is_at_work(self) -> bool {
        // Up or draining, in one comparison.
        (self.0 >> 56).wrapping_sub(BackendState::Up as u64) <= BackendState::Draining as u64 - BackendState::Up as u64
    }

    /// The state.
    #[inline(always)]
    pub fn state(self) -> BackendState {
        match self.0 >> 56 {
            1 => BackendState::Up,
            2 => BackendState::Draining,
            3 => BackendState::Finishing,
            4 => BackendState::Resetting,
            _ => BackendState::Down,
        }
    }
}

/// What a process leaves word of about a backend, for the next one that works with the same tables. No packet is decided
/// by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An operator has ordered that it gets no new connections.
    pub drained: bool,
    /// Its last health checks failed.
    pub failed: bool,
}

/// What a backend is, in one word. From the low end: its service's IP protocol (8 bits), whether it is drained and whether it
/// has failed ([`Standing`]); reserved, and zero: the forwarding mode (bits 12-15), the port that leads to it (16-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u64);

impl Kind {
    const DRAINED: u64 = 1 << 8;
    const FAILED: u64 = 1 << 9;

    /// Puts the word together.
    #[must_use]
    pub fn new(protocol: IpProtocol) -> Self {
        Self(u64::from(protocol.0))
    }

    /// The protocol of the backend's service: whoever takes the tables over finds its owner by it.
    #[must_use]
    pub fn protocol(self) -> IpProtocol {
        IpProtocol(self.0 as u8)
    }

    /// What is known of it.
    #[must_use]
    pub fn standing(self) -> Standing {
        Standing { drained: self.0 & Self::DRAINED != 0, failed: self.0 & Self::FAILED != 0 }
    }

    /// The same with another standing.
    #[must_use]
    pub fn with_standing(self, standing: Standing) -> Self {
        let drained = if standing.drained { Self::DRAINED } else { 0 };
        let failed = if standing.failed { Self::FAILED } else { 0 };
        Self(self.0 & !(Self::DRAINED | Self::FAILED) | drained | failed)
    }
}

/// One backend, 64 bytes: a cache line. Everything but the link word is written before the link word brings the backend up, and
/// changes only while it is down and no flow refers to it. Addresses are IPv6's in memory order, with IPv4 mapped among them.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Backend<W> {
    /// See [`Link`].
    pub link: W,
    /// See [`Kind`]; its standing may change at any time.
    pub kind: W,
    /// See [`Ports`].
    pub ports: W,
    /// Always 0.
    pub reserved: W,
    /// The address that the backend listens at.
    pub target: [W; 2],
    /// The address that clients know it by: its service's.
    pub service: [W; 2],
}

const _: () = assert!(size_of::<Backend<u64>>() == 64);

/// The ports of a backend in one word, each as wire bytes in memory order. From the low end: where it listens (16 bits; 0: the
/// one that the client asked for), what clients know it by (16; 0: the one that it answers from), the first port of its
/// service if that has several (16; no packet is decided by it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub u64);

impl Ports {
    /// Puts the word together.
    #[must_use]
    pub fn new(target: Port, service: Port, first: Port) -> Self {
        let [target, service, first] = [target, service, first].map(|port| u64::from(port.bits()));
        Self(target | service << 16 | first << 32)
    }

    /// Where the backend listens.
    #[inline(always)]
    pub fn target(self) -> Port {
        Port::from_bits(self.0 as u16)
    }

    /// What clients know it by.
    #[inline(always)]
    pub fn service(self) -> Port {
        Port::from_bits((self.0 >> 16) as u16)
    }

    /// The first port of its service, if that has several.
    #[inline(always)]
    pub fn first(self) -> Port {
        Port::from_bits((self.0 >> 32) as u16)
    }
}

impl<W: Word> Backend<W> {
    /// Where to send a packet that the client sent to `asked`.
    #[inline(always)]
    pub fn target<A: Family>(&self, asked: Port) -> Peer<A::Address> {
        end::<A, W>(&self.target, Ports(self.ports.load()).target(), asked)
    }

    /// What a packet that the backend sent from `own` comes from, as the client sees it.
    #[inline(always)]
    pub fn service<A: Family>(&self, own: Port) -> Peer<A::Address> {
        end::<A, W>(&self.service, Ports(self.ports.load()).service(), own)
    }
}

#[inline(always)]
fn end<A: Family, W: Word>(address: &[W; 2], port: Port, any: Port) -> Peer<A::Address> {
    Peer { address: A::address(address), port: if port == Port([0; 2]) { any } else { port } }
}
