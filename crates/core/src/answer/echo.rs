//! ICMP echo (RFC 792): answered for our own addresses, and for nobody else's. Whatever else is neither TCP nor UDP is not.

use super::TTL;
use crate::frame::Frame;
use crate::parse::{Ip, payload};
use crate::source::check_source;
use crate::tables::Tables;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, IcmpEcho, IcmpType, IpProtocol, Ipv4};

/// What becomes of a packet that is neither TCP nor UDP: an echo request is turned into its reply, in place.
#[inline(always)]
pub(crate) fn other<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip) -> Result<Reason, Reason> {
    let ours = tables.ours(ip.destination).ok_or(Reason::NotOurs)?;
    let not_balanced = if ours.is_hosts() { Reason::NotTcpUdp } else { Reason::Unserved };
    if ip.protocol != IpProtocol::ICMP {
        return Err(not_balanced);
    }
    let offset = payload(frame, ip, IcmpEcho::LENGTH)?;
    check_source(tables, ip.source)?;
    let icmp = frame.header::<IcmpEcho>(offset).ok_or(Reason::Malformed)?;
    if icmp.kind != IcmpType::ECHO_REQUEST || icmp.code != 0 {
        return Err(not_balanced);
    }
    let request = icmp.type_word();
    icmp.kind = IcmpType::ECHO_REPLY;
    icmp.checksum.set(Adjustment::NONE.replace_u16(request, icmp.type_word()).apply(icmp.checksum.get()));

    let header = frame.header::<Ipv4>(ip.offset).ok_or(Reason::Truncated)?;
    let old_ttl = header.ttl_word();
    header.ttl = TTL;
    // Swapping the addresses leaves the sum as it is.
    header.checksum.set(Adjustment::NONE.replace_u16(old_ttl, header.ttl_word()).apply(header.checksum.get()));
    header.source = ip.destination;
    header.destination = ip.source;

    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(Reason::EchoReply)
}
