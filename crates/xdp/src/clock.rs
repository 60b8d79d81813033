//! The clock by which the program stamps flows.

use crate::error::XdpError;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use evenkeel_core::flow::Tick;
use std::io;

/// The length of the kernel's tick, in nanoseconds: what the coarse clocks resolve (clock_getres(2)).
pub(crate) fn nanoseconds_per_jiffy() -> u64 {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own. The call cannot fail: every Linux since 2.6.32 has the clock.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut resolution) };
    resolution.tv_sec as u64 * 1_000_000_000 + resolution.tv_nsec as u64
}

/// Now, asked of the program `clock`, which reads what the packet path reads.
pub(crate) fn now(clock: &Xdp) -> Result<Tick, XdpError> {
    // The kernel wants an Ethernet header's worth of bytes.
    let options = TestRunOptions { data_in: Some(&[0; 14]), repeat: 1, ..TestRunOptions::default() };
    let answer = clock.test_run(options).map_err(|error| XdpError::Clock(io::Error::other(error)))?;
    Ok(Tick(answer.return_value as u16))
}
