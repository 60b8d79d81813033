//! Functions of their own for the verifier: it looks at each once, with any arguments, instead of at every path that leads
//! there. Only numbers and plain memory may cross.

use crate::maps::Maps;
use evenkeel_core::flow::{HopNumber, Insertion, NewEntry, Tick};
use evenkeel_core::hop;

/// `Tables::insert`, as a call.
#[inline(always)]
pub(crate) fn call_insert(place: u64, new: &NewEntry) -> Insertion {
    Insertion::from_bits(evenkeel_insert(place, new))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_insert(place: u64, new: *const NewEntry) -> u32 {
    // SAFETY: the only caller passes a reference; the verifier wants the test for null as well.
    match unsafe { new.as_ref() } {
        Some(new) => evenkeel_core::insert(&Maps, place, new).bits(),
        None => Insertion::Full.bits(),
    }
}

/// What [`evenkeel_hop`] returns when there is no room.
const NONE: u32 = u32::MAX;

/// `Tables::hop_number`, as a call.
#[inline(always)]
pub(crate) fn call_hop(neighbour: u64, now: Tick) -> Option<HopNumber> {
    match evenkeel_hop(neighbour, u32::from(now.0)) {
        NONE => None,
        number => Some(HopNumber(number as u16)),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_hop(neighbour: u64, now: u32) -> u32 {
    hop::number(&Maps, neighbour, Tick(now as u16)).map_or(NONE, |number| u32::from(number.0))
}
