//! The core's memory cell, over map memory.

use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg};
use evenkeel_core::Word;

/// A 64-bit cell of a map's memory.
///
/// The BPF instruction set of the kernels we support has no atomic load or store; a volatile access of an aligned
/// 64-bit word is one instruction and cannot tear. Its order is the machine's: acquire and release on x86-64, which is
/// why the object is built for x86-64 only. Read-modify-write instructions are full barriers (kernel documentation,
/// "BPF instruction set", atomic operations).
#[repr(transparent)]
pub(crate) struct Cell(UnsafeCell<u64>);

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("the flow table relies on x86-64's memory order; other machines need BPF's load-acquire instructions");

impl Word for Cell {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the pointer is valid and aligned, being made from a reference; others write through `Cell` only.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: as for `load`.
        unsafe { self.0.get().write_volatile(value) }
    }

    #[inline(always)]
    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        // SAFETY: as for `load`.
        unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0.get(), current, new).1
        }
    }

    #[inline(always)]
    fn publish(&self, value: u64) {
        // SAFETY: as for `load`.
        unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(self.0.get(), value) };
    }
}
