//! Backends, as the packet path sees them: shared memory that the control side changes while packets fly.

use crate::key::Peer;
use crate::word::Word;
use evenkeel_wire::{MacAddress, Port};

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

    /// The state.
    #[inline(always)]
    pub fn state(self) -> BackendState {
        match self.0 >> 56 {
            1 => BackendState::Up,
            2 => BackendState::Draining,
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

impl Standing {
    const DRAINED_SHIFT: u32 = 8;
    const FAILED_SHIFT: u32 = 9;

    /// The bits of [`Backend::kind`] that say so.
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.drained) << Self::DRAINED_SHIFT | u64::from(self.failed) << Self::FAILED_SHIFT
    }

    /// The inverse of [`Standing::bits`]; other bits are ignored.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let is_set = |shift: u32| bits >> shift & 1 != 0;
        Self { drained: is_set(Self::DRAINED_SHIFT), failed: is_set(Self::FAILED_SHIFT) }
    }
}

/// One backend, 32 bytes. Everything but the link word is written before the link word brings the backend up, and
/// changes only while it is down and no flow refers to it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Backend<W> {
    /// See [`Link`].
    pub link: W,
    /// Where the backend listens, as [`Peer::bits`]; port 0: the one that the client asked for.
    pub target: W,
    /// What clients know it as: address and port of the service, likewise.
    pub service: W,
    /// The service's IP protocol in the low eight bits: whoever takes the tables over finds a backend's owner by it. Then
    /// [`Standing`], which may change at any time. Room for the forwarding mode.
    pub kind: W,
}

const _: () = assert!(size_of::<Backend<u64>>() == 32);

impl<W: Word> Backend<W> {
    /// Where to send a packet that the client sent to `asked`.
    #[inline(always)]
    pub fn target(&self, asked: Port) -> Peer {
        unpack(self.target.load(), asked)
    }

    /// What a packet that the backend sent from `own` comes from, as the client sees it.
    #[inline(always)]
    pub fn service(&self, own: Port) -> Peer {
        unpack(self.service.load(), own)
    }
}

#[inline(always)]
fn unpack(word: u64, any: Port) -> Peer {
    let peer = Peer::from_bits(word);
    if peer.port == Port([0; 2]) { Peer { port: any, ..peer } } else { peer }
}
