//! What is for one of our addresses and for nobody there.
//!
//! Why a packet was sent here is found out once more, since nothing goes from station to station but the packet.

use super::icmp_error::{port_unreachable, time_exceeded};
use super::limit;
use super::reset::reset;
use crate::choose::service;
use crate::family::Family;
use crate::features::Features;
use crate::frame::Frame;
use crate::key::Key as _;
use crate::open::opens;
use crate::ours::Ours;
use crate::parse::Packet;
use crate::service::Service;
use crate::source::check_source;
use crate::tables::{FamilyTables, Tables};
use crate::verdict::Reason;
use evenkeel_wire::{IpProtocol, TcpFlags};

/// What becomes of a segment or datagram that belongs to no known connection, and that none is opened for.
#[inline(always)]
pub(crate) fn refuse<A: Family, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    tables: &T,
    packet: &Packet<A>,
) -> Result<Reason, Reason> {
    let ours = tables.ours(packet.key.destination().address).ok_or(Reason::NotOurs)?;
    match service::<A, T>(tables, &packet.key) {
        Ok(service) => {
            let reason = untaken(tables, packet, ours, service)?;
            check_source::<A, T>(tables, packet.key.source().address)?;
            reset(frame, packet).map(|()| reason)
        }
        Err(_) if ours.is_hosts() => Err(kernels(tables, packet)),
        Err(_) => refuse_unserved(frame, tables, packet),
    }
}

/// The reason for which a packet for a service is answered by a reset, or the one for which it is not.
#[inline(always)]
fn untaken<A: Family, T: Tables>(
    tables: &T,
    packet: &Packet<A>,
    ours: Ours,
    service: Service,
) -> Result<Reason, Reason> {
    let has = |flag| tables.features().include(Features::RESET) && service.flags & flag != 0;
    if opens(packet) {
        let is_tcp = packet.key.protocol() == IpProtocol::TCP;
        return if has(Service::RESET) && is_tcp { Ok(Reason::Refused) } else { Err(Reason::NoBackend) };
    }
    // An answer to a question of the host's own, to an address whose every port is a service's.
    if ours.is_hosts() && kernels(tables, packet) == Reason::CheckAnswer {
        return Err(Reason::CheckAnswer);
    }
    if has(Service::MISSING_RESET) { Ok(Reason::ResetMissing) } else { Err(Reason::FlowMissing) }
}

/// Why the host's kernel gets a packet. What comes to a port that health checks are sent from is no sign that anything is amiss.
#[inline(always)]
fn kernels<A: Family, T: Tables>(tables: &T, packet: &Packet<A>) -> Reason {
    match tables.settings().is_check_port(packet.key.destination().port) {
        true => Reason::CheckAnswer,
        false => Reason::NoService,
    }
}

/// A packet for an address that nobody has but us, and for no service there.
#[inline(always)]
fn refuse_unserved<A: Family, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    tables: &T,
    packet: &Packet<A>,
) -> Result<Reason, Reason> {
    if !answers(tables) || packet.flags.any(TcpFlags::RST) {
        return Err(Reason::Unserved);
    }
    check_source::<A, T>(tables, packet.key.source().address)?;
    limit::take(tables)?;
    if packet.key.protocol() == IpProtocol::TCP {
        reset(frame, packet)?;
    } else {
        port_unreachable(frame, packet)?;
    }
    Ok(Reason::UnservedRefused)
}

/// What becomes of a packet that would be sent on if its time to live had not ended.
#[inline(always)]
pub(crate) fn expire<A: Family, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    tables: &T,
    packet: &Packet<A>,
) -> Result<Reason, Reason> {
    if !answers(tables) {
        return Err(Reason::TtlExpired);
    }
    check_source::<A, T>(tables, packet.key.source().address)?;
    limit::take(tables)?;
    time_exceeded(frame, packet).map(|()| Reason::TimeExceeded)
}

/// Whether what ends here is answered at all.
#[inline(always)]
fn answers<T: Tables>(tables: &T) -> bool {
    tables.features().include(Features::REFUSE) && tables.settings().refuses != 0
}
