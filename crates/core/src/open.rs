//! The first packet of a connection: service, backend, NAT port, two flow entries.

use crate::backend::{BackendRef, BackendState, Link};
use crate::branchless::larger;
use crate::features::Features;
use crate::flow::worth::is_finished;
use crate::flow::{Insertion, NewEntry, Now, Victim, withdraw};
use crate::hash;
use crate::hop::renew;
use crate::key::{FlowKey, HopNumber, Peer, Side};
use crate::parse::{Packet, Segment};
use crate::rewrite::Route;
use crate::service::{Service, ServiceKey};
use crate::settings::{MAGLEV_SLOTS, Settings};
use crate::source::check_source;
use crate::tables::Tables;
use crate::verdict::{Event, Reason};
use crate::word::Word;
use core::num::NonZeroU32;
use evenkeel_wire::{IpProtocol, Port, TcpFlags};

/// NAT ports tried for one new flow. With nine ports in ten in use towards a backend, three flows in a hundred find
/// none free; with eight in ten, one in a thousand.
pub const PORT_TRIES: u32 = 32;

/// After so many tries a port whose owner has finished is as good as a free one.
const FREE_TRIES: u32 = 7;

/// Opens a connection to a backend of the service that the packet is for.
#[inline(always)]
pub(crate) fn open<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    segment: &Segment,
    now: Now,
) -> Result<Route, Reason> {
    let service = service(tables, packet)?;
    if !opens(packet) {
        return Err(Reason::FlowMissing);
    }
    if packet.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    check_source(tables, packet.key.source().address)?;
    let choice = choose(tables, packet, service)?;
    let backend = tables.backend(choice.backend.index).ok_or(Reason::NoBackend)?;
    if choice.link.mac().is_zero() {
        return Err(Reason::BackendUnresolved);
    }
    let hop = tables.hop_number(packet.neighbour, now.tick()).ok_or(Reason::HopTableFull)?;
    if let Some(word) = tables.hop(hop) {
        // Or it could be swept under a connection that begins.
        renew(word, None, now.tick());
    }
    let target = backend.target(packet.key.destination().port);
    // Affinity must not make all of one client's flows begin their search at the same port.
    let seed = choice.random as u32 ^ u32::from(packet.key.source().port.bits()).wrapping_mul(0x9e37_79b1);
    let owner = (choice.backend, service.idle);
    let claimed = claim_port(tables, packet, hop, target, owner, seed, now)?;

    let new = NewEntry::new(packet.key, Side::Client, now, owner.0, owner.1, claimed.nat, hop)
        .with_proof(segment.sequence.wrapping_add(1));
    let place = hash::place(packet.key, &tables.settings().flow_secret);
    match tables.insert(place, &new, now) {
        // Both entries belong in one bucket, and it had room for one.
        Insertion::Done { slot, uses, .. } if claimed.is_at(tables, place, slot) => {
            claimed.take_back(tables, uses);
            return Err(Reason::FlowTableFull);
        }
        Insertion::Done { victim, .. } => {
            count_victim(tables, victim);
            tables.count_event(Event::FlowOpened);
        }
        refused => {
            claimed.give_back(tables);
            return Err(if refused == Insertion::Full { Reason::FlowTableFull } else { Reason::FlowContended });
        }
    }
    let (source, destination) = (claimed.nat, target);
    Ok(Route { backend: choice.backend.index, from: Side::Client, mac: choice.link.0, source, destination })
}

/// A backend for a new connection.
pub(crate) struct Choice {
    /// Which.
    pub(crate) backend: BackendRef,
    /// Its link, as it was when it was chosen.
    link: Link,
    /// The random number that it comes from.
    random: u64,
}

/// The backend that a new connection goes to.
#[inline(always)]
pub(crate) fn choose<T: Tables + ?Sized>(tables: &T, packet: &Packet, service: Service) -> Result<Choice, Reason> {
    let random = pick_hash(tables, packet.key, service.flags);
    let slot = hash::scale((random >> 32) as u32, MAGLEV_SLOTS);
    let chosen = tables.maglev(service.table, slot).ok_or_else(|| nobody(tables, packet, service))?;
    let backend = tables.backend(chosen.index).ok_or(Reason::NoBackend)?;
    let link = Link(backend.link.load());
    if link.generation() != chosen.generation || link.state() != BackendState::Up {
        return Err(nobody(tables, packet, service));
    }
    Ok(Choice { backend: chosen, link, random })
}

/// Whether a packet may open a connection: any datagram; a SYN that is nothing else.
#[inline(always)]
pub(crate) fn opens(packet: &Packet) -> bool {
    let opening = TcpFlags::SYN.with(TcpFlags::ACK).with(TcpFlags::RST).with(TcpFlags::FIN);
    packet.key.protocol() == IpProtocol::UDP || packet.flags.0 & opening.0 == TcpFlags::SYN.0
}

/// What becomes of a packet that no backend takes.
#[inline(always)]
fn nobody<T: Tables + ?Sized>(tables: &T, packet: &Packet, service: Service) -> Reason {
    let resets = tables.features().include(Features::RESET) && service.flags & Service::RESET != 0;
    if resets && packet.key.protocol() == IpProtocol::TCP { Reason::Refused } else { Reason::NoBackend }
}

/// The service that the packet is for: with its port, or with any port.
#[inline(always)]
pub(crate) fn service<T: Tables + ?Sized>(tables: &T, packet: &Packet) -> Result<Service, Reason> {
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
fn pick_hash<T: Tables + ?Sized>(tables: &T, key: FlowKey, flags: u16) -> u64 {
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
///
/// If every port that is tried is in use, the one whose owner gives it up most gladly is taken over; if that one has
/// finished, after a few tries.
#[inline(always)]
fn claim_port<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    hop: HopNumber,
    target: Peer,
    (backend, idle): (BackendRef, u16),
    seed: u32,
    now: Now,
) -> Result<Claimed, Reason> {
    let ports = Ports::new(tables.settings(), seed)?;
    let claim = |nat: Peer| {
        let key = FlowKey::new(target, nat, packet.key.protocol());
        let place = hash::place(key, &tables.settings().flow_secret);
        (place, NewEntry::new(key, Side::Backend, now, backend, idle, packet.key.source(), hop))
    };
    let mut refusal = Reason::NatPortsExhausted;
    // The best port to take over, and in the low bits how many tries were left when it was met.
    let mut best = 0;
    for turn in 0..PORT_TRIES {
        let nat = ports.candidate(tables, turn)?;
        let (place, new) = claim(nat);
        match tables.insert(place, &new, now) {
            Insertion::Done { slot, uses, victim } => {
                count_victim(tables, victim);
                return Ok(Claimed { nat, place, slot, uses });
            }
            Insertion::Taken { worth } => {
                best = larger(u64::from(worth) * u64::from(PORT_TRIES) + u64::from(PORT_TRIES - 1 - turn), best);
                if turn >= FREE_TRIES && is_finished((best / u64::from(PORT_TRIES)) as u32) {
                    break;
                }
            }
            Insertion::Full => refusal = Reason::FlowTableFull,
            Insertion::Contended => {}
        }
        tables.count_event(Event::PortCollision);
    }
    if best < u64::from(PORT_TRIES) {
        return Err(refusal);
    }
    let nat = ports.candidate(tables, PORT_TRIES - 1 - (best % u64::from(PORT_TRIES)) as u32)?;
    let (place, new) = claim(nat);
    match tables.take_over(place, &new, now) {
        Insertion::Done { slot, uses, .. } => {
            tables.count_event(Event::PortTakenOver);
            Ok(Claimed { nat, place, slot, uses })
        }
        _ => Err(Reason::FlowContended),
    }
}

/// The NAT addresses and ports in the order in which a flow tries them.
struct Ports {
    first: u32,
    addresses: NonZeroU32,
    candidates: NonZeroU32,
    start: u32,
}

impl Ports {
    #[inline(always)]
    fn new(settings: &Settings, seed: u32) -> Result<Self, Reason> {
        let first = u32::from(settings.nat_port_first);
        let ports = u32::from(settings.nat_port_last) + 1 - first;
        let addresses = NonZeroU32::new(settings.nat_addresses).ok_or(Reason::NatPortsExhausted)?;
        let candidates = NonZeroU32::new(ports.wrapping_mul(addresses.get())).ok_or(Reason::NatPortsExhausted)?;
        Ok(Self { first, addresses, candidates, start: hash::scale(seed, candidates.get()) })
    }

    /// The one that is tried in this turn. No branch: the verifier walks every path through every turn.
    #[inline(always)]
    fn candidate<T: Tables + ?Sized>(&self, tables: &T, turn: u32) -> Result<Peer, Reason> {
        let candidate = (self.start + turn) % self.candidates;
        let address = tables.nat_address(candidate % self.addresses).ok_or(Reason::NatPortsExhausted)?;
        Ok(Peer { address, port: Port::from_number((self.first + candidate / self.addresses) as u16) })
    }
}

#[inline(always)]
fn count_victim<T: Tables + ?Sized>(tables: &T, victim: Option<Victim>) {
    match victim {
        None => {}
        Some(Victim::HalfOpen) => tables.count_event(Event::HalfOpenEvicted),
        Some(Victim::Finished) => tables.count_event(Event::ClosingEvicted),
        Some(Victim::Udp) => tables.count_event(Event::UdpEvicted),
    }
}
