//! The array of tuples that the driver makes packets from, filled through shared memory.

use crate::error::BenchError;
use crate::layout::Tuple;
use crate::shuffle::shuffled;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The map's memory in this process.
pub(crate) struct Tuples {
    memory: NonNull<Tuple>,
    count: usize,
    used: usize,
}

/// A part of the array that one stream goes round in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Tuples {
    pub(crate) fn new(map: BorrowedFd<'_>, count: usize) -> Result<Self, BenchError> {
        // SAFETY: a new mapping at a place that the kernel chooses; the kernel checks the length against the map's.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<Tuple>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(memory.cast()) {
            Some(first) if memory != libc::MAP_FAILED => Ok(Self { memory: first, count, used: 0 }),
            _ => Err(BenchError::driver(std::io::Error::last_os_error())),
        }
    }

    /// Adds a ring of these tuples, in random order.
    pub(crate) fn add(&mut self, tuples: &[Tuple]) -> Result<Ring, BenchError> {
        if self.count - self.used < tuples.len() {
            return Err(BenchError::Driver("the array of tuples is too small".to_owned()));
        }
        for (at, from) in shuffled(tuples.len()).into_iter().enumerate() {
            // SAFETY: inside the mapping (checked above); the driver reads it only while it is run.
            unsafe { self.memory.as_ptr().add(self.used + at).write_volatile(tuples[from]) };
        }
        let ring = Ring { first: self.used as u32, count: tuples.len() as u32 };
        self.used += tuples.len();
        Ok(ring)
    }
}

impl Drop for Tuples {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody borrows from it.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.count * size_of::<Tuple>()) };
    }
}
