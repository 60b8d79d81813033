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
}

/// A packet in a plain byte slice.
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
}
