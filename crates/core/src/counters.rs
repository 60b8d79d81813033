//! Counters. Each CPU or lcore owns one of each and adds to it without atomics; readers add them up.

use crate::key::Side;
use crate::verdict::{Event, Reason};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Verdicts and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Counters {
    /// Packets by [`Reason`]. Larger than the list, so that an index with a mask is always inside.
    pub verdicts: [u64; 64],
    /// Occurrences by [`Event`].
    pub events: [u64; 16],
}

const _: () = assert!(Reason::ALL.len() <= 64 && Event::ALL.len() <= 16);

impl Counters {
    /// All zero.
    pub const ZERO: Self = Self { verdicts: [0; 64], events: [0; 16] };

    /// Counts a verdict.
    #[inline(always)]
    pub fn count(&mut self, reason: Reason) {
        self.count_index(reason as usize);
    }

    /// Counts the verdict with this place in [`Reason::ALL`].
    #[inline(always)]
    pub fn count_index(&mut self, index: usize) {
        if let Some(counter) = self.verdicts.get_mut(index) {
            *counter = counter.wrapping_add(1);
        }
    }

    /// Counts an event that has happened so many times.
    #[inline(always)]
    pub fn count_events(&mut self, event: Event, times: u32) {
        if let Some(counter) = self.events.get_mut(event as usize) {
            *counter = counter.wrapping_add(times.into());
        }
    }

    /// Adds another CPU's counters.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum = sum.wrapping_add(value);
        }
        for (sum, value) in self.events.iter_mut().zip(other.events) {
            *sum = sum.wrapping_add(value);
        }
    }
}

/// What one backend's connections carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Traffic {
    /// Packets from clients.
    pub client_packets: u64,
    /// Bytes from clients, Ethernet headers included.
    pub client_bytes: u64,
    /// Packets from the backend.
    pub backend_packets: u64,
    /// Bytes from the backend, Ethernet headers included.
    pub backend_bytes: u64,
}

impl Traffic {
    /// Counts a packet.
    #[inline(always)]
    pub fn count(&mut self, from: Side, bytes: u32) {
        let (packets, total) = match from {
            Side::Client => (&mut self.client_packets, &mut self.client_bytes),
            Side::Backend => (&mut self.backend_packets, &mut self.backend_bytes),
        };
        *packets = packets.wrapping_add(1);
        *total = total.wrapping_add(u64::from(bytes));
    }

    /// Adds another CPU's counters.
    pub fn add(&mut self, other: &Self) {
        self.client_packets = self.client_packets.wrapping_add(other.client_packets);
        self.client_bytes = self.client_bytes.wrapping_add(other.client_bytes);
        self.backend_packets = self.backend_packets.wrapping_add(other.backend_packets);
        self.backend_bytes = self.backend_bytes.wrapping_add(other.backend_bytes);
    }
}
