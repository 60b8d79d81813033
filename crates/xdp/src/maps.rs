//! Map memory that packets and the control side both use, seen from user space.

use crate::error::XdpError;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Types that may be laid over a memory-mapped array map: made of [`AtomicU64`] alone, so that any bytes are a value
/// and another CPU may change them at any time.
///
/// # Safety
/// The type must hold nothing but `AtomicU64`, without padding.
pub(crate) unsafe trait Cells {}

// SAFETY: `repr(C)`, nothing but words (sizes are asserted where the types are defined).
unsafe impl Cells for evenkeel_core::flow::Bucket<AtomicU64> {}
// SAFETY: as above.
unsafe impl Cells for evenkeel_core::flow::WideBucket<AtomicU64> {}
// SAFETY: a word.
unsafe impl Cells for AtomicU64 {}
// SAFETY: as above.
unsafe impl Cells for evenkeel_core::Backend<AtomicU64> {}

/// An array map (BPF_F_MMAPABLE) mapped into this process.
#[derive(Debug)]
pub(crate) struct MappedArray<T> {
    memory: NonNull<T>,
    entries: usize,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel anyway; `Cells` are atomics.
unsafe impl<T: Cells> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Cells> Sync for MappedArray<T> {}

impl<T: Cells> MappedArray<T> {
    /// Maps `entries` elements of the array behind `map`, whose value size must be that of `T`, a multiple of eight.
    pub(crate) fn new(map: BorrowedFd<'_>, name: &'static str, entries: usize) -> Result<Self, XdpError> {
        let bytes = entries * size_of::<T>();
        // SAFETY: a new mapping at a place that the kernel chooses; the kernel checks the length against the map's.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(memory.cast()) {
            Some(first) if memory != libc::MAP_FAILED => Ok(Self { memory: first, entries, bytes }),
            _ => Err(XdpError::Map { map: name, source: io::Error::last_os_error() }),
        }
    }
}

impl<T: Cells> std::ops::Deref for MappedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `entries` values of `T`, lives as long as `self`, is page-aligned, and `T` is made
        // of atomics (`Cells`).
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.entries) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}
