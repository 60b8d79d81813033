//! The clock: the kernel's tick counter, which costs one load. A clock that is read through a helper costs as much as the
//! rest of an established packet's way.

use aya_ebpf::helpers::bpf_jiffies64;
use core::cell::UnsafeCell;
use evenkeel_core::flow::Now;

/// Written once by the loader, before the program runs.
#[repr(transparent)]
struct Global(UnsafeCell<u64>);

// SAFETY: nobody writes it while the program runs.
unsafe impl Sync for Global {}

/// The length of the kernel's tick, in nanoseconds.
#[unsafe(no_mangle)]
static NANOSECONDS_PER_JIFFY: Global = Global(UnsafeCell::new(4_000_000));

/// Now. The counter does not start at zero, and is not slewed as user space's clocks are; user space asks for it by
/// running the program `clock`.
#[inline(always)]
pub(crate) fn now() -> Now {
    // SAFETY: the helper takes nothing and cannot fail; for the global, see `Global`.
    let (jiffies, length) = unsafe { (bpf_jiffies64(), NANOSECONDS_PER_JIFFY.0.get().read_volatile()) };
    Now::from_nanoseconds(jiffies.wrapping_mul(length))
}
