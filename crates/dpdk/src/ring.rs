//! Queues between threads (DPDK Programmer's Guide, "Ring Library").

use crate::eal::{Eal, last_error};
use crate::error::DpdkError;
use crate::mbuf::{Burst, Mbuf};
use evenkeel_dpdk_sys as sys;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A queue of mbufs that any number of threads put into and take from, without a lock.
pub struct Ring<'p> {
    eal: &'p Eal,
    raw: NonNull<sys::rte_ring>,
    /// Not any shorter-lived mbufs either: they would be left in it.
    mbufs: PhantomData<fn(Mbuf<'p>) -> Mbuf<'p>>,
}

// SAFETY: rings are made for use by several threads at once, and mbufs are `Send`.
unsafe impl Send for Ring<'_> {}
// SAFETY: as above.
unsafe impl Sync for Ring<'_> {}

impl fmt::Debug for Ring<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Ring")
    }
}

/// Nobody waits for a thread that was interrupted in the middle of the ring: the control side uses rings as well, on a CPU
/// that it may share with an lcore.
const FLAGS: u32 = sys::RING_F_EXACT_SZ | sys::RING_F_MP_RTS_ENQ | sys::RING_F_MC_RTS_DEQ;

impl<'p> Ring<'p> {
    /// A ring for so many mbufs.
    ///
    /// # Errors
    /// EAL has not so much memory.
    pub fn new(eal: &'p Eal, size: u32) -> Result<Self, DpdkError> {
        let _one_at_a_time = eal.configure();
        let name = eal.name("ring");
        // SAFETY: a C string and numbers; -1 is SOCKET_ID_ANY.
        let raw = unsafe { sys::rte_ring_create(name.as_ptr(), size, -1, FLAGS) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| DpdkError::Memory { what: format!("a ring of {size} packets"), reason: last_error() })?;
        Ok(Self { eal, raw, mbufs: PhantomData })
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_ring {
        self.raw.as_ptr()
    }

    /// Puts an mbuf in; gives it back if the ring is full.
    ///
    /// # Errors
    /// The ring is full.
    pub fn put(&self, mbuf: Mbuf<'p>) -> Result<(), Mbuf<'p>> {
        let raw = mbuf.into_raw();
        let object = raw.as_ptr().cast();
        // SAFETY: one pointer; the ring owns the mbuf if it has taken it, and nobody touches it otherwise.
        unsafe {
            match sys::evenkeel_rte_ring_enqueue_burst(self.raw.as_ptr(), &object, 1) {
                1 => Ok(()),
                _ => Err(Mbuf::from_raw(raw)),
            }
        }
    }

    /// Takes as many as there are and as `burst` has room for.
    pub fn take(&self, burst: &mut Burst<'p>) {
        let free = burst.remaining_capacity() as u32;
        // SAFETY: DPDK writes at most `free` pointers behind those that are there, which is how much room there is;
        // `Mbuf` is a pointer, and whoever has put these in has given them away.
        unsafe {
            let end = burst.as_mut_ptr().add(burst.len());
            let taken = sys::evenkeel_rte_ring_dequeue_burst(self.raw.as_ptr(), end.cast(), free);
            burst.set_len(burst.len() + taken as usize);
        }
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        let mut left = Burst::new();
        loop {
            self.take(&mut left);
            if left.is_empty() {
                break;
            }
            left.clear();
        }
        let _one_at_a_time = self.eal.configure();
        // SAFETY: ours, and empty.
        unsafe { sys::rte_ring_free(self.raw.as_ptr()) };
    }
}
