//! What two versions of evenkeel must agree on to use the same tables one after the other.

use crate::verdict::{Event, Reason};

/// The layout of the tables that outlive a process: flows, backends, services, Maglev tables, addresses, traffic. A version
/// takes over the tables of another only if their numbers are the same.
///
/// To be raised whenever the shape of such a table or the meaning of a word in it changes; `tests/layout.rs` notices.
pub const LAYOUT: u32 = 5;

/// Stands for the names of all counters, in their order. Counters of which that is another number count other things;
/// they are begun anew, and nothing else depends on them.
pub fn counter_names() -> u64 {
    let mut hash = FNV_OFFSET;
    for name in Reason::ALL.iter().map(|reason| reason.name()).chain(Event::ALL.iter().map(|event| event.name())) {
        for byte in name.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash
}

/// FNV-1a (draft-eastlake-fnv).
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
