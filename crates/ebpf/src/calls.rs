//! Functions of their own for the verifier: it looks at each once, with any arguments, instead of at every path that
//! leads there. Only numbers and plain memory may cross.

use crate::maps::Maps;
use evenkeel_core::flow::{Insertion, NewEntry, Tick};
use evenkeel_core::{Packet, Reason, Route};

/// What [`settle`] returns when there is a route.
const ROUTED: u32 = u32::MAX;

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

/// `Tables::settle`, as a call.
#[inline(always)]
pub(crate) fn call_settle(packet: &Packet, now: Tick, known: bool, route: &mut Route) -> Result<(), Reason> {
    let code = evenkeel_settle(packet, u32::from(now.0), u32::from(known), route);
    if code == ROUTED { Ok(()) } else { Err(Reason::from_index(code)) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_settle(packet: *const Packet, now: u32, known: u32, route: *mut Route) -> u32 {
    // SAFETY: the only caller passes references; the verifier wants the tests for null as well.
    let (Some(packet), Some(route)) = (unsafe { packet.as_ref() }, unsafe { route.as_mut() }) else {
        return Reason::Malformed as u32;
    };
    match evenkeel_core::settle(&Maps, packet, Tick(now as u16), known != 0, route) {
        Ok(()) => ROUTED,
        Err(reason) => reason as u32,
    }
}
