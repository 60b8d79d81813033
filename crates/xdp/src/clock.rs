//! The clock that the program stamps flows with.

use evenkeel_core::flow::Tick;

/// Now, by the clock that `bpf_ktime_get_coarse_ns` reads.
pub(crate) fn now() -> Tick {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own. The call cannot fail: every Linux since 2.6.32 has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    Tick::from_nanoseconds(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
