//! From a configuration to tables: what is new is written before what refers to it, and what has gone after. So backends come
//! up first, then Maglev tables follow, and then backends go down: at every moment who is in a table takes connections.

use super::keys::{keys, service_key};
use super::{Active, Balancer, BalancerError, takes};
use crate::config::{self, Affinity, AllDown, Config, OnMissing, Reply, ServiceId};
use crate::features::features;
use crate::maglev::{self, Candidate};
use crate::plane::Plane;
use crate::sizes::Sizes;
use evenkeel_core::Service;
use evenkeel_core::backend::{BackendRef, BackendState, Standing};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Maglev tables that are made and written together: 17 MB of them.
const TABLES_AT_ONCE: usize = 64;

impl<P: Plane> Balancer<P> {
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
        // Before anything is changed: it may take a moment, and it may fail.
        let (classes, numbers) = self.classes.assign(config, |id| Some(self.services.get(id)?.service.idle.into()));
        let room = self.plane.sizes().grown_for(self.more_flows(config), self.backends_with(config));
        self.plane.provide(features(config), &classes.timeouts(), room)?;
        self.max_flows = Some(wanted_flows(config));
        self.classes = classes;
        self.nat.get_or_insert_with(|| config.nat.clone());
        self.own = config.dataplane.own_addresses().filter(|_| self.plane.is_the_host()).collect();
        // New addresses before the services that have them, old ones after.
        self.write_addresses(config.services.iter().map(|service| service.address))?;
        let wanted: HashSet<_> = config.services.iter().map(config::Service::id).collect();
        let gone: Vec<_> = self.services.keys().filter(|key| !wanted.contains(key)).copied().collect();
        self.remove_keys(config)?;
        for key in gone {
            // Kept if what follows fails, and is tried again.
            self.limits.insert(key, self.services.remove(&key).and_then(|active| active.drain_time));
        }
        let mut limits = self.limits.clone();
        limits.extend(config.services.iter().map(|service| (service.id(), service.drain_time)));
        let mut free_tables = FreeTables::of(&self.services, &self.keys);
        let mut services = Vec::with_capacity(config.services.len());
        let mut lower = Vec::new();
        for service in &config.services {
            let idle = numbers.get(&service.id()).copied().unwrap_or_default();
            services.push((service.id(), self.prepare_service(service, idle, &state, &mut free_tables, &mut lower)?));
        }
        self.write_maglev(&services)?;
        for ((key, active), service) in services.into_iter().zip(&config.services) {
            self.put_service(key, service, active)?;
        }
        for Lower { index, state, standing } in lower {
            self.set_state(index, state, standing)?;
        }
        self.let_go(config, &limits)?;
        self.limits.clear();
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
        let limits = self.plane.limits();
        let most = |what, wanted, most: u32, hint| {
            if wanted > most as usize { Err(BalancerError::TooMany { what, wanted, most, hint }) } else { Ok(()) }
        };
        let (flows, wide_flows) = self.more_flows(config);
        most("connections (max-flows)", flows as usize, limits.flows, "")?;
        most("connections (max-flows) of IPv6 services", wide_flows as usize, limits.wide_flows, "")?;
        most("services", config.service_keys(), limits.services, ", each port of those with several counted")?;
        let backends = self.backends_with(config);
        most("backends", backends, limits.backends, ", those included that have left and still have connections")?;
        let addresses: BTreeSet<_> =
            config.services.iter().map(|service| service.address).chain(self.ours.iter().copied()).collect();
        most("addresses", addresses.len(), limits.addresses, ", those of backends' last connections included")
    }

    /// What the file says of connections, of either family, where that is more than before, and otherwise 0. What the plane was
    /// started for is the first word.
    fn more_flows(&self, config: &Config) -> (u32, u32) {
        let Some(before) = self.max_flows else { return (0, 0) };
        let now = wanted_flows(config);
        let more = |before, now| if now > before { now } else { 0 };
        (more(before.0, now.0), more(before.1, now.1))
    }

    /// How many backends there will be: those that are wanted, and those that have a place still.
    fn backends_with(&self, config: &Config) -> usize {
        self.places.len() + config.backend_ids().filter(|backend| self.places.find(backend).is_none()).count()
    }

    /// Sees to the places of a service's backends, and says what the service shall be; `idle` is the number of its idle times. Who shall take less than now is added to
    /// `lower`: as long as a table leads there, it must take what comes.
    fn prepare_service(
        &mut self,
        service: &config::Service,
        idle: usize,
        state: &impl Fn(&config::Service, &config::Backend) -> (BackendState, Standing),
        free_tables: &mut FreeTables,
        lower: &mut Vec<Lower>,
    ) -> Result<Active, BalancerError<P::Error>> {
        let mut candidates = Vec::with_capacity(service.backends.len());
        for (rank, backend) in service.ranked() {
            let (state, standing) = state(service, backend);
            let reference = self.place(service, backend, state, standing, lower)?;
            if state == BackendState::Up {
                let config::Backend { address, weight, .. } = *backend;
                candidates.push(Candidate { address, rank, weight, reference });
            }
        }
        let known = self.services.get(&service.id());
        let table = known.map_or_else(|| free_tables.take(), |active| active.service.table);
        let drain_time = service.drain_time;
        let ports = Some(service.ports());
        let newcomers = service.newcomers.map_or(0, Service::newcomers);
        let service = Service { table, flags: flags(service), idle: idle as u16, newcomers };
        Ok(Active { service, ports, candidates: Some(candidates), drain_time })
    }

    /// Writes the Maglev tables that shall be made of something else than they are.
    fn write_maglev(&mut self, services: &[(ServiceId, Active)]) -> Result<(), P::Error> {
        let is_stale = |(key, wanted): &&(ServiceId, Active)| {
            self.services.get(key).is_none_or(|known| known.candidates != wanted.candidates)
        };
        let stale: Vec<_> = services.iter().filter(is_stale).collect();
        for stale in stale.chunks(TABLES_AT_ONCE) {
            for (key, _) in stale {
                // Until it is certain that all of them were written.
                if let Some(known) = self.services.get_mut(key) {
                    known.candidates = None;
                }
            }
            let candidates: Vec<_> =
                stale.iter().map(|(_, wanted)| wanted.candidates.as_deref().unwrap_or_default()).collect();
            let filled = maglev::tables(&candidates, &self.pick_secret);
            let tables: Vec<_> = stale.iter().map(|(_, wanted)| wanted.service.table).zip(filled).collect();
            self.plane.set_maglev(&tables)?;
        }
        Ok(())
    }

    /// Tells the plane of a service whose Maglev table is written.
    fn put_service(&mut self, id: ServiceId, service: &config::Service, wanted: Active) -> Result<(), P::Error> {
        let is_as_it_was =
            |known: &Active| known.service == wanted.service && known.ports.as_ref() == Some(&service.ports());
        let is_stale = |key: &ServiceId| self.keys.get(key) != Some(&wanted.service);
        let stale: Vec<_> = match self.services.get(&id) {
            Some(known) if is_as_it_was(known) => Vec::new(),
            _ => service.keys().filter(is_stale).collect(),
        };
        if !stale.is_empty() {
            let written =
                self.plane.set_services(&Vec::from_iter(stale.iter().copied().map(service_key)), wanted.service);
            self.note_written(&written)?;
            written?;
            self.keys.extend(stale.into_iter().map(|key| (key, wanted.service)));
        }
        self.services.insert(id, wanted);
        Ok(())
    }

    /// No packet finds a service any more by a port that none has.
    fn remove_keys(&mut self, config: &Config) -> Result<(), P::Error> {
        let is_as_it_was = |service: &config::Service| {
            self.services.get(&service.id()).is_some_and(|known| known.ports.as_ref() == Some(&service.ports()))
        };
        // Of many ports this is asked at every turn of a check.
        if self.services.len() == config.services.len() && config.services.iter().all(is_as_it_was) {
            return Ok(());
        }
        let wanted: HashSet<_> = config.services.iter().flat_map(config::Service::keys).collect();
        let gone: Vec<_> = self.keys.keys().filter(|key| !wanted.contains(key)).copied().collect();
        if !gone.is_empty() {
            let written = self.plane.remove_services(&Vec::from_iter(gone.iter().copied().map(service_key)));
            self.note_written(&written)?;
            written?;
            self.keys.retain(|key, _| wanted.contains(key));
        }
        Ok(())
    }

    /// After a failure it is not known which keys of many are there: they are read.
    fn note_written(&mut self, written: &Result<(), P::Error>) -> Result<(), P::Error> {
        if written.is_err() {
            self.services.values_mut().for_each(|active| active.ports = None);
            self.keys = keys(&self.plane.contents()?.services);
        }
        Ok(())
    }

    /// The place of a backend, found or made, with this state and standing, or in `lower`.
    fn place(
        &mut self,
        service: &config::Service,
        backend: &config::Backend,
        state: BackendState,
        standing: Standing,
        lower: &mut Vec<Lower>,
    ) -> Result<BackendRef, BalancerError<P::Error>> {
        let id = service.backend_id(backend);
        let index = match self.places.find(&id) {
            Some(index) => index,
            None => {
                let index = self.places.take(id);
                let told = self.plane.set_backend(
                    index as u16,
                    (backend.address, backend.port).into(),
                    (service.address, service.port).into(),
                    service.protocol.on_the_wire(),
                );
                if let Err(error) = told {
                    // Or the next attempt would find it in its place, and say nothing more.
                    self.places.give_up(index);
                    return Err(error.into());
                }
                index
            }
        };
        let mut reference = BackendRef { index: index as u16, generation: 0 };
        let mut now = BackendState::Down;
        if let Some(place) = self.places.get_mut(index) {
            place.leaving = None;
            now = place.state;
            reference = place.reference(index);
        }
        if takes(state) < takes(now) {
            lower.push(Lower { index, state, standing });
        } else {
            self.set_state(index, state, standing)?;
        }
        Ok(reference)
    }

    fn set_state(&mut self, index: usize, state: BackendState, standing: Standing) -> Result<(), P::Error> {
        if let Some(place) = self.places.get_mut(index) {
            (place.state, place.standing) = (state, standing);
        }
        self.write_place(index)
    }
}

/// What the tables of connections are to be made for, of either family.
fn wanted_flows(config: &Config) -> (u32, u32) {
    let Sizes { flows, wide_flows, .. } = Sizes::for_config(config);
    (flows, wide_flows)
}

/// A place whose backend shall take less than it does, once no table leads there.
struct Lower {
    index: usize,
    state: BackendState,
    standing: Standing,
}

/// Numbers of Maglev tables that no service has.
struct FreeTables {
    used: HashSet<u32>,
    next: u32,
}

impl FreeTables {
    /// `keys`: a port may have come from a service that is gone to another, and lead to the old one's table until that is said.
    fn of(services: &BTreeMap<ServiceId, Active>, keys: &BTreeMap<ServiceId, Service>) -> Self {
        let used = services.values().map(|active| &active.service).chain(keys.values());
        Self { used: used.map(|service| service.table).collect(), next: 0 }
    }

    fn take(&mut self) -> u32 {
        while self.used.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

fn flags(service: &config::Service) -> u16 {
    let affinity = match service.affinity {
        Affinity::Connection => Service::PLAIN,
        Affinity::ClientAddress => Service::CLIENT_ADDRESS,
    };
    let all_down = match service.all_down {
        AllDown::Drop => Service::PLAIN,
        AllDown::Reset => Service::RESET,
    };
    let on_missing = match service.on_missing {
        OnMissing::Drop => Service::PLAIN,
        OnMissing::Reset => Service::MISSING_RESET,
    };
    let reply = match service.reply {
        Reply::Source => Service::PLAIN,
        Reply::Route => Service::ROUTED,
    };
    affinity | all_down | on_missing | reply
}
