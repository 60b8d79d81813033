//! Makes a plane's tables what the configuration wants, and changes nothing that did not change.

use crate::config::{self, Affinity, Config, Nat, Protocol};
use crate::maglev::{self, Candidate};
use crate::plane::Plane;
use crate::secrets::Secrets;
use evenkeel_core::backend::{BackendRef, BackendState, Link};
use evenkeel_core::flow::Peer;
use evenkeel_core::{Service, ServiceKey};
use evenkeel_wire::{IpProtocol, MacAddress, Port};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

/// How many of everything a plane has room for.
const MAX_BACKENDS: u32 = 1 << 16;

/// What the control side could not do.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError<E: std::error::Error + 'static> {
    /// The plane refused.
    #[error(transparent)]
    Plane(#[from] E),
    /// Too many backends.
    #[error(
        "no place for another backend: at most {MAX_BACKENDS} of all services together, those that still have connections included."
    )]
    NoPlace,
    /// The NAT addresses or ports were changed while connections use them.
    #[error("[nat] cannot be changed while the balancer runs: stop it and start it again.")]
    NatChanged,
}

/// A backend address and the Ethernet address that packets for it are sent to, zero while that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The backend.
    pub address: Ipv4Addr,
    /// Its own Ethernet address, or that of the router in front of it.
    pub mac: MacAddress,
}

/// What a service is known by.
type Listen = (Ipv4Addr, u16, Protocol);

#[derive(Debug)]
struct Place {
    service: Listen,
    target: (Ipv4Addr, u16),
    generation: u8,
    state: BackendState,
    /// Out of the configuration, but connections are left.
    leaving: bool,
}

#[derive(Debug)]
struct Active {
    table: u32,
    affinity: Affinity,
    candidates: Vec<Candidate>,
}

/// The control side's picture of a plane, and the plane.
#[derive(Debug)]
pub struct Balancer<P> {
    plane: P,
    pick_secret: [u64; 2],
    services: BTreeMap<Listen, Active>,
    places: Vec<Option<Place>>,
    /// The generation that each place had last.
    generations: Vec<u8>,
    next_hops: BTreeMap<Ipv4Addr, MacAddress>,
    nat: Option<Nat>,
    /// The host's own address, where the plane is a host by itself.
    own: Option<Ipv4Addr>,
    /// The addresses that the plane was told are ours.
    ours: BTreeSet<Ipv4Addr>,
}

impl<P: Plane> Balancer<P> {
    /// A balancer over a plane whose tables are empty.
    pub fn new(plane: P, secrets: &Secrets) -> Self {
        Self {
            plane,
            pick_secret: secrets.pick,
            services: BTreeMap::new(),
            places: Vec::new(),
            generations: Vec::new(),
            next_hops: BTreeMap::new(),
            nat: None,
            own: None,
            ours: BTreeSet::new(),
        }
    }

    /// The plane.
    pub fn plane(&self) -> &P {
        &self.plane
    }

    /// Every address that a next hop is needed for.
    pub fn backend_addresses(&self) -> HashSet<Ipv4Addr> {
        self.places.iter().flatten().map(|place| place.target.0).collect()
    }

    /// Every address that is ours.
    pub fn our_addresses(&self) -> &BTreeSet<Ipv4Addr> {
        &self.ours
    }

    /// Makes the tables what `config` wants. Connections stay where they are: a backend that is no longer wanted takes
    /// no new ones, and keeps its place until its last one has ended (see [`Balancer::tidy`]).
    ///
    /// # Errors
    /// `[nat]` is not what it was; or a table could not be changed, and what was changed before stays.
    pub fn apply(&mut self, config: &Config) -> Result<(), BalancerError<P::Error>> {
        if self.nat.get_or_insert_with(|| config.nat.clone()) != &config.nat {
            return Err(BalancerError::NatChanged);
        }
        self.own = config.dataplane.address.map(|own| own.address);
        // New addresses before the services that have them, old ones after.
        self.write_addresses(config.services.iter().map(|service| service.address))?;
        let wanted: HashSet<_> = config.services.iter().map(listen).collect();
        let gone: Vec<_> = self.services.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in gone {
            self.plane.remove_service(service_key(key))?;
            self.services.remove(&key);
            self.let_go(|place| place.service == key)?;
        }
        for service in &config.services {
            self.apply_service(service)?;
        }
        self.write_addresses([])
    }

    /// Tells the plane which addresses are ours: the host's own, NAT addresses, those of services, those that a connection to a backend
    /// which is leaving may still be under, and `more`.
    fn write_addresses(&mut self, more: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), BalancerError<P::Error>> {
        let mut ours: BTreeSet<_> = more.into_iter().collect();
        ours.extend(self.nat.iter().flat_map(|nat| &nat.addresses));
        ours.extend(self.own);
        ours.extend(self.services.keys().map(|(address, ..)| address));
        ours.extend(self.places.iter().flatten().map(|place| place.service.0));
        if ours != self.ours {
            self.plane.set_our_addresses(&Vec::from_iter(ours.iter().copied()))?;
            self.ours = ours;
        }
        Ok(())
    }

    fn apply_service(&mut self, service: &config::Service) -> Result<(), BalancerError<P::Error>> {
        let key = listen(service);
        let mut candidates = Vec::with_capacity(service.backends.len());
        for backend in &service.backends {
            let reference = self.place(key, (backend.address, backend.port))?;
            let config::Backend { address, port, weight } = *backend;
            candidates.push(Candidate { address, port, weight, reference });
        }
        let known = self.services.get(&key);
        let table = known.map_or_else(|| self.free_table(), |active| active.table);
        if known.is_none_or(|active| active.candidates != candidates) {
            self.plane.set_maglev(table, &maglev::table(&candidates, &self.pick_secret))?;
        }
        if known.is_none_or(|active| active.affinity != service.affinity) {
            let affinity = match service.affinity {
                Affinity::Connection => Service::CONNECTION,
                Affinity::ClientAddress => Service::CLIENT_ADDRESS,
            };
            self.plane.set_service(service_key(key), Service { table, affinity })?;
        }
        let wanted: HashSet<_> = service.backends.iter().map(|backend| (backend.address, backend.port)).collect();
        self.services.insert(key, Active { table, affinity: service.affinity, candidates });
        self.let_go(|place| place.service == key && !wanted.contains(&place.target))
    }

    /// The place of a backend, found or made.
    fn place(&mut self, service: Listen, target: (Ipv4Addr, u16)) -> Result<BackendRef, BalancerError<P::Error>> {
        let known = self
            .places
            .iter()
            .position(|place| place.as_ref().is_some_and(|place| (place.service, place.target) == (service, target)));
        if let Some(index) = known {
            let Some(place) = &mut self.places[index] else { return Err(BalancerError::NoPlace) };
            place.leaving = false;
            place.state = BackendState::Up;
            let reference = BackendRef { index: index as u16, generation: place.generation };
            self.write_link(index)?;
            return Ok(reference);
        }
        let index = match self.places.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.places.len() < MAX_BACKENDS as usize => {
                self.places.push(None);
                self.generations.push(0);
                self.places.len() - 1
            }
            None => return Err(BalancerError::NoPlace),
        };
        // 0 means "no backend" in a Maglev table.
        let generation = self.generations[index].checked_add(1).unwrap_or(1);
        self.generations[index] = generation;
        let reference = BackendRef { index: index as u16, generation };
        self.plane.set_backend(reference.index, peer(target), peer((service.0, service.1)))?;
        self.places[index] = Some(Place { service, target, generation, state: BackendState::Up, leaving: false });
        self.write_link(index)?;
        Ok(reference)
    }

    fn free_table(&self) -> u32 {
        let used: HashSet<_> = self.services.values().map(|active| active.table).collect();
        (0..).find(|table| !used.contains(table)).unwrap_or(0)
    }

    /// No new connection for these backends.
    fn let_go(&mut self, chosen: impl Fn(&Place) -> bool) -> Result<(), BalancerError<P::Error>> {
        for index in 0..self.places.len() {
            if let Some(place) = &mut self.places[index]
                && !place.leaving
                && chosen(place)
            {
                place.leaving = true;
                place.state = BackendState::Draining;
                self.write_link(index)?;
            }
        }
        Ok(())
    }

    fn write_link(&mut self, index: usize) -> Result<(), P::Error> {
        let Some(place) = &self.places[index] else { return Ok(()) };
        let mac = self.next_hops.get(&place.target.0).copied().unwrap_or_default();
        self.plane.set_link(index as u16, Link::new(mac, place.generation, place.state))
    }

    /// Notes where packets for a backend address must be sent.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn set_next_hop(&mut self, hop: NextHop) -> Result<(), BalancerError<P::Error>> {
        if self.next_hops.insert(hop.address, hop.mac) == Some(hop.mac) {
            return Ok(());
        }
        for index in 0..self.places.len() {
            if self.places[index].as_ref().is_some_and(|place| place.target.0 == hop.address) {
                self.write_link(index)?;
            }
        }
        Ok(())
    }

    /// Frees abandoned flow entries, and the places of backends that have left and have no connections. To be called
    /// every minute or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn tidy(&mut self) -> Result<(), BalancerError<P::Error>> {
        self.plane.sweep_flows()?;
        if !self.places.iter().flatten().any(|place| place.leaving) {
            return Ok(());
        }
        let mut in_use = HashSet::new();
        self.plane.visit_flows(&mut |flow| {
            in_use.insert(flow.backend);
        })?;
        for index in 0..self.places.len() {
            let Some(place) = &mut self.places[index] else { continue };
            let reference = BackendRef { index: index as u16, generation: place.generation };
            if place.leaving && !in_use.contains(&reference) {
                place.state = BackendState::Down;
                self.write_link(index)?;
                self.places[index] = None;
            }
        }
        self.write_addresses([])
    }
}

fn listen(service: &config::Service) -> Listen {
    (service.address, service.port, service.protocol)
}

fn service_key((address, port, protocol): Listen) -> ServiceKey {
    let protocol = match protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
    };
    ServiceKey::ipv4(address.into(), Port::from_number(port), protocol)
}

fn peer((address, port): (Ipv4Addr, u16)) -> Peer {
    Peer { address: address.into(), port: Port::from_number(port) }
}
