//! What the core asks of a packet.

use evenkeel_wire::Header;

/// A packet in memory that a plane owns.
///
/// The bounds check lives in the implementation: in BPF the verifier must see the comparison with `data_end` right
/// where the pointer is made.
pub trait Frame {
    /// Whether the packet has at least this many bytes, counted from its Ethernet header and including parts that are
    /// not in the first buffer.
    fn holds(&self, bytes: usize) -> bool;

    /// The header of type `T` at this byte offset, or nothing if the packet's first buffer ends before it does.
    fn header<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// Puts this many bytes of no meaning in front of the packet, and says whether there was room for them. If not, the packet
    /// is as it was. At most a few headers.
    fn grow_front(&mut self, bytes: usize) -> bool;

    /// Cuts the packet off behind this many bytes, and says whether that could be done. If not, the packet is as it was. The
    /// first buffer must hold that many.
    fn trim(&mut self, length: usize) -> bool;
}

/// A packet in a plain byte slice, with no room in front of it.
#[derive(Debug)]
pub struct SliceFrame<'a>(pub &'a mut [u8]);

impl Frame for SliceFrame<'_> {
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.0.len() >= bytes
    }

    #[inline(always)]
    fn header<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let (header, _) = T::mut_from_prefix(self.0.get_mut(offset..)?).ok()?;
        Some(header)
    }

    #[inline(always)]
    fn grow_front(&mut self, bytes: usize) -> bool {
        bytes == 0
    }

    #[inline(always)]
    fn trim(&mut self, length: usize) -> bool {
        if length > self.0.len() {
            return false;
        }
        let bytes = core::mem::take(&mut self.0);
        self.0 = bytes.get_mut(..length).unwrap_or_default();
        true
    }
}
