//! The core's packet, over an XDP context.

use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use evenkeel_core::Frame;
use evenkeel_wire::Header;

pub(crate) struct XdpFrame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> XdpFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        if self.ctx.data() + bounded(bytes) <= self.ctx.data_end() {
            return true;
        }
        // More than the first buffer: the packet may have more of them.
        // SAFETY: the helper only reads the context that it is given.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) >= bytes as u64 }
    }

    #[inline(always)]
    fn header<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        // The core's offsets are sums of header lengths; the mask tells the verifier that they are small.
        let start = self.ctx.data() + (offset & 0xff);
        if start + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        // SAFETY: the bytes are inside the packet (checked above, seen by the verifier), `T` may stand anywhere and
        // holds any bytes (`Header`), and `&mut self` makes the reference the only one.
        Some(unsafe { &mut *(start as *mut T) })
    }

    #[inline(always)]
    fn grow_front(&mut self, bytes: usize) -> bool {
        // SAFETY: the helper moves the packet's beginning in the context, where `header` reads it anew. `&mut self`: no
        // reference into the packet is left.
        unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) == 0 }
    }

    #[inline(always)]
    fn trim(&mut self, length: usize) -> bool {
        // SAFETY: as for `holds`.
        let more = unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) } as i64 - length as i64;
        // Nothing to cut is no reason to ask: a packet of several buffers may not be able to grow by nothing.
        // SAFETY: as for `grow_front`, at the other end.
        more == 0 || more > 0 && unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -(more as i32)) == 0 }
    }
}

/// The low 17 bits, by an instruction that the compiler cannot remove: it knows that lengths are that small, but to the
/// verifier of Linux 6.1 a number whose bytes were swapped may be any.
#[inline(always)]
fn bounded(mut bytes: usize) -> usize {
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{0} &= 131071", inout(reg) bytes, options(pure, nomem, nostack)) };
    bytes
}
