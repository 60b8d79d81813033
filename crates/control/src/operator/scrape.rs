//! What monitoring wants to know, read at one moment.

use super::status::Status;
use super::wanted::{Operator, Port};
use crate::balancer::BackendView;
use crate::census::{Census, Stage};
use crate::config::{Nat, Protocol, ServiceId};
use crate::plane::Plane;
use crate::trouble::Trouble;
use evenkeel_core::{Counters, Traffic};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::SystemTime;

/// Everything that there is to measure.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Services, backends, connections.
    pub status: Status,
    /// Verdicts and events.
    pub counters: Counters,
    /// By service and backend, those that have left the file and have connections included.
    pub traffic: BTreeMap<(String, String), BackendTraffic>,
    /// How many connections have come so far, of those that the flow table is made for.
    pub stages: Vec<(Stage, u64)>,
    /// How often something could not be done, by kind; it was tried again.
    pub troubles: Vec<(Trouble, u64)>,
    /// The tables, what is in them, and what they are made for.
    pub tables: Vec<Table>,
    /// What NAT source ports there are.
    pub nat: Nat,
    /// How many of them are in use towards each target: where backends listen, of whatever services.
    pub nat_targets: BTreeMap<(Protocol, SocketAddr), u64>,
    /// Where packets come and go.
    pub port: Option<Port>,
    /// The last attempts to read the file.
    pub reloads: Reloads,
}

/// What a backend's connections have carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendTraffic {
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Connections. Each has one of the NAT source ports towards the backend.
    pub flows: u64,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What is in it.
    pub name: &'static str,
    /// How many are.
    pub used: u64,
    /// How many it is made for.
    pub size: u64,
}

/// What came of reading the file.
#[derive(Clone, Copy, Debug)]
pub struct Reloads {
    /// Whether the last one was put in force.
    pub successful: bool,
    /// When the one was that is in force.
    pub last_success: SystemTime,
}

impl Reloads {
    /// The start is the first.
    pub(super) fn begin() -> Self {
        Self { successful: true, last_success: SystemTime::now() }
    }

    pub(super) fn note(&mut self, successful: bool) {
        self.successful = successful;
        if successful {
            self.last_success = SystemTime::now();
        }
    }
}

impl Scrape {
    /// NAT source ports (of all NAT addresses of a target's family together) that connections to one target may use at a time: a
    /// port may be used towards others as well. Where there are targets of both families, of the one that has fewer.
    pub fn nat_ports(&self) -> u64 {
        self.least_of_targets(|target, _| self.nat.room(target.ip()))
    }

    /// How many NAT source ports are free towards the target that has fewest.
    pub fn nat_ports_free(&self) -> u64 {
        self.least_of_targets(|target, used| self.nat.room(target.ip()).saturating_sub(used))
    }

    fn least_of_targets(&self, of: impl Fn(&SocketAddr, u64) -> u64) -> u64 {
        let least = self.nat_targets.iter().map(|((_, target), used)| of(target, *used)).min();
        // Without a target, what the first one would have.
        least.unwrap_or_else(|| self.nat.addresses.first().map_or(0, |address| self.nat.room(*address)))
    }

    /// Connections by service.
    pub fn flows(&self) -> BTreeMap<&str, u64> {
        let mut flows: BTreeMap<&str, u64> = BTreeMap::new();
        for ((service, _), carried) in &self.traffic {
            *flows.entry(service).or_default() += carried.flows;
        }
        // A service may have nobody.
        for service in self.status.services.iter().filter(|service| service.backends.is_empty()) {
            flows.entry(&service.name).or_default();
        }
        flows
    }
}

impl<P: Plane> Operator<P> {
    /// Reads everything.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn scrape(&self) -> Result<Scrape, P::Error> {
        let census = self.census()?;
        let stages: Vec<_> = Stage::ALL.into_iter().map(|stage| (stage, census.at(stage))).collect();
        let names = self.names();
        let mut traffic: BTreeMap<_, BackendTraffic> = BTreeMap::new();
        let mut nat_targets: BTreeMap<_, u64> = BTreeMap::new();
        for view in self.balancer.backends() {
            let flows = census.flows(view.reference);
            let name = names.get(&view.id.service).cloned().unwrap_or_else(|| view.id.service.to_string());
            let carried = traffic.entry((name, view.id.to_string())).or_default();
            carried.flows += flows;
            add(&mut carried.traffic, &self.balancer.plane().traffic(view.reference.index)?);
            *nat_targets.entry((view.id.service.protocol, view.id.socket_address())).or_default() += flows;
        }
        Ok(Scrape {
            status: self.status_by(&census)?,
            counters: self.balancer.plane().counters()?,
            troubles: self.troubles().into(),
            traffic,
            tables: self.tables(&census),
            stages,
            nat: self.config.nat.clone(),
            nat_targets,
            port: self.port.clone(),
            reloads: self.reloads,
        })
    }

    /// What services are called, those included that have left the file and have connections: by the name that they had, unless
    /// another one has it now.
    fn names(&self) -> HashMap<ServiceId, String> {
        let taken: HashSet<_> = self.config.services.iter().map(|service| service.name.as_str()).collect();
        let left = self.left.iter().filter(|(_, name)| !taken.contains(name.as_str()));
        let mut names: HashMap<_, _> = left.map(|(id, name)| (*id, name.clone())).collect();
        names.extend(self.config.services.iter().map(|service| (service.id(), service.name.clone())));
        names
    }

    /// Remembers what services are called that are about to leave, as long as they have backends that leave.
    pub(super) fn remember_names(&mut self) {
        let known: HashSet<_> = self.balancer.backends().map(|BackendView { id, .. }| id.service).collect();
        self.left.retain(|id, _| known.contains(id));
        self.left.extend(self.config.services.iter().map(|service| (service.id(), service.name.clone())));
    }

    fn tables(&self, census: &Census) -> Vec<Table> {
        let sizes = self.balancer.plane().sizes();
        let flows: u64 = Stage::ALL.into_iter().map(|stage| census.at(stage)).sum();
        let used = |used: usize| used as u64;
        let table = |name, used, size: u32| Table { name, used, size: size.into() };
        vec![
            table("flows", flows.saturating_sub(census.wide()), sizes.flows),
            table("flows-ipv6", census.wide(), sizes.wide_flows),
            table("backends", used(self.balancer.backends().count()), sizes.backends),
            table("services", used(self.config.services.len()), sizes.services),
            table("addresses", used(self.balancer.our_addresses().len()), sizes.addresses),
        ]
    }
}

fn add(sum: &mut Traffic, more: &Traffic) {
    sum.client_packets = sum.client_packets.wrapping_add(more.client_packets);
    sum.client_bytes = sum.client_bytes.wrapping_add(more.client_bytes);
    sum.backend_packets = sum.backend_packets.wrapping_add(more.backend_packets);
    sum.backend_bytes = sum.backend_bytes.wrapping_add(more.backend_bytes);
}
