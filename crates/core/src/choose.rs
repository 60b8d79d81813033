//! Which service a packet is for, and which of its backends a new connection goes to.

use crate::backend::{BackendRef, BackendState, Link};
use crate::family::Family;
use crate::features::Features;
use crate::hash;
use crate::key::Key as _;
use crate::service::Service;
use crate::settings::MAGLEV_SLOTS;
use crate::tables::FamilyTables;
use crate::verdict::Reason;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, Port};

/// What a new connection finds. From the low end: the backend's [`BackendRef`] (24 bits), the class of idle times (4), what
/// came of it (3), whether answers follow routes (1), a random number of the connection's (32). One word, so that it can cross a
/// call that a plane makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice(pub(crate) u64);

impl Choice {
    const IDLE_SHIFT: u32 = 24;
    const OUTCOME_SHIFT: u32 = 28;
    const ROUTED: u64 = 1 << 31;
    const RANDOM_SHIFT: u32 = 32;

    const CHOSEN: u64 = 1;
    const NO_SERVICE: u64 = 2;
    const REFUSED: u64 = 3;
    const NO_BACKEND: u64 = 4;

    #[inline(always)]
    fn outcome(self) -> u64 {
        self.0 >> Self::OUTCOME_SHIFT & 7
    }

    /// Whether there is a service.
    #[inline(always)]
    pub(crate) fn service(self) -> Result<(), Reason> {
        match self.outcome() {
            Self::NO_SERVICE => Err(Reason::NoService),
            _ => Ok(()),
        }
    }

    /// The backend, if the service has one that takes the connection.
    #[inline(always)]
    pub(crate) fn backend(self) -> Result<BackendRef, Reason> {
        match self.outcome() {
            Self::CHOSEN => Ok(BackendRef::from_bits(self.0 as u32)),
            Self::REFUSED => Err(Reason::Refused),
            _ => Err(Reason::NoBackend),
        }
    }

    /// The service's class of idle times.
    #[inline(always)]
    pub(crate) fn idle(self) -> u16 {
        (self.0 >> Self::IDLE_SHIFT) as u16 & 0xf
    }

    /// Whether its answers follow the host's routes.
    #[inline(always)]
    pub(crate) fn is_routed(self) -> bool {
        self.0 & Self::ROUTED != 0
    }

    /// Random bits that nobody outside can foretell.
    #[inline(always)]
    pub(crate) fn random(self) -> u32 {
        (self.0 >> Self::RANDOM_SHIFT) as u32
    }
}

/// What a new connection with this key finds, as one number that the core understands.
#[inline(always)]
pub fn choose<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key) -> u64 {
    let Ok(service) = service::<A, T>(tables, key) else { return Choice::NO_SERVICE << Choice::OUTCOME_SHIFT };
    let random = pick_hash::<A, T>(tables, key, service.flags);
    let slot = hash::scale((random >> 32) as u32, MAGLEV_SLOTS);
    let resets = tables.features().include(Features::RESET) && service.flags & Service::RESET != 0;
    let nobody = if resets && key.protocol() == IpProtocol::TCP { Choice::REFUSED } else { Choice::NO_BACKEND };
    let nobody = nobody << Choice::OUTCOME_SHIFT;
    let Some(chosen) = tables.maglev(service.table, slot) else { return nobody };
    let Some(backend) = tables.backend(chosen.index) else { return nobody };
    let link = Link(backend.link.load());
    if link.generation() != chosen.generation || link.state() != BackendState::Up {
        return nobody;
    }
    let routed = if tables.features().include(Features::ROUTED) && service.flags & Service::ROUTED != 0 {
        Choice::ROUTED
    } else {
        0
    };
    u64::from(chosen.bits())
        | routed
        | u64::from(service.idle & 0xf) << Choice::IDLE_SHIFT
        | Choice::CHOSEN << Choice::OUTCOME_SHIFT
        | random << Choice::RANDOM_SHIFT
}

/// Where a new connection with this key would go.
#[inline(always)]
pub(crate) fn newcomers<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key) -> Option<BackendRef> {
    Choice(tables.choose(key)).backend().ok()
}

/// The service that packets with this key are for: with its port, or with any port. If there is none, the address may not even
/// be ours: whoever has no more to do than to say so finds out (`Station::Refuse`).
#[inline(always)]
pub(crate) fn service<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key) -> Result<Service, Reason> {
    // One key for both questions: it lies on BPF's stack.
    let mut wanted = A::service_key(key.destination(), key.protocol());
    if let Some(service) = tables.service(&wanted) {
        return Ok(service);
    }
    wanted.port = Port([0; 2]);
    tables.service(&wanted).ok_or(Reason::NoService)
}

/// The random number that a connection's backend and NAT port come from.
#[inline(always)]
fn pick_hash<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key, flags: u16) -> u64 {
    let secret = &tables.settings().pick_secret;
    if tables.features().include(Features::CLIENT_ADDRESS) && flags & Service::CLIENT_ADDRESS != 0 {
        return A::random_of_client(key, secret);
    }
    A::random(key, secret)
}
