//! The clock by which lcores stamp flows.

use evenkeel_core::flow::Tick;

/// Now, by the kernel's coarse monotonic clock: read from memory that the kernel shares (vdso(7)), so it costs no system
/// call, and resolves a few milliseconds, of which a tick has many.
#[inline]
pub fn coarse_now() -> Tick {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own. The call cannot fail: every Linux since 2.6.32 has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    Tick::from_nanoseconds(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
