//! Packets in DPDK's memory (DPDK Programmer's Guide, "Mbuf Library").

use arrayvec::ArrayVec;
use evenkeel_core::Frame;
use evenkeel_dpdk_sys as sys;
use evenkeel_wire::Header;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Packets that are received, decided on and sent together.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets.
pub type Burst<'p> = ArrayVec<Mbuf<'p>, BURST>;

/// A packet. It goes back to its pool when dropped.
#[repr(transparent)]
pub struct Mbuf<'p> {
    raw: NonNull<sys::rte_mbuf>,
    pool: PhantomData<&'p ()>,
}

// SAFETY: whoever has it has it alone; pools take mbufs back on any thread.
unsafe impl Send for Mbuf<'_> {}

impl fmt::Debug for Mbuf<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mbuf({} bytes)", self.length())
    }
}

impl Mbuf<'_> {
    /// Takes an mbuf over.
    ///
    /// # Safety
    /// Nobody else has it, and its pool outlives `'p`.
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Self {
        Self { raw, pool: PhantomData }
    }

    /// Gives it away without giving it back.
    pub(crate) fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }

    pub(crate) fn as_raw(&self) -> *mut sys::rte_mbuf {
        self.raw.as_ptr()
    }

    /// A field of the structure, by the offset that the C compiler has found.
    #[inline(always)]
    fn field<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: `offset` is one of the bindings' for a field of this type, inside the structure, aligned as C has it.
        unsafe { self.raw.as_ptr().cast::<u8>().add(offset as usize).cast::<T>().read() }
    }

    /// Writes such a field.
    #[inline(always)]
    fn set_field<T: Copy>(&mut self, offset: u32, value: T) {
        // SAFETY: as for `field`, and the structure is ours alone.
        unsafe { self.raw.as_ptr().cast::<u8>().add(offset as usize).cast::<T>().write(value) }
    }

    /// Length of the packet, all its segments together, in bytes.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.field::<u32>(sys::EVENKEEL_MBUF_PKT_LEN) as usize
    }

    /// Length of the first segment, in bytes.
    #[inline(always)]
    fn first_length(&self) -> usize {
        usize::from(self.field::<u16>(sys::EVENKEEL_MBUF_DATA_LEN))
    }

    #[inline(always)]
    fn data(&self) -> *mut u8 {
        let buffer = self.field::<*mut u8>(sys::EVENKEEL_MBUF_BUF_ADDR);
        // SAFETY: the data begins inside the buffer.
        unsafe { buffer.add(usize::from(self.field::<u16>(sys::EVENKEEL_MBUF_DATA_OFF))) }
    }

    /// The first segment: the headers, and as much of the rest as fits.
    pub fn first_segment(&self) -> &[u8] {
        // SAFETY: so many bytes of the buffer hold data, and nobody writes to them while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.data(), self.first_length()) }
    }

    /// The whole packet, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length());
        let mut segment = Some(self.raw);
        while let Some(raw) = segment {
            // SAFETY: a segment of this packet, which belongs to it; not given back, since it is never dropped.
            let part = std::mem::ManuallyDrop::new(unsafe { Mbuf::from_raw(raw) });
            bytes.extend_from_slice(part.first_segment());
            segment = NonNull::new(part.field::<*mut sys::rte_mbuf>(sys::EVENKEEL_MBUF_NEXT));
        }
        bytes
    }

    /// Asks for the packet's headers: another CPU, or the network card, has written them.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch(self.data());
    }
}

/// Asks the CPU to fetch a cache line that will be needed soon.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which may be about any address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl Frame for Mbuf<'_> {
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.length() >= bytes
    }

    #[inline(always)]
    fn header<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        if offset + size_of::<T>() > self.first_length() {
            return None;
        }
        // SAFETY: the bytes are inside the first segment (checked above; the core's offsets are small, so nothing
        // overflows), `T` may stand anywhere and holds any bytes (`Header`), and `&mut self` makes the reference the
        // only one.
        Some(unsafe { &mut *self.data().add(offset).cast::<T>() })
    }

    #[inline(always)]
    fn grow_front(&mut self, bytes: usize) -> bool {
        // SAFETY: it is ours alone.
        unsafe { !sys::evenkeel_rte_pktmbuf_prepend(self.as_raw(), bytes as u16).is_null() }
    }

    #[inline(always)]
    fn trim(&mut self, length: usize) -> bool {
        if length > self.first_length() {
            return false;
        }
        // What is in other segments goes back to where it is from.
        if let Some(rest) = NonNull::new(self.field::<*mut sys::rte_mbuf>(sys::EVENKEEL_MBUF_NEXT)) {
            self.set_field(sys::EVENKEEL_MBUF_NEXT, std::ptr::null_mut::<sys::rte_mbuf>());
            self.set_field(sys::EVENKEEL_MBUF_NB_SEGS, 1_u16);
            // SAFETY: nothing but this packet has led there.
            drop(unsafe { Mbuf::from_raw(rest) });
        }
        self.set_field(sys::EVENKEEL_MBUF_DATA_LEN, length as u16);
        self.set_field(sys::EVENKEEL_MBUF_PKT_LEN, length as u32);
        true
    }
}

impl Drop for Mbuf<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours alone, and its pool is still there.
        unsafe { sys::evenkeel_rte_pktmbuf_free(self.raw.as_ptr()) };
    }
}

/// Gives many back at once, which costs less than one by one.
pub(crate) fn free<const N: usize>(mbufs: &mut ArrayVec<Mbuf<'_>, N>) {
    // SAFETY: `Mbuf` is a pointer (`repr(transparent)`), each is ours alone; afterwards they are forgotten, not dropped.
    unsafe {
        sys::rte_pktmbuf_free_bulk(mbufs.as_mut_ptr().cast(), mbufs.len() as u32);
        mbufs.set_len(0);
    }
}
