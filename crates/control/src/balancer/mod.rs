//! Makes a plane's tables what the configuration wants, and changes nothing that did not change.

mod places;

use crate::config::{self, Affinity, AllDown, BackendId, Config, Nat, Protocol, ServiceId};
use crate::maglev::{self, Candidate};
use crate::plane::{Contents, PlaceContents, Plane};
use crate::secrets::Secrets;
use evenkeel_core::backend::{BackendRef, BackendState, Link, Standing};
use evenkeel_core::flow::Peer;
use evenkeel_core::{Service, ServiceKey};
use evenkeel_wire::{MacAddress, Port};
use places::{Place, Places};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// What the control side could not do.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError<E: std::error::Error + 'static> {
    /// The plane refused.
    #[error(transparent)]
    Plane(#[from] E),
    /// More than the plane was made for.
    #[error(
        "{wanted} {what} are too many: the plane was started for at most {most}{hint}; start it again to have more."
    )]
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
    pub address: Ipv4Addr,
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

/// Maglev tables that are made and written together: 17 MB of them.
const TABLES_AT_ONCE: usize = 64;

/// A service as the plane has it, or shall have it.
#[derive(Debug)]
struct Active {
    service: Service,
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
    places: Places,
    next_hops: BTreeMap<IpAddr, MacAddress>,
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
            places: Places::default(),
            next_hops: BTreeMap::new(),
            nat: None,
            own: None,
            ours: BTreeSet::new(),
        }
    }

    /// A balancer over a plane that another process has filled: it goes on from what the tables hold. Backends keep their
    /// places, and so their connections, if the configuration that is applied next still has them.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn adopt(plane: P, secrets: &Secrets, nat: Nat) -> Result<Self, P::Error> {
        let Contents { places, services, addresses } = plane.contents()?;
        let mut balancer = Self::new(plane, secrets);
        balancer.nat = Some(nat);
        balancer.ours = addresses.into_iter().collect();
        for PlaceContents { index, link, owner, standing } in places {
            let index = usize::from(index);
            match owner {
                Some(owner) => {
                    balancer.places.put(index, Place::left(owner, link, standing));
                    if !link.mac().is_zero() {
                        balancer.next_hops.insert(owner.address, link.mac());
                    }
                }
                None => balancer.places.note_generation(index, link.generation()),
            }
        }
        // Which slots a Maglev table has is not read back: it is written once more, whole.
        for (key, service) in services {
            if let Some(id) = service_id(&key) {
                balancer.services.insert(id, Active { service, candidates: None, drain_time: None });
            }
        }
        Ok(balancer)
    }

    /// The plane.
    pub fn plane(&self) -> &P {
        &self.plane
    }

    /// The plane, to be changed in ways that are its own.
    pub fn plane_mut(&mut self) -> &mut P {
        &mut self.plane
    }

    /// Every address that a next hop is needed for.
    pub fn backend_addresses(&self) -> HashSet<Ipv4Addr> {
        self.places.taken().filter_map(|(_, place)| ipv4(place.owner.address)).collect()
    }

    /// Every address that is ours.
    pub fn our_addresses(&self) -> &BTreeSet<Ipv4Addr> {
        &self.ours
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

    /// Makes the tables what `config` wants, with every backend up. Connections stay where they are: a backend that is no
    /// longer wanted takes no new ones, and keeps its place until its last one has ended (see [`Balancer::tidy`]).
    ///
    /// # Errors
    /// `[nat]` is not what it was, or something does not fit: nothing was changed. Or a table could not be changed, and
    /// what was changed before stays.
    pub fn apply(&mut self, config: &Config) -> Result<(), BalancerError<P::Error>> {
        self.apply_with(config, |_, _| (BackendState::Up, Standing::default()))
    }

    /// The same with each backend in the state that it is in, and with what is known of it.
    ///
    /// # Errors
    /// As for [`Balancer::apply`].
    pub fn apply_with(
        &mut self,
        config: &Config,
        state: impl Fn(&config::Service, &config::Backend) -> (BackendState, Standing),
    ) -> Result<(), BalancerError<P::Error>> {
        self.check_room(config)?;
        self.nat.get_or_insert_with(|| config.nat.clone());
        self.own = config.dataplane.address.map(|own| own.address).filter(|_| self.plane.is_the_host());
        // New addresses before the services that have them, old ones after.
        self.write_addresses(config.services.iter().map(|service| service.address))?;
        let wanted: HashSet<_> = config.services.iter().map(config::Service::id).collect();
        let gone: Vec<_> = self.services.keys().filter(|key| !wanted.contains(key)).copied().collect();
        let mut limits: HashMap<_, _> =
            config.services.iter().map(|service| (service.id(), service.drain_time)).collect();
        for key in gone {
            self.plane.remove_service(service_key(key))?;
            limits.insert(key, self.services.remove(&key).and_then(|active| active.drain_time));
        }
        let mut free_tables = FreeTables::of(&self.services);
        let mut services = Vec::with_capacity(config.services.len());
        for service in &config.services {
            services.push((service.id(), self.prepare_service(service, &state, &mut free_tables)?));
        }
        self.write_maglev(&services)?;
        for (key, service) in services {
            self.put_service(key, service)?;
        }
        self.let_go(config, &limits)?;
        self.write_addresses([])
    }

    /// Refuses a configuration that would fail half-way: there is no room for it, or it wants what cannot be changed while
    /// packets fly.
    ///
    /// # Errors
    /// It is refused.
    pub fn check_room(&self, config: &Config) -> Result<(), BalancerError<P::Error>> {
        if self.nat.as_ref().is_some_and(|nat| *nat != config.nat) {
            return Err(BalancerError::NatChanged);
        }
        let sizes = self.plane.sizes();
        let most = |what, wanted, most: u32, hint| {
            if wanted > most as usize { Err(BalancerError::TooMany { what, wanted, most, hint }) } else { Ok(()) }
        };
        most("services", config.services.len(), sizes.services, "")?;
        let more = config.backend_ids().filter(|backend| self.places.find(backend).is_none()).count();
        most("backends", self.places.len() + more, sizes.backends, ", those that still have connections included")?;
        let addresses: BTreeSet<_> =
            config.services.iter().map(|service| service.address).chain(self.ours.iter().copied()).collect();
        most("addresses", addresses.len(), sizes.addresses, ", those of backends' last connections included")
    }

    /// Tells the plane which addresses are ours: the host's own, NAT addresses, those of services, those that a connection
    /// to a backend which is leaving may still be under, and `more`.
    fn write_addresses(&mut self, more: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), BalancerError<P::Error>> {
        let mut ours: BTreeSet<_> = more.into_iter().collect();
        ours.extend(self.nat.iter().flat_map(|nat| &nat.addresses));
        ours.extend(self.own);
        ours.extend(self.services.keys().filter_map(|service| ipv4(service.address)));
        ours.extend(self.places.taken().filter_map(|(_, place)| ipv4(place.owner.service.address)));
        if ours != self.ours {
            self.plane.set_our_addresses(&Vec::from_iter(ours.iter().copied()))?;
            self.ours = ours;
        }
        Ok(())
    }

    /// Sees to the places of a service's backends, and says what the service shall be.
    fn prepare_service(
        &mut self,
        service: &config::Service,
        state: &impl Fn(&config::Service, &config::Backend) -> (BackendState, Standing),
        free_tables: &mut FreeTables,
    ) -> Result<Active, BalancerError<P::Error>> {
        let mut candidates = Vec::with_capacity(service.backends.len());
        for backend in &service.backends {
            let (state, standing) = state(service, backend);
            let reference = self.place(service, backend, state, standing)?;
            if state == BackendState::Up {
                let config::Backend { address, port, weight, .. } = *backend;
                candidates.push(Candidate { address, port, weight, reference });
            }
        }
        let known = self.services.get(&service.id());
        let table = known.map_or_else(|| free_tables.take(), |active| active.service.table);
        let drain_time = service.drain_time;
        let service = Service { table, flags: flags(service) };
        Ok(Active { service, candidates: Some(candidates), drain_time })
    }

    /// Writes the Maglev tables that shall be made of something else than they are.
    fn write_maglev(&mut self, services: &[(ServiceId, Active)]) -> Result<(), P::Error> {
        let is_stale = |(key, wanted): &&(ServiceId, Active)| {
            self.services.get(key).is_none_or(|known| known.candidates != wanted.candidates)
        };
        let stale: Vec<_> = services.iter().filter(is_stale).collect();
        for stale in stale.chunks(TABLES_AT_ONCE) {
            let mut tables = Vec::with_capacity(stale.len());
            for (key, wanted) in stale {
                // Until it is certain that all of them were written.
                if let Some(known) = self.services.get_mut(key) {
                    known.candidates = None;
                }
                let candidates = wanted.candidates.as_deref().unwrap_or_default();
                tables.push((wanted.service.table, maglev::table(candidates, &self.pick_secret)));
            }
            self.plane.set_maglev(&tables)?;
        }
        Ok(())
    }

    /// Tells the plane of a service whose Maglev table is written.
    fn put_service(&mut self, key: ServiceId, wanted: Active) -> Result<(), P::Error> {
        if self.services.get(&key).is_none_or(|known| known.service != wanted.service) {
            self.plane.set_service(service_key(key), wanted.service)?;
        }
        self.services.insert(key, wanted);
        Ok(())
    }

    /// The place of a backend, found or made, with this state and standing.
    fn place(
        &mut self,
        service: &config::Service,
        backend: &config::Backend,
        state: BackendState,
        standing: Standing,
    ) -> Result<BackendRef, BalancerError<P::Error>> {
        let id = service.backend_id(backend);
        let index = match self.places.find(&id) {
            Some(index) => index,
            None => {
                let index = self.places.take(id);
                self.plane.set_backend(
                    index as u16,
                    peer(backend.address, backend.port),
                    peer(service.address, service.port),
                    service.protocol.on_the_wire(),
                )?;
                index
            }
        };
        let mut reference = BackendRef { index: index as u16, generation: 0 };
        if let Some(place) = self.places.get_mut(index) {
            place.leaving = None;
            (place.state, place.standing) = (state, standing);
            reference = place.reference(index);
        }
        self.write_place(index)?;
        Ok(reference)
    }

    /// No new connection for backends that are not wanted any more. `limits`: how long those that they have may go on.
    fn let_go(
        &mut self,
        config: &Config,
        limits: &HashMap<ServiceId, Option<Duration>>,
    ) -> Result<(), BalancerError<P::Error>> {
        let wanted: HashSet<BackendId> = config.backend_ids().collect();
        let leave: Vec<_> = self
            .places
            .taken()
            .filter(|(_, place)| place.leaving.is_none() && !wanted.contains(&place.owner))
            .map(|(index, place)| (index, place.owner.service))
            .collect();
        for (index, service) in leave {
            if let Some(place) = self.places.get_mut(index) {
                let limit = limits.get(&service).copied().flatten();
                place.leaving = Some(limit.map(|limit| Instant::now() + limit));
                (place.state, place.standing) = (BackendState::Draining, Standing::default());
            }
            self.write_place(index)?;
        }
        Ok(())
    }

    fn write_place(&mut self, index: usize) -> Result<(), P::Error> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let mac = self.next_hops.get(&place.owner.address).copied().unwrap_or_default();
        let (link, standing) = (Link::new(mac, place.generation, place.state), place.standing);
        let (written, noted) = &mut place.written;
        // First, or whoever comes after a failure in between would not know why a backend is down.
        if *noted != standing {
            self.plane.set_standing(index as u16, standing)?;
            *noted = standing;
        }
        if *written != Some(link) {
            self.plane.set_link(index as u16, link)?;
            *written = Some(link);
        }
        Ok(())
    }

    /// Notes where packets for a backend address must be sent.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn set_next_hop(&mut self, hop: NextHop) -> Result<(), BalancerError<P::Error>> {
        let address = IpAddr::from(hop.address);
        if self.next_hops.insert(address, hop.mac) == Some(hop.mac) {
            return Ok(());
        }
        let there: Vec<_> =
            self.places.taken().filter(|(_, place)| place.owner.address == address).map(|(index, _)| index).collect();
        for index in there {
            self.write_place(index)?;
        }
        Ok(())
    }

    /// Ends the connections of backends that have left and whose time is over. To be called every second or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn end_overdue(&mut self, now: Instant) -> Result<(), BalancerError<P::Error>> {
        let is_over = |until: Option<Option<Instant>>| until.flatten().is_some_and(|until| until <= now);
        let over: Vec<_> =
            self.places.taken().filter(|(_, place)| is_over(place.leaving)).map(|(index, _)| index).collect();
        if over.is_empty() { Ok(()) } else { self.free(over) }
    }

    /// Frees abandoned flow entries, and the places of backends that have left and have no connections. To be called
    /// every minute or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn tidy(&mut self) -> Result<(), BalancerError<P::Error>> {
        self.plane.sweep_flows()?;
        let leaving: Vec<_> = self
            .places
            .taken()
            .filter(|(_, place)| place.leaving.is_some())
            .map(|(index, place)| (index, place.reference(index)))
            .collect();
        if leaving.is_empty() {
            return Ok(());
        }
        let mut in_use = HashSet::new();
        self.plane.visit_flows(&mut |flow| {
            in_use.insert(flow.backend);
        })?;
        self.free(leaving.into_iter().filter(|(_, reference)| !in_use.contains(reference)).map(|(index, _)| index))
    }

    /// Gives up places; what is left of their connections ends.
    fn free(&mut self, places: impl IntoIterator<Item = usize>) -> Result<(), BalancerError<P::Error>> {
        for index in places {
            if let Some(place) = self.places.get_mut(index) {
                place.end();
            }
            self.write_place(index)?;
            self.places.give_up(index);
        }
        // Another machine may have the address when it comes back.
        let known: HashSet<_> = self.places.taken().map(|(_, place)| place.owner.address).collect();
        self.next_hops.retain(|address, _| known.contains(address));
        self.write_addresses([])
    }
}

/// Numbers of Maglev tables that no service has.
struct FreeTables {
    used: HashSet<u32>,
    next: u32,
}

impl FreeTables {
    fn of(services: &BTreeMap<ServiceId, Active>) -> Self {
        Self { used: services.values().map(|active| active.service.table).collect(), next: 0 }
    }

    fn take(&mut self) -> u32 {
        while self.used.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

fn flags(service: &config::Service) -> u32 {
    let affinity = match service.affinity {
        Affinity::Connection => Service::PLAIN,
        Affinity::ClientAddress => Service::CLIENT_ADDRESS,
    };
    match service.all_down {
        AllDown::Drop => affinity,
        AllDown::Reset => affinity | Service::RESET,
    }
}

fn service_key(service: ServiceId) -> ServiceKey {
    let address = match service.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let (port, protocol) = (Port::from_number(service.port), service.protocol.on_the_wire());
    ServiceKey { address: address.octets(), port, protocol, reserved: 0 }
}

/// The inverse of [`service_key`]; nothing if no service can have the protocol.
fn service_id(key: &ServiceKey) -> Option<ServiceId> {
    let address = IpAddr::from(key.address).to_canonical();
    Some(ServiceId { address, port: key.port.number(), protocol: Protocol::from_wire(key.protocol)? })
}

fn peer(address: Ipv4Addr, port: u16) -> Peer {
    Peer { address: address.into(), port: Port::from_number(port) }
}

/// An address as the tables of backends, addresses and flows hold it, where they can.
fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
