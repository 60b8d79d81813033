//! The one kind of memory that several CPUs, and the control side, change while packets fly.

/// A 64-bit memory cell that several CPUs use at once.
///
/// The core needs no more than these four operations, so each plane can bring the atomics that its target has: BPF has
/// no atomic load or store, a model checker has its own types.
pub trait Word {
    /// Reads the cell. Nothing that follows may be read earlier (acquire).
    fn load(&self) -> u64;

    /// Writes the cell. Nothing that went before may become visible later (release).
    fn store(&self, value: u64);

    /// Writes `new` if the cell holds `current`, and says whether it did. Acquire and release.
    fn compare_exchange(&self, current: u64, new: u64) -> bool;

    /// Writes the cell, and lets nothing pass in either direction: what follows is read after everybody can see the
    /// new value (a full barrier).
    fn publish(&self, value: u64);
}

#[cfg(target_has_atomic = "64")]
impl Word for core::sync::atomic::AtomicU64 {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }

    #[inline(always)]
    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.compare_exchange(current, new, AcqRel, Acquire).is_ok()
    }

    #[inline(always)]
    fn publish(&self, value: u64) {
        use core::sync::atomic::{Ordering::SeqCst, fence};
        self.swap(value, SeqCst);
        fence(SeqCst);
    }
}
