//! NAT ports: a new connection's search for one towards its backend.
//!
//! A port is claimed by making the reply entry: that no two flows can have the same one follows from no two entries having
//! the same key. If every port that is tried is in use, the one whose owner gives it up most gladly is taken over; one whose
//! owner has finished, after a few tries. So what bounds connections one after another is packets, not the number of ports
//! in the time that an ended connection is remembered.

use crate::branchless::larger;
use crate::family::{Family, Owner};
use crate::flow::worth::is_finished;
use crate::flow::{Insertion, Victim};
use crate::hash;
use crate::key::{Key as _, Peer};
use crate::settings::Settings;
use crate::tables::{FamilyTables, Tables};
use crate::verdict::{Event, Reason};
use core::num::NonZeroU32;
use evenkeel_wire::Port;

/// NAT ports tried for one new flow. With nine ports in ten in use towards a backend, three flows in a hundred find
/// none free; with eight in ten, one in a thousand.
pub const PORT_TRIES: u32 = 32;

/// After so many tries a port whose owner has finished is as good as a free one; and if half of them would give way, there
/// is a flood, and the rest would not do so more gladly.
const FREE_TRIES: u32 = 8;

/// Who wants a NAT port, and towards whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortRequest<A: Family> {
    /// Where the backend listens.
    pub(crate) target: Peer<A::Address>,
    /// The client's packets.
    pub(crate) key: A::Key,
    pub(crate) owner: Owner,
    /// Where the search begins.
    pub(crate) seed: u32,
}

impl<A: Family> PortRequest<A> {
    /// The key of the backend's packets to this NAT address and port.
    #[inline(always)]
    pub(crate) fn reply_key(&self, nat: Peer<A::Address>) -> A::Key {
        A::Key::new(self.target, nat, self.key.protocol())
    }

    #[inline(always)]
    fn entry(&self, nat: Peer<A::Address>) -> A::New {
        A::reply_entry(&self.reply_key(nat), &self.owner, self.key.source())
    }
}

/// A NAT address and port that is ours to use, and where in its bucket the reply entry is that says so. From the low end: the
/// address's number (32 bits), the port (16), which use of its place the reply entry is (8), the place (8). One word, because
/// single bytes make the compiler waste BPF's stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed(u64);

impl Claimed {
    const PORT_SHIFT: u32 = 32;
    const USES_SHIFT: u32 = 48;
    const SLOT_SHIFT: u32 = 56;

    #[inline(always)]
    fn new(number: u32, port: Port, slot: u8, uses: u8) -> Self {
        let (uses, slot) = (u64::from(uses) << Self::USES_SHIFT, u64::from(slot) << Self::SLOT_SHIFT);
        Self(u64::from(number) | u64::from(port.bits()) << Self::PORT_SHIFT | uses | slot)
    }

    /// The address' number.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }

    /// The port.
    #[inline(always)]
    pub(crate) fn port(self) -> Port {
        Port::from_bits((self.0 >> Self::PORT_SHIFT) as u16)
    }

    /// Where in its bucket the reply entry is.
    #[inline(always)]
    pub(crate) fn slot(self) -> u8 {
        (self.0 >> Self::SLOT_SHIFT) as u8
    }

    /// Which use of its place the reply entry is.
    #[inline(always)]
    pub(crate) fn uses(self) -> u8 {
        (self.0 >> Self::USES_SHIFT) as u8
    }
}

/// Claims a NAT address and port.
#[inline(always)]
pub(crate) fn claim_port<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    request: &PortRequest<A>,
) -> Result<Claimed, Reason> {
    let now = request.owner.now;
    let ports = Ports::new::<A>(tables.settings(), request.seed).ok_or(Reason::NatPortsExhausted)?;
    let mut met = Met(0);
    let mut turn = 0;
    while turn < PORT_TRIES && !met.is_enough(turn) {
        let (number, nat) = ports.candidate(tables, turn).ok_or(Reason::NatPortsExhausted)?;
        let insertion = tables.insert(&request.entry(nat), now);
        if let Insertion::Done { slot, uses, victim } = Insertion::from_bits(insertion) {
            // Not `turn`: with a number that it knows, BPF's verifier would walk on from every turn.
            let collisions = ports.turn_of(number, nat.port);
            if collisions > 0 {
                tables.count_events(Event::PortCollision, collisions);
            }
            count_victim(tables, victim);
            return Ok(Claimed::new(number, nat.port, slot, uses));
        }
        met = met.with(insertion, turn);
        turn += 1;
    }
    tables.count_events(Event::PortCollision, turn);
    if met.worth() == 0 {
        return Err(if met.is_full() { Reason::FlowTableFull } else { Reason::NatPortsExhausted });
    }
    let (number, nat) = ports.candidate(tables, met.turn()).ok_or(Reason::NatPortsExhausted)?;
    match Insertion::from_bits(tables.take_over(&request.entry(nat), now)) {
        Insertion::Done { slot, uses, .. } => {
            tables.count_event(Event::PortTakenOver);
            Ok(Claimed::new(number, nat.port, slot, uses))
        }
        _ => Err(Reason::FlowContended),
    }
}

/// What a search has met that found no free port yet. From the low end: how many turns were left when the best port was met
/// (8 bits), how gladly that one is given up (32), how many would be (8), how often a bucket was full (8). One word, made
/// without a branch: with what BPF's verifier knew of each of them it would walk every turn of the search once more.
#[derive(Clone, Copy)]
struct Met(u64);

impl Met {
    const WORTH_SHIFT: u32 = 8;
    const YIELDING_SHIFT: u32 = 40;
    const FULL_SHIFT: u32 = 48;

    /// And this, which is no [`Insertion::Done`], as [`Insertion::bits`].
    #[inline(always)]
    fn with(self, insertion: u32, turn: u32) -> Self {
        // All ones if they are equal.
        let mask = |one: u32, other: u32| ((one ^ other).wrapping_sub(1) as i32 >> 31) as u32;
        let kind = insertion & 0xff;
        let worth = insertion >> 8 & mask(kind, Insertion::TAKEN);
        let this = u64::from(worth) << Self::WORTH_SHIFT | u64::from(PORT_TRIES - 1 - turn);
        let best = larger(this, self.0 & ((1 << Self::YIELDING_SHIFT) - 1));
        // The sign bit: 1 unless it is zero.
        let yields = u64::from((worth | worth.wrapping_neg()) >> 31);
        let full = u64::from(mask(kind, Insertion::FULL) & 1);
        let counts = (self.0 >> Self::YIELDING_SHIFT) + yields + (full << (Self::FULL_SHIFT - Self::YIELDING_SHIFT));
        Self(best | counts << Self::YIELDING_SHIFT)
    }

    /// Whether the search can end before this turn.
    #[inline(always)]
    fn is_enough(self, turn: u32) -> bool {
        let yielding = (self.0 >> Self::YIELDING_SHIFT) as u32 & 0xff;
        turn > FREE_TRIES && (yielding >= FREE_TRIES / 2 || is_finished(self.worth()))
    }

    /// Whether there was no room in some bucket.
    #[inline(always)]
    fn is_full(self) -> bool {
        self.0 >> Self::FULL_SHIFT != 0
    }

    /// How gladly the best one is.
    #[inline(always)]
    fn worth(self) -> u32 {
        (self.0 >> Self::WORTH_SHIFT) as u32
    }

    /// In which turn that was met.
    #[inline(always)]
    fn turn(self) -> u32 {
        PORT_TRIES - 1 - (self.0 as u32 & 0xff) % PORT_TRIES
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
    fn new<A: Family>(settings: &Settings, seed: u32) -> Option<Self> {
        let first = u32::from(settings.nat_port_first);
        let ports = u32::from(settings.nat_port_last) + 1 - first;
        let addresses = NonZeroU32::new(A::nat_addresses(settings))?;
        let candidates = NonZeroU32::new(ports.wrapping_mul(addresses.get()))?;
        Some(Self { first, addresses, candidates, start: hash::scale(seed, candidates.get()) })
    }

    /// In which turn this one is tried.
    #[inline(always)]
    fn turn_of(&self, number: u32, port: Port) -> u32 {
        let port = u32::from(port.number()).wrapping_sub(self.first);
        let candidate = port.wrapping_mul(self.addresses.get()).wrapping_add(number);
        let turns = candidate.wrapping_sub(self.start);
        if candidate < self.start { turns.wrapping_add(self.candidates.get()) } else { turns }
    }

    /// The one that is tried in this turn, and the address' number. No branch: the verifier walks every path through every turn.
    #[inline(always)]
    fn candidate<A: Family, T: FamilyTables<A> + ?Sized>(
        &self,
        tables: &T,
        turn: u32,
    ) -> Option<(u32, Peer<A::Address>)> {
        let candidate = (self.start + turn) % self.candidates;
        let number = candidate % self.addresses;
        let port = Port::from_number((self.first + candidate / self.addresses) as u16);
        Some((number, Peer { address: tables.nat_address(number)?, port }))
    }
}

/// Counts who made room for a new entry.
#[inline(always)]
pub(crate) fn count_victim<T: Tables + ?Sized>(tables: &T, victim: Option<Victim>) {
    match victim {
        None => {}
        Some(Victim::HalfOpen) => tables.count_event(Event::HalfOpenEvicted),
        Some(Victim::Finished) => tables.count_event(Event::ClosingEvicted),
        Some(Victim::Udp) => tables.count_event(Event::UdpEvicted),
    }
}
