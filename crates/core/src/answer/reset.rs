//! A connection that nobody takes, refused: the answer to a SYN where no port is open (RFC 9293, section 3.10.7.1).

use super::TTL;
use crate::frame::Frame;
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, Ipv4, Tcp, TcpFlags};

/// Turns a SYN into the reset that answers it, in place. What the SYN carried beyond its header stays in the frame, behind
/// the packet's end.
#[inline(always)]
pub(crate) fn refuse<F: Frame>(frame: &mut F, packet: &Packet) -> Result<Reason, Reason> {
    let (client, service) = (packet.key.source(), packet.key.destination());

    let ip = frame.header::<Ipv4>(usize::from(packet.ip_offset)).ok_or(Reason::Truncated)?;
    let header_length = packet.transport_offset.wrapping_sub(packet.ip_offset);
    let old_length = u16::from_ne_bytes(ip.total_length.to_bytes());
    // What the SYN takes of the sequence space: itself, and what it carries (TCP Fast Open).
    let carried = u32::from(ip.total_length.get()).wrapping_sub(u32::from(header_length));
    ip.total_length.set(header_length.wrapping_add(Tcp::LENGTH as u16));
    let old_ttl = ip.ttl_word();
    ip.ttl = TTL;
    // Swapping the addresses leaves the sum as it is.
    let change = Adjustment::NONE
        .replace_u16(old_length, u16::from_ne_bytes(ip.total_length.to_bytes()))
        .replace_u16(old_ttl, ip.ttl_word());
    ip.checksum.set(change.apply(ip.checksum.get()));
    ip.source = service.address;
    ip.destination = client.address;
    let protocol = ip.protocol;

    let tcp = frame.header::<Tcp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
    let data = carried.wrapping_sub(tcp.header_length() as u32);
    tcp.source = service.port;
    tcp.destination = client.port;
    tcp.acknowledgement.set(tcp.sequence.get().wrapping_add(data).wrapping_add(1));
    tcp.sequence.set(0);
    tcp.set_header_length();
    tcp.flags = TcpFlags::RST.with(TcpFlags::ACK);
    tcp.window.set(0);
    tcp.urgent.set(0);
    // Everything that the checksum covers (RFC 9293, section 3.1): the pseudo-header, and a header that is mostly zero.
    let sum = Adjustment::of(client.address.bits())
        .and(service.address.bits())
        .and(u32::from(u16::from_ne_bytes([0, protocol.0])))
        .and(u32::from((Tcp::LENGTH as u16).to_be()))
        .and(u32::from(client.port.bits()))
        .and(u32::from(service.port.bits()))
        .and(u32::from_ne_bytes(tcp.acknowledgement.to_bytes()))
        .and(u32::from(tcp.offset_word()));
    tcp.checksum.set(sum.checksum());

    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(Reason::Refused)
}
