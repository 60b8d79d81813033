//! What monitoring wants to know, read at one moment.

use super::status::Status;
use super::wanted::Operator;
use crate::plane::Plane;
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
}

impl<P: Plane> Operator<P> {
    /// Reads everything.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn scrape(&self) -> Result<Scrape, P::Error> {
        let status = self.status()?;
        let names: HashMap<_, _> =
            self.config.services.iter().map(|service| (service.id(), service.name.as_str())).collect();
        let mut traffic = Vec::new();
        for view in self.balancer.backends() {
            let Some(service) = names.get(&view.id.service) else { continue };
            traffic.push(BackendTraffic {
                service: (*service).to_owned(),
                backend: view.id.to_string(),
                traffic: self.balancer.plane().traffic(view.reference.index)?,
            });
        }
        let busiest = status.services.iter().flat_map(|service| &service.backends).map(|backend| backend.flows).max();
        Ok(Scrape {
            counters: self.counters()?,
            traffic,
            nat_ports_free: self.config.nat.room().saturating_sub(busiest.unwrap_or(0)),
            status,
        })
    }
}
