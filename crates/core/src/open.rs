//! The first packet of a connection: service, backend, NAT port, two flow entries.

use crate::backend::Link;
use crate::choose::{Choice, choose, service};
use crate::family::{Family, Owner};
use crate::features::Features;
use crate::flow::{Insertion, Now, withdraw};
use crate::hash;
use crate::hop::renew;
use crate::key::{HopNumber, Key as _, Peer, Side};
use crate::parse::{Packet, Segment};
use crate::ports::{PortRequest, claim_port, count_victim};
use crate::rewrite::Route;
use crate::service::Service;
use crate::source::check_source;
use crate::tables::FamilyTables;
use crate::verdict::{Event, Reason};
use crate::word::Word;
use evenkeel_wire::{IpProtocol, TcpFlags};

/// Opens a connection to a backend of the service that the packet is for.
#[inline(always)]
pub(crate) fn open<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    segment: &Segment,
    now: Now,
) -> Result<Route<A>, Reason> {
    if !opens(packet) {
        return Err(missing(tables, packet, service::<A, T>(tables, &packet.key)?));
    }
    if tables.features().include(Features::NEWCOMERS) && !tables.admits(&packet.key, now) {
        return Err(Reason::NewcomerLimit);
    }
    let choice = Choice(choose::<A, T>(tables, &packet.key));
    choice.service()?;
    if packet.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    check_source::<A, T>(tables, packet.key.source().address)?;
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
    let target = backend.target::<A>(packet.key.destination().port);
    // Affinity must not make all of one client's flows begin their search at the same port.
    let seed = choice.random() ^ u32::from(packet.key.source().port.bits()).wrapping_mul(0x9e37_79b1);
    let owner = Owner { backend: chosen, idle: choice.idle(), hop, now };
    let request = PortRequest { target, key: packet.key, owner, seed };
    let claimed = claim_port(tables, &request)?;
    let address = tables.nat_address(claimed.number()).ok_or(Reason::NatPortsExhausted)?;
    let nat = Peer { address, port: claimed.port() };
    let proof = segment.sequence.wrapping_add(1);
    let new = A::client_entry(&packet.key, &owner, (claimed.number(), nat), proof);
    let reply = request.reply_key(nat);
    match Insertion::from_bits(tables.insert(&new, now)) {
        // Both entries belong in one bucket, and it had room for one.
        Insertion::Done { slot, uses, .. }
            if slot == claimed.slot() && share_a_bucket::<A, T>(tables, &packet.key, &reply) =>
        {
            give_back::<A, T>(tables, &packet.key, slot, uses);
            return Err(Reason::FlowTableFull);
        }
        Insertion::Done { victim, .. } => {
            count_victim(tables, victim);
            tables.count_event(Event::FlowOpened);
        }
        refused => {
            give_back::<A, T>(tables, &reply, claimed.slot(), claimed.uses());
            return Err(if refused == Insertion::Full { Reason::FlowTableFull } else { Reason::FlowContended });
        }
    }
    let (source, destination) = (nat, target);
    Ok(Route { backend: chosen.index, from: Side::Client, mac: link.0, source, destination })
}

/// Where answers go: where the routes say if the service wants that, and to where the packet has come from.
#[inline(always)]
fn hop<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    is_routed: bool,
    now: Now,
) -> Option<HopNumber> {
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
pub(crate) fn opens<A: Family>(packet: &Packet<A>) -> bool {
    let opening = TcpFlags::SYN.with(TcpFlags::ACK).with(TcpFlags::RST).with(TcpFlags::FIN);
    packet.key.protocol() == IpProtocol::UDP || packet.flags.0 & opening.0 == TcpFlags::SYN.0
}

/// What becomes of a segment that opens nothing, for a service. A flood of them is decided on here, unless somebody wants to be
/// told or it may be an answer to a question of the host's.
#[inline(always)]
fn missing<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, packet: &Packet<A>, service: Service) -> Reason {
    let resets = tables.features().include(Features::RESET) && service.flags & Service::MISSING_RESET != 0;
    match packet.key.destination().port {
        port if tables.settings().is_check_port(port) => Reason::NoService,
        _ if resets => Reason::ResetMissing,
        _ => Reason::FlowMissing,
    }
}

#[inline(always)]
fn share_a_bucket<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, one: &A::Key, other: &A::Key) -> bool {
    let settings = tables.settings();
    let index = |key: &A::Key| hash::bucket(key.place(settings), A::flow_mask(settings));
    index(one) == index(other)
}

/// Withdraws the entry with this key, which was just made.
#[inline(always)]
fn give_back<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key, slot: u8, uses: u8) {
    if let Some((bucket, _)) = tables.bucket(key) {
        withdraw(bucket, slot, uses);
    }
}
