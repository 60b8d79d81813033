//! ICMP errors (RFC 792; RFC 1122, section 3.2.2): a packet goes back to its sender, as a message about itself.

use super::TTL;
use crate::frame::Frame;
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, IcmpError, IcmpType, IpProtocol, Ipv4, VlanTag};
use zerocopy::native_endian;

/// What goes in front of the packet that the message is about.
const HEADERS: usize = Ipv4::LENGTH + IcmpError::LENGTH;
/// What is quoted of it behind its IP header, in bytes (RFC 792): ports, and a TCP segment's sequence number.
const QUOTED: usize = 8;
/// Internetwork control, as routers say it (RFC 1812, section 4.3.2.5).
const TRAFFIC_CLASS: u8 = 6 << 5;

/// Turns a TCP segment or UDP datagram into the message that nobody has the port that it is for.
///
/// # Errors
/// There is no room for the message. The packet is to be dropped.
#[inline(always)]
pub(crate) fn port_unreachable<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), Reason> {
    icmp_error(frame, packet, IcmpType::UNREACHABLE, IcmpError::PORT_UNREACHABLE)
}

/// Turns one into the message that its time to live ended here.
///
/// # Errors
/// As for [`port_unreachable`].
#[inline(always)]
pub(crate) fn time_exceeded<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), Reason> {
    icmp_error(frame, packet, IcmpType::TIME_EXCEEDED, IcmpError::IN_TRANSIT)
}

/// The sender and the destination must be single hosts, and the packet no ICMP error nor a fragment (RFC 1122, section 3.2.2):
/// the caller has seen to the first, and a [`Packet`] is none of the others.
#[inline(always)]
fn icmp_error<F: Frame>(frame: &mut F, packet: &Packet, kind: IcmpType, code: u8) -> Result<(), Reason> {
    let link = usize::from(packet.ip_offset);
    let transport = usize::from(packet.transport_offset);
    let quote = frame.header::<[native_endian::U32; 2]>(transport).ok_or(Reason::Malformed)?;
    let [first, second] = [quote[0].get(), quote[1].get()];

    if !frame.trim(transport + QUOTED) || !frame.grow_front(HEADERS) {
        return Err(Reason::AnswerLimit);
    }
    // What is in front of the IP header is now behind the room that was made, and goes to the front.
    let mut ethernet = *frame.header::<Ethernet>(HEADERS).ok_or(Reason::AnswerLimit)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    *frame.header::<Ethernet>(0).ok_or(Reason::AnswerLimit)? = ethernet;
    for tag in [Ethernet::LENGTH, Ethernet::LENGTH + VlanTag::LENGTH] {
        if tag < link {
            let value = *frame.header::<VlanTag>(HEADERS + tag).ok_or(Reason::AnswerLimit)?;
            *frame.header::<VlanTag>(tag).ok_or(Reason::AnswerLimit)? = value;
        }
    }

    let (peer, own) = (packet.key.source().address, packet.key.destination().address);
    let length = (IcmpError::LENGTH + transport - link + QUOTED) as u16;
    let ip = frame.header::<Ipv4>(link).ok_or(Reason::AnswerLimit)?;
    *ip = Ipv4::new(IpProtocol::ICMP, TRAFFIC_CLASS, TTL, length, own, peer);

    let icmp = frame.header::<IcmpError>(link + Ipv4::LENGTH).ok_or(Reason::AnswerLimit)?;
    *icmp = IcmpError { kind, code, checksum: native_endian::U16::ZERO, unused: [0; 4] };
    // The quoted IP header, with its own checksum, sums up to nothing (RFC 1071, section 1). If that is wrong, so is this, and
    // nobody believes a message about a packet that nobody would have taken.
    let sum = Adjustment::of(first).and(second).and(u32::from(icmp.type_word()));
    icmp.checksum.set(sum.checksum());
    Ok(())
}
