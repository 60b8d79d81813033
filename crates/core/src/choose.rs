//! Which service a packet is for, and which of its backends a new connection goes to.

use crate::backend::{BackendRef, BackendState, Link};
use crate::features::Features;
use crate::hash;
use crate::key::{FlowKey, Peer};
use crate::service::{Service, ServiceKey};
use crate::settings::MAGLEV_SLOTS;
use crate::tables::Tables;
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
pub fn choose<T: Tables + ?Sized>(tables: &T, key: FlowKey) -> u64 {
    let Ok(service) = service(tables, key) else { return Choice::NO_SERVICE << Choice::OUTCOME_SHIFT };
    let random = pick_hash(tables, key, service.flags);
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
pub(crate) fn newcomers<T: Tables + ?Sized>(tables: &T, key: FlowKey) -> Option<BackendRef> {
    Choice(tables.choose(key)).backend().ok()
}

/// The service that packets with this key are for: with its port, or with any port. If there is none, the address may not even
/// be ours: whoever has no more to do than to say so finds out (`Station::Refuse`).
#[inline(always)]
pub(crate) fn service<T: Tables + ?Sized>(tables: &T, key: FlowKey) -> Result<Service, Reason> {
    let Peer { address, port } = key.destination();
    // One key for both questions: it lies on BPF's stack.
    let mut wanted = ServiceKey::ipv4(address, port, key.protocol());
    if let Some(service) = tables.service(&wanted) {
        return Ok(service);
    }
    wanted.port = Port([0; 2]);
    tables.service(&wanted).ok_or(Reason::NoService)
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
