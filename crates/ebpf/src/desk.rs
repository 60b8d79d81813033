//! Where what a call is told is put: IPv6's keys and entries are too large to lie on BPF's stack beside everything else.

use crate::maps::DESK;
use core::mem::{align_of, size_of};
use evenkeel_core::flow::{NewWideEntry, WideKey};

/// Room for the largest of what is put there.
pub(crate) type Desk = [u64; size_of::<NewWideEntry>() / 8];

const _: () = assert!(size_of::<WideKey>() <= size_of::<Desk>());

/// Puts a value on this CPU's desk, where it stays until the next one is put there. A null pointer if there is no desk, which does
/// not happen.
#[inline(always)]
pub(crate) fn put<T: Copy>(value: &T) -> *const T {
    const { assert!(size_of::<T>() <= size_of::<Desk>() && align_of::<T>() <= align_of::<Desk>()) };
    let Some(desk) = DESK.get_ptr_mut(0) else { return core::ptr::null() };
    let place = desk.cast::<T>();
    // SAFETY: it is large enough and aligned (see above), this CPU's own, and a program on this CPU is not interrupted by another.
    unsafe { place.write(*value) };
    place
}
