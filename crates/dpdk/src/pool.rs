//! Where packets' memory comes from (DPDK Programmer's Guide, "Mempool Library").

use crate::eal::{Eal, last_error};
use crate::error::DpdkError;
use crate::mbuf::Mbuf;
use evenkeel_dpdk_sys as sys;
use std::ffi::CStr;
use std::fmt;
use std::ptr::NonNull;

/// A pool of mbufs.
pub struct Pool<'e> {
    eal: &'e Eal,
    raw: NonNull<sys::rte_mempool>,
    room: u16,
}

// SAFETY: pools are made for use by several threads at once.
unsafe impl Send for Pool<'_> {}
// SAFETY: as above.
unsafe impl Sync for Pool<'_> {}

impl fmt::Debug for Pool<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pool({} mbufs in use)", self.in_use())
    }
}

/// Mbufs that each lcore keeps at hand.
const CACHE: u32 = 256;
/// The pool's driver: a ring in which nobody waits for a thread that was interrupted in the middle of it. The control side
/// uses the pool as well, on a CPU that it may share with an lcore (DPDK Programmer's Guide, "Ring Library", "MP_RTS").
const DRIVER: &CStr = c"ring_mt_rts";
/// Bytes in front of every packet.
const HEADROOM: u16 = 128;

impl<'e> Pool<'e> {
    /// Bytes of a packet that an mbuf has room for, if nobody wants it otherwise.
    pub const ROOM: u16 = sys::RTE_MBUF_DEFAULT_BUF_SIZE as u16 - HEADROOM;

    /// A pool of so many mbufs, each with room for a packet of 2,048 bytes; larger packets have several.
    ///
    /// # Errors
    /// EAL has not so much memory.
    pub fn new(eal: &'e Eal, mbufs: u32) -> Result<Self, DpdkError> {
        Self::with_room(eal, mbufs, Self::ROOM)
    }

    /// The same with room for `room` bytes.
    ///
    /// # Errors
    /// As for [`Pool::new`].
    pub fn with_room(eal: &'e Eal, mbufs: u32, room: u16) -> Result<Self, DpdkError> {
        let _one_at_a_time = eal.configure();
        let name = eal.name("pool");
        // A cache must be smaller than two thirds of the pool (rte_mempool_create).
        let cache = if mbufs >= 4 * CACHE { CACHE } else { 0 };
        // SAFETY: C strings and numbers; -1 is SOCKET_ID_ANY.
        let raw = unsafe {
            let (name, driver) = (name.as_ptr(), DRIVER.as_ptr());
            sys::rte_pktmbuf_pool_create_by_ops(name, mbufs, cache, 0, room + HEADROOM, -1, driver)
        };
        let raw = NonNull::new(raw)
            .ok_or_else(|| DpdkError::Memory { what: format!("{mbufs} packets"), reason: last_error() })?;
        Ok(Self { eal, raw, room })
    }

    /// Bytes of a packet that each mbuf has room for.
    pub(crate) fn room(&self) -> u16 {
        self.room
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// How many of its mbufs are somewhere else.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is there.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    /// An mbuf that holds these bytes, in several segments if they do not fit in one; nothing if the pool is empty.
    pub fn mbuf(&self, bytes: &[u8]) -> Option<Mbuf<'_>> {
        let mut parts = bytes.chunks(usize::from(self.room));
        let packet = self.segment(parts.next().unwrap_or_default())?;
        for part in parts {
            let segment = self.segment(part)?.into_raw();
            // SAFETY: both are ours; the segment belongs to the packet from now on, if there are not too many.
            unsafe {
                if sys::evenkeel_rte_pktmbuf_chain(packet.as_raw(), segment.as_ptr()) != 0 {
                    drop(Mbuf::from_raw(segment));
                    return None;
                }
            }
        }
        Some(packet)
    }

    fn segment(&self, bytes: &[u8]) -> Option<Mbuf<'_>> {
        // SAFETY: the pool is there; an mbuf that comes from it is nobody else's. The room that is asked for is checked
        // by DPDK, and then written whole.
        unsafe {
            let mbuf = Mbuf::from_raw(NonNull::new(sys::evenkeel_rte_pktmbuf_alloc(self.raw.as_ptr()))?);
            let room = sys::evenkeel_rte_pktmbuf_append(mbuf.as_raw(), bytes.len() as u16);
            NonNull::new(room.cast::<u8>())?.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Some(mbuf)
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        let _one_at_a_time = self.eal.configure();
        // SAFETY: ours; every mbuf of it borrows from it and so has gone.
        unsafe { sys::rte_mempool_free(self.raw.as_ptr()) };
    }
}
