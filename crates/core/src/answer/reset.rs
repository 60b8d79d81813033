//! A TCP segment that belongs to nobody, answered as RFC 9293, section 3.10.7.1, says of a connection that does not exist.

use super::{TTL, turn_link};
use crate::family::Family;
use crate::frame::Frame;
use crate::key::Key as _;
use crate::network::{Network, Turned};
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Tcp, TcpFlags};

/// Turns a segment into the reset that answers it, in place. What it carried beyond its header stays in the frame, behind the
/// packet's end.
///
/// # Errors
/// [`Reason::FlowMissing`]: it is a reset, and those are never answered. [`Reason::Malformed`]: its header contradicts itself.
/// The packet is as it was.
#[inline(always)]
pub(crate) fn reset<A: Family, F: Frame>(frame: &mut F, packet: &Packet<A>) -> Result<(), Reason> {
    if packet.flags.any(TcpFlags::RST) {
        return Err(Reason::FlowMissing);
    }
    let (peer, own) = (packet.key.source(), packet.key.destination());
    let ip_length = packet.transport_offset.wrapping_sub(packet.ip_offset);
    let carried = packet.length.wrapping_sub(u32::from(packet.transport_offset));

    let tcp = frame.header::<Tcp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
    let header_length = tcp.header_length() as u32;
    if header_length < Tcp::LENGTH as u32 || header_length > carried {
        return Err(Reason::Malformed);
    }
    if packet.flags.any(TcpFlags::ACK) {
        tcp.sequence = tcp.acknowledgement;
        tcp.acknowledgement.set(0);
        tcp.flags = TcpFlags::RST;
    } else {
        // What it takes of the sequence space: data, SYN and FIN.
        let taken = carried.wrapping_sub(header_length) + packet.flags.controls();
        tcp.acknowledgement.set(tcp.sequence.get().wrapping_add(taken));
        tcp.sequence.set(0);
        tcp.flags = TcpFlags::RST.with(TcpFlags::ACK);
    }
    tcp.source = own.port;
    tcp.destination = peer.port;
    tcp.set_header_length();
    tcp.window.set(0);
    tcp.urgent.set(0);
    // Everything that the checksum covers (RFC 9293, section 3.1): the pseudo-header, and a header that is mostly zero.
    let addresses = A::Network::sum(A::Network::sum(Adjustment::NONE, peer.address), own.address);
    let sum = addresses
        .and(u32::from(u16::from_ne_bytes([0, packet.key.protocol().0])))
        .and(u32::from((Tcp::LENGTH as u16).to_be()))
        .and(u32::from(peer.port.bits()))
        .and(u32::from(own.port.bits()))
        .and(u32::from_ne_bytes(tcp.sequence.to_bytes()))
        .and(u32::from_ne_bytes(tcp.acknowledgement.to_bytes()))
        .and(u32::from(tcp.offset_word()));
    tcp.checksum.set(sum.checksum());

    let turned = Turned {
        offset: packet.ip_offset.into(),
        header_length: ip_length.into(),
        payload: Some(Tcp::LENGTH as u16),
        source: own.address,
        destination: peer.address,
    };
    A::Network::turn(frame, &turned, TTL).ok_or(Reason::Truncated)?;
    turn_link(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::V4;
    use crate::frame::SliceFrame;
    use crate::parse;
    use evenkeel_packets::{ACK, Draft, FIN, OUR_MAC, RST, SYN, VLAN, View, end, tcp};
    use evenkeel_wire::MacAddress;
    use std::vec::Vec;
    extern crate std;

    const PSH: u8 = 8;

    /// What becomes of these bytes.
    fn answer(bytes: &mut [u8]) -> Result<(), Reason> {
        let frame = &mut SliceFrame(bytes);
        let ip = parse::ip::<V4, _>(frame, MacAddress(OUR_MAC))?;
        let packet = parse::transport::<V4, _>(frame, &ip)?;
        reset(frame, &packet)
    }

    /// The answer to a segment from 192.0.2.1:40000 to 10.0.0.10:80: control bits, sequence number, acknowledgement.
    fn answered(draft: &Draft) -> (u8, u32, u32) {
        let mut bytes = draft.bytes();
        assert_eq!(answer(&mut bytes), Ok(()), "{draft:?}");
        // Lengths and checksums are etherparse's to judge.
        let view = View::of(&bytes);
        assert_eq!((view.from, view.to, view.ttl), (draft.to, draft.from, 64));
        assert_eq!((view.source_mac, view.destination_mac), (OUR_MAC, evenkeel_packets::CLIENT_MAC));
        assert!(view.payload.is_empty());
        let packet = evenkeel_packets::Packet::of(&bytes).expect("a packet");
        let evenkeel_packets::Transport::Tcp(tcp) = packet.transport else { panic!("TCP") };
        assert_eq!((tcp.window_size, tcp.urgent_pointer, tcp.options.len()), (0, 0, 0));
        (view.flags, tcp.sequence_number, tcp.acknowledgment_number)
    }

    fn segment(flags: u8, payload: usize) -> Draft {
        let payload: Vec<_> = (0..payload).map(|n| n as u8).collect();
        let draft = tcp(end([192, 0, 2, 1], 40_000), end([10, 0, 0, 10], 80), flags);
        draft.numbers(SEQUENCE, ACKNOWLEDGEMENT).payload(&payload)
    }

    const SEQUENCE: u32 = 0x0102_0304;
    const ACKNOWLEDGEMENT: u32 = 0x0506_0708;

    #[test]
    fn what_acknowledges_is_answered_from_where_it_expects_to_hear() {
        for flags in [ACK, ACK | PSH, SYN | ACK, FIN | ACK] {
            for payload in [0, 1, 1400] {
                assert_eq!(answered(&segment(flags, payload)), (RST, ACKNOWLEDGEMENT, 0));
            }
        }
    }

    #[test]
    fn what_does_not_is_acknowledged_as_far_as_it_goes() {
        for (flags, controls) in [(0, 0), (PSH, 0), (SYN, 1), (FIN, 1), (SYN | FIN, 2)] {
            for payload in [0, 1, 1400] {
                let end = SEQUENCE + controls + payload;
                assert_eq!(answered(&segment(flags, payload as usize)), (RST | ACK, 0, end), "{flags:#x} {payload}");
            }
        }
    }

    #[test]
    fn options_and_tags_are_no_data() {
        let with_options = |flags| segment(flags, 3).options(&[1; 40]).tcp_options(&[1; 40]).tag(VLAN, 7);
        assert_eq!(answered(&with_options(SYN)), (RST | ACK, 0, SEQUENCE + 4));
        assert_eq!(answered(&with_options(ACK)), (RST, ACKNOWLEDGEMENT, 0));
        assert_eq!(answered(&segment(FIN, 0).padding(6)), (RST | ACK, 0, SEQUENCE + 1));
    }

    #[test]
    fn a_reset_is_never_answered() {
        for flags in [RST, RST | ACK, RST | SYN, RST | FIN | ACK] {
            let before = segment(flags, 5).bytes();
            let mut bytes = before.clone();
            assert_eq!((answer(&mut bytes), bytes), (Err(Reason::FlowMissing), before));
        }
    }

    #[test]
    fn a_header_that_ends_outside_of_the_packet_is_malformed() {
        // The data offset in the upper half of its byte: too small, and beyond eight bytes of payload.
        for offset in [0, 4, 8, 15] {
            let mut before = segment(SYN, 8).bytes();
            before[14 + 20 + 12] = offset << 4;
            let mut bytes = before.clone();
            assert_eq!((answer(&mut bytes), bytes), (Err(Reason::Malformed), before), "{offset}");
        }
    }

    #[test]
    fn every_checksum_is_right_whoever_asks() {
        for n in 0..2000 {
            let from = end([10, 1, (n >> 8) as u8, n as u8], 1024 + 31 * n);
            for flags in [SYN, ACK] {
                answered(&tcp(from, end([10, 0, 0, 10], 80), flags));
            }
        }
    }
}
