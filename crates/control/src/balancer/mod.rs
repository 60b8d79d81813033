//! Makes a plane's tables what the configuration wants, and changes nothing that did not change.
//!
//! `reconcile` goes from a configuration to tables, `leaving` sees to who is in it no more, `addresses` to which addresses are
//! ours and where backends are found; `adopt` begins with what another process has left. `places` says which place of the
//! plane's table is whose, `classes` which number is whose idle times, `keys` how the tables write what the configuration calls things. `replies` is about where answers go that follow
//! the host's routes.

mod addresses;
mod adopt;
mod classes;
mod keys;
mod leaving;
mod places;
mod reconcile;
mod replies;

use crate::config::{BackendId, Nat, ServiceId};
use crate::maglev::Candidate;
use crate::plane::Plane;
use crate::secrets::Secrets;
use classes::Classes;
pub use classes::timeouts;
use evenkeel_core::Service;
use evenkeel_core::backend::{BackendRef, BackendState, Link, Standing};
use evenkeel_wire::MacAddress;
use places::Places;
pub use replies::ReplyRoute;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What the control side could not do.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError<E: std::error::Error + 'static> {
    /// The plane refused.
    #[error(transparent)]
    Plane(#[from] E),
    /// More than the plane was made for.
    #[error("{wanted} {what} are too many: there is room for {most}{hint}.")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many would be needed.
        wanted: usize,
        /// How many there may be.
        most: u32,
        /// What counts that one might not think of.
        hint: &'static str,
    },
    /// The NAT addresses or ports were changed while connections use them.
    #[error("[nat] cannot be changed while the balancer runs: stop it and start it again.")]
    NatChanged,
}

/// A backend address and the Ethernet address that packets for it are sent to, zero while that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The backend.
    pub address: IpAddr,
    /// Its own Ethernet address, or that of the router in front of it.
    pub mac: MacAddress,
}

/// A backend that the plane knows, whether it is in the configuration or on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Which it is.
    pub id: BackendId,
    /// Its place in the plane's table.
    pub reference: BackendRef,
    /// What may be sent to it.
    pub state: BackendState,
    /// Whether it has left the configuration.
    pub leaving: bool,
}

/// A service as the plane has it, or shall have it.
#[derive(Debug)]
struct Active {
    service: Service,
    /// The ports that the plane finds it by, all of them; nothing if that is not known.
    ports: Option<RangeInclusive<u16>>,
    /// What its Maglev table is made of; nothing if that is not known, since another process made it or a write failed.
    candidates: Option<Vec<Candidate>>,
    /// How long its backends' connections may go on when they have left.
    drain_time: Option<Duration>,
}

/// The control side's picture of a plane, and the plane.
#[derive(Debug)]
pub struct Balancer<P> {
    plane: P,
    pick_secret: [u64; 2],
    services: BTreeMap<ServiceId, Active>,
    /// What the plane finds them by, one a port.
    keys: BTreeMap<ServiceId, Service>,
    classes: Classes,
    places: Places,
    next_hops: BTreeMap<IpAddr, MacAddress>,
    nat: Option<Nat>,
    /// The connections that were wanted last, of either family: see [`crate::Sizes`].
    max_flows: Option<(u32, u32)>,
    /// The host's own addresses, where the plane is a host by itself.
    own: Vec<IpAddr>,
    /// The addresses that the plane was told are ours.
    ours: BTreeSet<IpAddr>,
    /// The host's routes, as far as they matter to answers.
    replies: Vec<ReplyRoute>,
    /// How long backends of services that are gone may go on, as long as those have not been told to go.
    limits: HashMap<ServiceId, Option<Duration>>,
}

impl<P: Plane> Balancer<P> {
    /// A balancer over a plane whose tables are empty.
    pub fn new(plane: P, secrets: &Secrets) -> Self {
        Self {
            plane,
            pick_secret: secrets.pick,
            services: BTreeMap::new(),
            keys: BTreeMap::new(),
            classes: Classes::default(),
            places: Places::default(),
            next_hops: BTreeMap::new(),
            nat: None,
            max_flows: None,
            own: Vec::new(),
            ours: BTreeSet::new(),
            replies: Vec::new(),
            limits: HashMap::new(),
        }
    }

    /// The plane.
    pub fn plane(&self) -> &P {
        &self.plane
    }

    /// The plane, to be changed in ways that are its own.
    pub fn plane_mut(&mut self) -> &mut P {
        &mut self.plane
    }

    /// What is known of every backend that the plane knows.
    pub fn standings(&self) -> impl Iterator<Item = (BackendId, Standing)> {
        self.places.taken().map(|(_, place)| (place.owner, place.standing))
    }

    /// Every backend that the plane knows.
    pub fn backends(&self) -> impl Iterator<Item = BackendView> {
        self.places.taken().map(|(index, place)| BackendView {
            id: place.owner,
            reference: place.reference(index),
            state: place.state,
            leaving: place.leaving.is_some(),
        })
    }

    /// Tells the plane what has changed about a place.
    fn write_place(&mut self, index: usize) -> Result<(), P::Error> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let mac = self.next_hops.get(&place.owner.address).copied().unwrap_or_default();
        let (link, standing) = (Link::new(mac, place.generation, place.state), place.standing);
        // A place is nobody's if it is down and nobody failed there, and who has failed is not taken to serve. So what is
        // known is written before a backend goes down, and after it has come up: whoever comes after a failure in between
        // finds the backend in its place, and as one that failed rather than as one that did not.
        let comes_up = place.written.0.is_some_and(|written| takes(written.state()) < takes(place.state));
        if comes_up {
            self.plane.set_link(index as u16, link)?;
            place.written.0 = Some(link);
        }
        if place.written.1 != standing {
            self.plane.set_standing(index as u16, standing)?;
            place.written.1 = standing;
        }
        if place.written.0 != Some(link) {
            self.plane.set_link(index as u16, link)?;
            place.written.0 = Some(link);
        }
        Ok(())
    }
}

/// How much a backend takes, to be compared.
fn takes(state: BackendState) -> u8 {
    match state {
        BackendState::Down | BackendState::Resetting => 0,
        BackendState::Finishing => 1,
        BackendState::Draining => 2,
        BackendState::Up => 3,
    }
}
