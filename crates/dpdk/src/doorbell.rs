//! How lcores wake the control side.

use crate::error::DpdkError;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rung by lcores when there is something for the control side, which waits for its descriptor to become readable
/// (eventfd(2)). However often it is rung before somebody comes, it costs one system call.
#[derive(Debug)]
pub struct Doorbell {
    eventfd: OwnedFd,
    rung: AtomicBool,
}

impl Doorbell {
    /// A doorbell that nobody has rung.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> Result<Self, DpdkError> {
        // SAFETY: numbers only; the descriptor that comes back is nobody else's.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(DpdkError::Doorbell(io::Error::last_os_error().to_string()));
        }
        // SAFETY: as above.
        Ok(Self { eventfd: unsafe { OwnedFd::from_raw_fd(fd) }, rung: AtomicBool::new(false) })
    }

    /// Rings.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let one = 1_u64;
            // SAFETY: eight bytes of our own. It can fail only if it has been rung 2^64 times.
            unsafe { libc::write(self.eventfd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        }
    }

    /// Says that somebody comes. What was left before is there to be seen; what comes later rings anew.
    pub fn answer(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes of our own. If nobody has rung there is nothing to read.
        unsafe { libc::read(self.eventfd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        // A swap, which sees what was there before a ring that came in between and was not written down.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> i32 {
        self.eventfd.as_raw_fd()
    }
}
