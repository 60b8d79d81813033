//! What is wanted, and who says so: the file, what an operator has ordered beside it, and what health checks say.

use super::admission::{Whole, admission, checked, is_served, standing};
use super::change::Change;
use super::health::{Condition, HealthTable, Judgement};
use super::notes::Note;
use super::orders::{Order, Orders};
use super::scrape::Reloads;
use super::ways::Way;
use crate::balancer::{BackendView, Balancer, BalancerError};
use crate::census::{Census, Counts};
use crate::config::{BackendId, Config, Service, ServiceId};
use crate::plane::Plane;
use crate::trouble::{Trouble, Troubles};
use evenkeel_core::backend::BackendState;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The balancer and everything that decides what it shall be.
#[derive(Debug)]
pub struct Operator<P> {
    pub(super) balancer: Balancer<P>,
    /// The plane's name, for people.
    pub(super) plane: &'static str,
    pub(super) config: Config,
    /// Where the configuration is read from again.
    pub(super) path: Option<PathBuf>,
    pub(super) orders: Orders,
    pub(super) health: HealthTable,
    pub(super) started: Instant,
    /// Where connections are counted beside everything else, if they are.
    pub(super) counts: Option<Counts>,
    /// What could not be done so far, and was or is to be tried again.
    pub(super) troubles: Troubles,
    /// Whether the tables may be otherwise than is wanted, since one could not be changed.
    pub(super) is_behind: bool,
    /// What came of the last reload, for the log.
    pub(super) reloaded: Option<Result<Vec<Change>, String>>,
    /// Where packets come and go, once that is known.
    pub(super) port: Option<Port>,
    /// See [`Operator::check_by`].
    check_device: Option<Arc<str>>,
    /// What services were called that have left the file.
    pub(super) left: HashMap<ServiceId, String>,
    /// What came of reading the file.
    pub(super) reloads: Reloads,
    /// Services of which nobody takes new connections.
    unserved: HashSet<ServiceId>,
    /// What has happened, until somebody takes it.
    pub(crate) notes: Vec<Note>,
    /// Whether something was told of ways that the tables do not say yet.
    is_unsettled: bool,
}

/// Where packets come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The interface's name, or DPDK's of a port.
    pub interface: String,
    /// How it is worked: `native` or `generic` on XDP, the driver's name on DPDK.
    pub mode: String,
    /// Why it is that and nothing better, in words, where there is something to say.
    pub why: Option<String>,
}

impl<P: Plane> Operator<P> {
    /// Puts a configuration in force. `plane` is the plane's name; `path` is where a reload finds the configuration.
    ///
    /// # Errors
    /// The tables cannot be made.
    pub fn new(
        balancer: Balancer<P>,
        plane: &'static str,
        config: Config,
        path: Option<PathBuf>,
    ) -> Result<Self, BalancerError<P::Error>> {
        let mut operator = Self {
            balancer,
            plane,
            config,
            path,
            orders: Orders::default(),
            health: HealthTable::default(),
            started: Instant::now(),
            counts: None,
            troubles: Troubles::default(),
            is_behind: false,
            reloaded: None,
            port: None,
            check_device: None,
            left: HashMap::new(),
            reloads: Reloads::begin(),
            unserved: HashSet::new(),
            notes: Vec::new(),
            is_unsettled: false,
        };
        operator.recall();
        operator.enforce()?;
        Ok(operator)
    }

    /// Takes over what a process before has left word of: drains by order, and backends that failed their checks. Weights by
    /// order are not among it, since the file has just been read.
    fn recall(&mut self) {
        // Whoever took connections then is known to serve.
        let served = |view: &BackendView| matches!(view.state, BackendState::Up | BackendState::Draining);
        let known: HashSet<_> = self.balancer.backends().filter(served).map(|view| view.id).collect();
        checked(&self.config).filter(|backend| !known.contains(backend)).for_each(|new| self.health.expect(new));
        for (backend, standing) in self.balancer.standings() {
            if standing.drained {
                self.orders.take(backend, Order::Drain);
            }
            if standing.failed {
                let (condition, since) = (Condition::Down, SystemTime::now());
                let reason = "failed its checks before the restart".to_owned();
                self.health.note(Judgement { backend, condition, reason, since });
            }
        }
        (self.orders, self.health) = self.outlasting(&self.config);
    }

    /// The balancer.
    pub fn balancer(&self) -> &Balancer<P> {
        &self.balancer
    }

    /// The balancer, for next hops and housekeeping.
    pub fn balancer_mut(&mut self) -> &mut Balancer<P> {
        &mut self.balancer
    }

    /// From now on connections are as many as these counts say.
    pub(crate) fn count_by(&mut self, counts: Counts) {
        self.counts = Some(counts);
    }

    /// How many connections backends have: by the last count, or if nobody counts beside us, by one that is made now.
    pub(super) fn census(&self) -> Result<Arc<Census>, P::Error> {
        match &self.counts {
            Some(counts) => Ok(counts.latest()),
            None => self.balancer.census().map(Arc::new),
        }
    }

    /// Notes where packets come and go.
    pub fn works_at(&mut self, port: Port) {
        self.port = Some(port);
    }

    /// Has health checks leave by this interface, whatever routes say. To be said before a daemon begins.
    pub fn check_by(&mut self, device: Option<&str>) {
        self.check_device = device.map(Arc::from);
    }

    /// The interface that health checks leave by, if not by routes.
    pub(crate) fn check_device(&self) -> Option<Arc<str>> {
        self.check_device.clone()
    }

    /// What has happened since this was asked last.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Something has happened.
    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Notes whether packets find the way to a backend's address. What follows from it for new connections is put in force by
    /// [`Operator::settle`]: many ways may become known one after the other.
    pub fn note_way(&mut self, address: IpAddr, way: Way) {
        self.is_unsettled |= self.health.note_way(address, way);
    }

    /// Whether ways were noted from which something follows.
    pub fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }

    /// Puts in force what follows from the ways that were noted.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn settle(&mut self) -> Result<(), BalancerError<P::Error>> {
        // If that fails, it is caught up with like everything else.
        if std::mem::take(&mut self.is_unsettled) { self.enforce() } else { Ok(()) }
    }

    /// The configuration in force, without what was ordered beside it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the configuration is read from again.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Whether a backend serves, as far as is known.
    pub fn is_up(&self, backend: &BackendId) -> bool {
        self.health.is_up(backend)
    }

    /// Notes what health checks have found, about many backends at once if many have turned.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn judge(&mut self, judgements: &[Judgement]) -> Result<(), BalancerError<P::Error>> {
        // A check that was under way when the configuration changed may be about a backend that is checked no more.
        let checked: HashSet<BackendId> = checked(&self.config).collect();
        let names: HashMap<_, _> = self.config.services.iter().map(|service| (service.id(), &service.name)).collect();
        let mut has_turned = false;
        for judgement in judgements.iter().filter(|judgement| checked.contains(&judgement.backend)) {
            has_turned |= self.health.note(judgement.clone());
            let Judgement { backend, condition, ref reason, .. } = *judgement;
            let service = names.get(&backend.service).map(|name| (*name).clone()).unwrap_or_default();
            self.notes.push(Note::Judged { service, backend, condition, reason: reason.clone() });
        }
        if has_turned { self.enforce() } else { Ok(()) }
    }

    /// Makes the tables what is wanted now. If one of them cannot be changed, [`Operator::catch_up`] has something to do.
    pub(super) fn enforce(&mut self) -> Result<(), BalancerError<P::Error>> {
        let wanted = self.wanted(&self.config);
        let Self { balancer, orders, health, .. } = self;
        let whole = |service: &Service| (service.id(), Whole::of(service, orders, health));
        let wholes: HashMap<_, _> = wanted.services.iter().map(whole).collect();
        let done = balancer.apply_with(&wanted, |service, backend| {
            let whole = wholes.get(&service.id()).copied().unwrap_or_else(|| Whole::of(service, orders, health));
            (admission(service, backend, orders, health, whole), standing(service, backend, orders, health))
        });
        match &done {
            Ok(()) => self.is_behind = false,
            Err(BalancerError::Plane(_)) => self.is_behind = true,
            // Refused before anything was changed.
            Err(_) => {}
        }
        if done.is_ok() {
            self.look_who_is_served(&wanted);
        }
        done
    }

    /// Whether a backend of a service takes new connections.
    pub(super) fn is_served(&self, service: ServiceId) -> bool {
        !self.unserved.contains(&service)
    }

    /// Notes services that have lost the last backend that takes new connections, and those that have one again.
    fn look_who_is_served(&mut self, wanted: &Config) {
        let is_unserved = |service: &&Service| !is_served(service, &self.orders, &self.health);
        let unserved: HashSet<_> = wanted.services.iter().filter(is_unserved).map(Service::id).collect();
        for service in &wanted.services {
            let name = service.name.clone();
            match (self.unserved.contains(&service.id()), unserved.contains(&service.id())) {
                (false, true) => self.notes.push(Note::NobodyLeft { service: name }),
                (true, false) => self.notes.push(Note::ServedAgain { service: name }),
                _ => {}
            }
        }
        self.unserved = unserved;
    }

    /// Notes that a table could not be changed, so that it is tried again. It concerns no packet: what is in force stays.
    pub fn failed(&mut self, error: &impl Display) {
        self.is_behind = true;
        self.troubles.note(Trouble::Tables, error);
    }

    /// Makes the tables what is wanted, if one could not be changed before. To be called every second or so; what comes of it
    /// is noted.
    pub fn catch_up(&mut self) {
        if self.is_behind {
            self.enforce().unwrap_or_else(|error| self.failed(&error));
        }
    }

    /// Whatever is in the tables may not be what is wanted.
    pub(crate) fn doubt(&mut self) {
        self.is_behind = true;
    }

    /// Whether the tables may be otherwise than is wanted.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// How often each kind of trouble has happened.
    pub fn troubles(&self) -> [(Trouble, u64); Trouble::ALL.len()] {
        self.troubles.counts()
    }

    /// Where trouble is noted, for others.
    pub fn share_troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// A configuration with the weights that were ordered.
    pub(super) fn wanted(&self, config: &Config) -> Config {
        let mut wanted = config.clone();
        for service in &mut wanted.services {
            let ids: Vec<_> = service.backend_ids().collect();
            for (backend, id) in service.backends.iter_mut().zip(ids) {
                backend.weight = self.orders.weight(&id).unwrap_or(backend.weight);
            }
        }
        wanted
    }

    /// The orders and judgements that still count under another configuration: weights are the file's again, what was
    /// known of a backend that is not there or not checked any more is forgotten, and nothing is known of one that was not there.
    pub(super) fn outlasting(&self, config: &Config) -> (Orders, HealthTable) {
        let wanted: HashSet<BackendId> = config.backend_ids().collect();
        let checked: HashSet<BackendId> = checked(config).collect();
        let (mut orders, mut health) = (self.orders.clone(), self.health.clone());
        orders.forget_weights();
        orders.keep(|backend| wanted.contains(backend));
        health.keep(|backend| checked.contains(backend));
        let known: HashSet<BackendId> = self.config.backend_ids().collect();
        checked.difference(&known).for_each(|new| health.expect(*new));
        let there = self.balancer.backend_addresses().into_iter();
        health.keep_ways(&wanted.iter().map(|backend| backend.address).chain(there).collect());
        (orders, health)
    }
}
