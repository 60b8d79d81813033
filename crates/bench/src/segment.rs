//! TCP segments with sequence numbers, made of a prepared head.

use crate::layout::FRAME;
use crate::packet::Head;
use evenkeel_core::flow::Peer;
use evenkeel_wire::checksum::Adjustment;

/// Where its sequence number is.
pub(crate) const SEQUENCE: usize = 38;
const ACKNOWLEDGMENT: usize = 42;
const CHECKSUM: usize = 50;

/// The segment of this head from `source` to `destination` with these numbers.
pub(crate) fn segment(head: &Head, source: Peer, destination: Peer, sequence: u32, acknowledged: u32) -> [u8; FRAME] {
    let mut frame = head.frame(&head.tuple(source, destination));
    let mut adjustment = Adjustment::NONE;
    for (at, number) in [(SEQUENCE, sequence), (ACKNOWLEDGMENT, acknowledged)] {
        let old = std::array::from_fn(|byte| frame[at + byte]);
        let new = number.to_be_bytes();
        adjustment = adjustment.replace_u32(u32::from_ne_bytes(old), u32::from_ne_bytes(new));
        frame[at..at + 4].copy_from_slice(&new);
    }
    let checksum = u16::from_ne_bytes([frame[CHECKSUM], frame[CHECKSUM + 1]]);
    frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&adjustment.apply(checksum).to_ne_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ACK, SYN};
    use evenkeel_packets::transport_sum_is_sound;
    use evenkeel_wire::{Ipv4Address, Port};

    #[test]
    fn its_checksum_is_right() {
        let [from, to] = [[192, 0, 2, 1], [10, 0, 0, 10]]
            .map(|address| Peer { address: Ipv4Address(address), port: Port([31, 144]) });
        for (sequence, acknowledged) in [(0, 0), (u32::MAX, 1), (0x1234_5678, 0x9abc_def0)] {
            for head in [Head::tcp(SYN | ACK), Head::without_data(ACK)] {
                let frame = segment(&head, from, to, sequence, acknowledged);
                assert_eq!(transport_sum_is_sound(&frame, 14), Some(true), "{frame:02x?}");
                assert_eq!(frame[SEQUENCE..SEQUENCE + 4], sequence.to_be_bytes());
                assert_eq!(frame[ACKNOWLEDGMENT..ACKNOWLEDGMENT + 4], acknowledged.to_be_bytes());
            }
        }
    }
}
