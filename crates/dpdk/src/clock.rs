//! The clock by which lcores stamp flows.

use evenkeel_core::flow::Now;
use std::time::Duration;

/// Now, by the kernel's coarse monotonic clock: read from memory that the kernel shares (vdso(7)), so it costs no system
/// call, and resolves a few milliseconds, less than a unit.
#[inline]
pub fn coarse_now() -> Now {
    let now = monotonic();
    Now::from_nanoseconds(now.as_secs() * 1_000_000_000 + u64::from(now.subsec_nanos()))
}

/// The same in full. It goes on from process to process until the machine boots.
#[inline]
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own. The call cannot fail: every Linux since 2.6.32 has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
