//! How long a process has had a CPU. An lcore should have one to itself; while others take theirs now and then, the time
//! that they have it is not the lcore's.

use crate::error::BenchError;
use std::time::Duration;

/// Of this process since it was started, all its threads together (clock_getcpuclockid(3)); 0: of the calling one.
pub(crate) fn cpu_time(process: u32) -> Result<Duration, BenchError> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: pointers to values of our own.
    let read = unsafe {
        let mut clock = 0;
        libc::clock_getcpuclockid(process as i32, &mut clock) == 0 && libc::clock_gettime(clock, &mut now) == 0
    };
    if !read {
        return Err(BenchError::Broken("a process does not say how long it has run.".to_owned()));
    }
    Ok(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}
