//! The first packet of a connection: service, backend, NAT port, two flow entries.

use crate::backend::Link;
use crate::choose::{Choice, choose, service};
use crate::features::Features;
use crate::flow::{Insertion, NewEntry, Now, withdraw};
use crate::hash;
use crate::hop::renew;
use crate::key::{FlowKey, HopNumber, Side};
use crate::parse::{Packet, Segment};
use crate::ports::{PortRequest, claim_port, count_victim};
use crate::rewrite::Route;
use crate::service::Service;
use crate::source::check_source;
use crate::tables::Tables;
use crate::verdict::{Event, Reason};
use crate::word::Word;
use evenkeel_wire::{IpProtocol, TcpFlags};

/// Opens a connection to a backend of the service that the packet is for.
#[inline(always)]
pub(crate) fn open<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    segment: &Segment,
    now: Now,
) -> Result<Route, Reason> {
    if !opens(packet) {
        return Err(missing(tables, packet, service(tables, packet.key)?));
    }
    if tables.features().include(Features::NEWCOMERS) && !tables.admits(packet.key, now) {
        return Err(Reason::NewcomerLimit);
    }
    let choice = Choice(choose(tables, packet.key));
    choice.service()?;
    if packet.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    check_source(tables, packet.key.source().address)?;
    let chosen = choice.backend()?;
    let backend = tables.backend(chosen.index).ok_or(Reason::NoBackend)?;
    let link = Link(backend.link.load());
    if link.mac().is_zero() {
        return Err(Reason::BackendUnresolved);
    }
    let hop = hop(tables, packet, choice.is_routed(), now).ok_or(Reason::HopTableFull)?;
    if let Some(word) = tables.hop(hop) {
        // Or it could be swept under a connection that begins.
        renew(word, None, now.tick());
    }
    let target = backend.target(packet.key.destination().port);
    // Affinity must not make all of one client's flows begin their search at the same port.
    let seed = choice.random() ^ u32::from(packet.key.source().port.bits()).wrapping_mul(0x9e37_79b1);
    let request = PortRequest { target, key: packet.key, backend: chosen, idle: choice.idle(), hop, seed, now };
    let claimed = claim_port(tables, &request)?;
    let new = NewEntry::new(packet.key, Side::Client, now, chosen, choice.idle(), claimed.nat(), hop)
        .with_proof(segment.sequence.wrapping_add(1));
    let reply = request.reply_key(claimed.nat());
    match Insertion::from_bits(tables.insert(&new, now)) {
        // Both entries belong in one bucket, and it had room for one.
        Insertion::Done { slot, uses, .. } if slot == claimed.slot() && share_a_bucket(tables, packet.key, reply) => {
            give_back(tables, packet.key, slot, uses);
            return Err(Reason::FlowTableFull);
        }
        Insertion::Done { victim, .. } => {
            count_victim(tables, victim);
            tables.count_event(Event::FlowOpened);
        }
        refused => {
            give_back(tables, reply, claimed.slot(), claimed.uses());
            return Err(if refused == Insertion::Full { Reason::FlowTableFull } else { Reason::FlowContended });
        }
    }
    let (source, destination) = (claimed.nat(), target);
    Ok(Route { backend: chosen.index, from: Side::Client, mac: link.0, source, destination })
}

/// Where answers go: where the routes say if the service wants that, and to where the packet has come from.
#[inline(always)]
fn hop<T: Tables + ?Sized>(tables: &T, packet: &Packet, is_routed: bool, now: Now) -> Option<HopNumber> {
    if tables.features().include(Features::ROUTED)
        && is_routed
        && let Some(number) = tables.reply_hop(packet.key.source().address)
    {
        return Some(number);
    }
    tables.hop_number(packet.neighbour, now.tick())
}

/// Whether a packet may open a connection: any datagram; a SYN that is nothing else.
#[inline(always)]
pub(crate) fn opens(packet: &Packet) -> bool {
    let opening = TcpFlags::SYN.with(TcpFlags::ACK).with(TcpFlags::RST).with(TcpFlags::FIN);
    packet.key.protocol() == IpProtocol::UDP || packet.flags.0 & opening.0 == TcpFlags::SYN.0
}

/// What becomes of a segment that opens nothing, for a service. A flood of them is decided on here, unless somebody wants to be
/// told or it may be an answer to a question of the host's.
#[inline(always)]
fn missing<T: Tables + ?Sized>(tables: &T, packet: &Packet, service: Service) -> Reason {
    let resets = tables.features().include(Features::RESET) && service.flags & Service::MISSING_RESET != 0;
    match packet.key.destination().port {
        port if tables.settings().is_check_port(port) => Reason::NoService,
        _ if resets => Reason::ResetMissing,
        _ => Reason::FlowMissing,
    }
}

/// The index of the bucket that a key belongs in.
#[inline(always)]
fn bucket<T: Tables + ?Sized>(tables: &T, key: FlowKey) -> u32 {
    let settings = tables.settings();
    hash::bucket(hash::place(key, &settings.flow_secret), settings.flow_mask)
}

#[inline(always)]
fn share_a_bucket<T: Tables + ?Sized>(tables: &T, one: FlowKey, other: FlowKey) -> bool {
    bucket(tables, one) == bucket(tables, other)
}

/// Withdraws the entry with this key, which was just made.
#[inline(always)]
fn give_back<T: Tables + ?Sized>(tables: &T, key: FlowKey, slot: u8, uses: u8) {
    if let Some(bucket) = tables.flows(bucket(tables, key)) {
        withdraw(bucket, slot, uses);
    }
}
