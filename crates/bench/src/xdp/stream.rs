//! Streams of packets, as the driver makes them.

use super::tuples::Ring;
use crate::layout::Lane;
use crate::packet::Head;

/// A stream that goes round in `ring`; with `fresh`, in ever new eras, beginning with the first.
pub(crate) fn stream_of(head: Head, ring: Ring, fresh: bool) -> Lane {
    let frame = head.bare();
    let head = std::array::from_fn(|word| {
        u64::from_ne_bytes(std::array::from_fn(|byte| frame.get(word * 8 + byte).copied().unwrap_or(0)))
    });
    let fresh = u32::from(fresh);
    Lane { first: ring.first, count: ring.count, position: 0, era: fresh, fresh, reserved: 0, fence: 0, head }
}

/// The same stream, half a round ahead: so that two programs never fetch the same tuples shortly after each other.
pub(crate) fn ahead(mut stream: Lane) -> Lane {
    stream.position = (stream.position + stream.count / 2) % stream.count;
    stream
}
