//! ICMP errors (RFC 792; RFC 4443, section 3; RFC 1122, section 3.2.2): a packet goes back to its sender, as a message about itself.

use super::{TTL, turn_link};
use crate::family::Family;
use crate::frame::Frame;
use crate::key::Key as _;
use crate::network::Network;
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, IcmpError, IcmpType, VlanTag};
use zerocopy::native_endian;

/// What is quoted of the packet behind its IP header, in bytes (RFC 792): ports, and a TCP segment's sequence number.
const QUOTED: usize = 8;

/// Turns a TCP segment or UDP datagram into the message that nobody has the port that it is for.
///
/// # Errors
/// There is no room for the message, or the packet has more headers than could be quoted. The packet is to be dropped.
#[inline(always)]
pub(crate) fn port_unreachable<A: Family, F: Frame>(frame: &mut F, packet: &Packet<A>) -> Result<(), Reason> {
    icmp_error(frame, packet, A::Network::PORT_UNREACHABLE, Reason::Unserved)
}

/// Turns one into the message that its time to live ended here.
///
/// # Errors
/// As for [`port_unreachable`].
#[inline(always)]
pub(crate) fn time_exceeded<A: Family, F: Frame>(frame: &mut F, packet: &Packet<A>) -> Result<(), Reason> {
    icmp_error(frame, packet, A::Network::TIME_EXCEEDED, Reason::TtlExpired)
}

/// The sender and the destination must be single hosts, and the packet no ICMP error nor a fragment (RFC 1122, section 3.2.2; RFC
/// 4443, section 2.4): the caller has seen to the first, and a [`Packet`] is none of the others. `unanswered`: what becomes of one
/// that cannot be quoted.
#[inline(always)]
fn icmp_error<A: Family, F: Frame>(
    frame: &mut F,
    packet: &Packet<A>,
    (kind, code): (IcmpType, u8),
    unanswered: Reason,
) -> Result<(), Reason> {
    // What goes in front of the packet that the message is about.
    let headers = A::Network::LENGTH + IcmpError::LENGTH;
    let link = usize::from(packet.ip_offset);
    let transport = usize::from(packet.transport_offset);
    if !A::Network::can_be_quoted(transport) {
        return Err(unanswered);
    }
    let [first, second] = *frame.header::<[native_endian::U32; 2]>(transport).ok_or(Reason::Malformed)?;
    let quote = Adjustment::of(first.get()).and(second.get());
    if !frame.trim(transport + QUOTED) || !frame.grow_front(headers) {
        return Err(Reason::AnswerLimit);
    }
    // What is in front of the IP header is now behind the room that was made, and goes to the front.
    let ethernet = *frame.header::<Ethernet>(headers).ok_or(Reason::AnswerLimit)?;
    *frame.header::<Ethernet>(0).ok_or(Reason::AnswerLimit)? = ethernet;
    turn_link(frame)?;
    for tag in [Ethernet::LENGTH, Ethernet::LENGTH + VlanTag::LENGTH] {
        if tag < link {
            let value = *frame.header::<VlanTag>(headers + tag).ok_or(Reason::AnswerLimit)?;
            *frame.header::<VlanTag>(tag).ok_or(Reason::AnswerLimit)? = value;
        }
    }

    let (peer, own) = (packet.key.source().address, packet.key.destination().address);
    let length = (IcmpError::LENGTH + transport - link + QUOTED) as u16;
    A::Network::begin(frame, link, A::Network::ICMP, TTL, length, own, peer).ok_or(Reason::AnswerLimit)?;
    let sum = A::Network::sum_of_headers(frame, headers + link, transport - link, length, (own, peer));
    let sum = sum.ok_or(Reason::AnswerLimit)?.with(quote);

    let icmp = frame.header::<IcmpError>(link + A::Network::LENGTH).ok_or(Reason::AnswerLimit)?;
    *icmp = IcmpError { kind, code, checksum: native_endian::U16::ZERO, unused: [0; 4] };
    icmp.checksum.set(sum.and(u32::from(icmp.type_word())).checksum());
    Ok(())
}
