//! The first packet of a connection: service, backend, NAT port, two flow entries.

use crate::backend::{BackendRef, BackendState, Link};
use crate::features::Features;
use crate::flow::{Insertion, NewEntry, Tick, withdraw};
use crate::follow::opens;
use crate::hash;
use crate::hop::renew;
use crate::key::{FlowKey, HopNumber, Peer, Side};
use crate::parse::Packet;
use crate::rewrite::Route;
use crate::service::{Service, ServiceKey};
use crate::settings::MAGLEV_SLOTS;
use crate::source::check_source;
use crate::tables::Tables;
use crate::verdict::{Event, Reason};
use crate::word::Word;
use core::num::NonZeroU32;
use evenkeel_wire::{IpProtocol, Port};

/// NAT ports tried for one new flow. With nine ports in ten in use towards a backend, three flows in a hundred find
/// none; with eight in ten, one in a thousand.
pub const PORT_TRIES: u32 = 32;

/// Opens a connection to a backend of the service that the packet is for.
#[inline(always)]
pub(crate) fn open<T: Tables + ?Sized>(tables: &T, packet: &Packet, now: Tick) -> Result<Route, Reason> {
    let service = service(tables, packet)?;
    if !opens(packet) {
        return Err(Reason::FlowMissing);
    }
    if packet.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    check_source(tables, packet.key.source().address)?;
    let random = pick_hash(tables, packet.key, service.flags);
    let slot = hash::scale((random >> 32) as u32, MAGLEV_SLOTS);
    let chosen = tables.maglev(service.table, slot).ok_or_else(|| nobody(tables, packet, service))?;
    let backend = tables.backend(chosen.index).ok_or(Reason::NoBackend)?;
    let link = Link(backend.link.load());
    if link.generation() != chosen.generation || link.state() != BackendState::Up {
        return Err(nobody(tables, packet, service));
    }
    if link.mac().is_zero() {
        return Err(Reason::BackendUnresolved);
    }
    let hop = tables.hop_number(packet.neighbour, now).ok_or(Reason::HopTableFull)?;
    if let Some(word) = tables.hop(hop) {
        // Or it could be swept under a connection that begins.
        renew(word, None, now);
    }
    let target = backend.target(packet.key.destination().port);
    // Affinity must not make all of one client's flows begin their search at the same port.
    let seed = random as u32 ^ u32::from(packet.key.source().port.bits()).wrapping_mul(0x9e37_79b1);
    let claimed = claim_port(tables, packet, hop, target, chosen, seed, now)?;

    let new = NewEntry::new(packet.key, Side::Client, now, chosen, claimed.nat, hop);
    let place = hash::place(packet.key, &tables.settings().flow_secret);
    match tables.insert(place, &new) {
        // Both entries belong in one bucket, and it had room for one.
        Insertion::Done { slot, uses, .. } if claimed.is_at(tables, place, slot) => {
            claimed.take_back(tables, uses);
            return Err(Reason::FlowTableFull);
        }
        Insertion::Done { evicted, .. } => {
            count_evicted(tables, evicted);
            tables.count_event(Event::FlowOpened);
        }
        refused => {
            claimed.give_back(tables);
            return Err(if refused == Insertion::Full { Reason::FlowTableFull } else { Reason::FlowContended });
        }
    }
    let (source, destination) = (claimed.nat, target);
    Ok(Route { backend: chosen.index, from: Side::Client, mac: link.0, source, destination })
}

/// What becomes of a packet that no backend takes.
#[inline(always)]
fn nobody<T: Tables + ?Sized>(tables: &T, packet: &Packet, service: Service) -> Reason {
    let resets = tables.features().include(Features::RESET) && service.flags & Service::RESET != 0;
    if resets && packet.key.protocol() == IpProtocol::TCP { Reason::Refused } else { Reason::NoBackend }
}

/// The service that the packet is for: with its port, or with any port.
#[inline(always)]
fn service<T: Tables + ?Sized>(tables: &T, packet: &Packet) -> Result<Service, Reason> {
    let Peer { address, port } = packet.key.destination();
    let exact = ServiceKey::ipv4(address, port, packet.key.protocol());
    let any = ServiceKey { port: Port([0; 2]), ..exact };
    match tables.service(&exact).or_else(|| tables.service(&any)) {
        Some(service) => Ok(service),
        None if tables.is_ours(address) => Err(Reason::NoService),
        None => Err(Reason::NotOurs),
    }
}

/// The random number that a connection's backend and NAT port come from.
#[inline(always)]
fn pick_hash<T: Tables + ?Sized>(tables: &T, key: FlowKey, flags: u32) -> u64 {
    let secret = &tables.settings().pick_secret;
    if tables.features().include(Features::CLIENT_ADDRESS) && flags & Service::CLIENT_ADDRESS != 0 {
        return hash::siphash13(key.addresses & 0xffff_ffff, 0, secret);
    }
    hash::siphash13(key.addresses, key.ports, secret)
}

/// A NAT address and port that is ours to use, and where the reply entry is that says so.
struct Claimed {
    nat: Peer,
    place: u64,
    slot: u8,
    uses: u8,
}

impl Claimed {
    /// Whether the reply entry was made in this place.
    #[inline(always)]
    fn is_at<T: Tables + ?Sized>(&self, tables: &T, place: u64, slot: u8) -> bool {
        let mask = tables.settings().flow_mask;
        slot == self.slot && hash::bucket(place, mask) == hash::bucket(self.place, mask)
    }

    /// Withdraws what has taken the reply entry's place.
    #[inline(always)]
    fn take_back<T: Tables + ?Sized>(&self, tables: &T, uses: u8) {
        if let Some(bucket) = tables.flows(hash::bucket(self.place, tables.settings().flow_mask)) {
            withdraw(bucket, self.slot, uses);
        }
    }

    #[inline(always)]
    fn give_back<T: Tables + ?Sized>(&self, tables: &T) {
        if let Some(bucket) = tables.flows(hash::bucket(self.place, tables.settings().flow_mask)) {
            withdraw(bucket, self.slot, self.uses);
        }
    }
}

/// Claims a NAT address and port towards the backend by making the reply entry: that no two flows can have the same
/// one follows from no two entries having the same key.
#[inline(always)]
fn claim_port<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    hop: HopNumber,
    target: Peer,
    backend: BackendRef,
    seed: u32,
    now: Tick,
) -> Result<Claimed, Reason> {
    let settings = tables.settings();
    let first = u32::from(settings.nat_port_first);
    let ports = u32::from(settings.nat_port_last) + 1 - first;
    // No branch but the loop's own in finding a candidate: the verifier walks every path through every turn.
    let addresses = NonZeroU32::new(settings.nat_addresses).ok_or(Reason::NatPortsExhausted)?;
    let candidates = NonZeroU32::new(ports.wrapping_mul(addresses.get())).ok_or(Reason::NatPortsExhausted)?;
    let start = hash::scale(seed, candidates.get());
    let mut refusal = Reason::NatPortsExhausted;
    for turn in 0..PORT_TRIES {
        let candidate = (start + turn) % candidates;
        let nat_address = tables.nat_address(candidate % addresses).ok_or(Reason::NatPortsExhausted)?;
        let nat = Peer { address: nat_address, port: Port::from_number((first + candidate / addresses) as u16) };
        let key = FlowKey::new(target, nat, packet.key.protocol());
        let place = hash::place(key, &settings.flow_secret);
        let new = NewEntry::new(key, Side::Backend, now, backend, packet.key.source(), hop);
        match tables.insert(place, &new) {
            Insertion::Done { slot, uses, evicted } => {
                count_evicted(tables, evicted);
                return Ok(Claimed { nat, place, slot, uses });
            }
            Insertion::Full => refusal = Reason::FlowTableFull,
            Insertion::Taken | Insertion::Contended => {}
        }
        tables.count_event(Event::PortCollision);
    }
    Err(refusal)
}

#[inline(always)]
fn count_evicted<T: Tables + ?Sized>(tables: &T, evicted: bool) {
    if evicted {
        tables.count_event(Event::HalfOpenEvicted);
    }
}
