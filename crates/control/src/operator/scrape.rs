//! What monitoring wants to know, read at one moment.

use super::status::Status;
use super::wanted::Operator;
use crate::census::Stage;
use crate::plane::Plane;
use crate::trouble::Trouble;
use evenkeel_core::Traffic;
use std::collections::{BTreeMap, HashMap};

/// Everything that there is to measure.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Services, backends, connections.
    pub status: Status,
    /// Verdicts and events by name.
    pub counters: BTreeMap<String, u64>,
    /// By backend.
    pub traffic: Vec<BackendTraffic>,
    /// How many connections have come so far, of those that the flow table is made for.
    pub stages: Vec<(Stage, u64)>,
    /// How many more the flow table is made for.
    pub free: u64,
    /// How often something could not be done, by kind; it was tried again.
    pub troubles: Vec<(Trouble, u64)>,
    /// NAT source ports (of all NAT addresses together) that are free towards the backend with the most connections. A
    /// port is in use towards one backend at a time, and may be used towards others as well.
    pub nat_ports_free: u64,
}

/// What a backend's connections have carried.
#[derive(Clone, Debug)]
pub struct BackendTraffic {
    /// The service's name.
    pub service: String,
    /// The backend's address and port.
    pub backend: String,
    /// Packets and bytes.
    pub traffic: Traffic,
    /// NAT source ports that are in use towards it: one for each of its connections.
    pub nat_ports: u64,
}

impl<P: Plane> Operator<P> {
    /// Reads everything.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn scrape(&self) -> Result<Scrape, P::Error> {
        let census = self.census()?;
        let status = self.status_by(&census)?;
        let stages: Vec<_> = Stage::ALL.into_iter().map(|stage| (stage, census.at(stage))).collect();
        let used = stages.iter().map(|(_, count)| count).sum();
        let names: HashMap<_, _> =
            self.config.services.iter().map(|service| (service.id(), service.name.as_str())).collect();
        let mut traffic = Vec::new();
        for view in self.balancer.backends() {
            let Some(service) = names.get(&view.id.service) else { continue };
            traffic.push(BackendTraffic {
                service: (*service).to_owned(),
                backend: view.id.to_string(),
                traffic: self.balancer.plane().traffic(view.reference.index)?,
                nat_ports: census.flows(view.reference),
            });
        }
        let busiest = status.services.iter().flat_map(|service| &service.backends).map(|backend| backend.flows).max();
        Ok(Scrape {
            counters: self.counters()?,
            troubles: self.troubles().into(),
            traffic,
            stages,
            free: u64::from(self.balancer.plane().sizes().flows).saturating_sub(used),
            nat_ports_free: self.config.nat.room().saturating_sub(busiest.unwrap_or(0)),
            status,
        })
    }
}
