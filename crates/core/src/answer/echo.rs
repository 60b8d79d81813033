//! ICMP echo (RFC 792; RFC 4443, section 4): answered for our own addresses, and for nobody else's. Whatever else is neither TCP
//! nor UDP is not.

use super::{TTL, turn_link};
use crate::family::Family;
use crate::frame::Frame;
use crate::network::{Ip, Network, Turned};
use crate::parse::payload;
use crate::source::check_source;
use crate::tables::FamilyTables;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, IcmpEcho};

/// What becomes of a packet that is neither TCP nor UDP: an echo request is turned into its reply, in place.
#[inline(always)]
pub(crate) fn other<A: Family, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    tables: &T,
    ip: &Ip<A::Address>,
) -> Result<Reason, Reason> {
    let ours = tables.ours(ip.destination).ok_or(Reason::NotOurs)?;
    let not_balanced = if ours.is_hosts() { Reason::NotTcpUdp } else { Reason::Unserved };
    if ip.protocol != A::Network::ICMP {
        return Err(not_balanced);
    }
    let offset = payload(frame, ip, IcmpEcho::LENGTH)?;
    let kind = frame.header::<IcmpEcho>(offset).ok_or(Reason::Malformed)?.kind;
    // Neighbours that look for an address which the host answers for without having it, as a proxy does, ask its kernel. No router
    // has had such a message in hand (RFC 4861, section 7.1); others would go to and fro between a router and a kernel that forwards.
    if A::Network::is_neighbours(kind) && ip.ttl == 255 {
        return Err(Reason::NotTcpUdp);
    }
    check_source::<A, T>(tables, ip.source)?;
    let icmp = frame.header::<IcmpEcho>(offset).ok_or(Reason::Malformed)?;
    let (request, reply) = A::Network::ECHO;
    if icmp.kind != request || icmp.code != 0 {
        return Err(not_balanced);
    }
    let before = icmp.type_word();
    icmp.kind = reply;
    // Where a pseudo-header belongs to the sum, its addresses change places.
    icmp.checksum.set(Adjustment::NONE.replace_u16(before, icmp.type_word()).apply(icmp.checksum.get()));
    let turned = Turned {
        offset: ip.offset,
        header_length: ip.header_length,
        payload: None,
        source: ip.destination,
        destination: ip.source,
    };
    A::Network::turn(frame, &turned, TTL).ok_or(Reason::Truncated)?;
    turn_link(frame)?;
    Ok(Reason::EchoReply)
}
