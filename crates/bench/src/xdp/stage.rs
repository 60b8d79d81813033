//! The balancer's tables from user space: everything that the control side writes is noted as well, so that the core
//! can run here, natively, over the very flow table that the XDP program uses. A million handshakes take a second.

use crate::deployment::refresh;
use evenkeel_control::{Contents, FlowView, FlowWalk, Plane, Sizes};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, HopNumber, Now, Side, Timeouts, WideAddress, WideBucket};
use evenkeel_core::{
    Asked, Backend, BackendRef, Counters, Event, FamilyTables, Features, Ours, Reason, Service, ServiceKey, Settings,
    Standing, Tables, Traffic, V4, V6, Word,
};
use evenkeel_wire::{IpProtocol, Ipv4Address};
use evenkeel_xdp::{XdpError, XdpPlane};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The real plane, and a copy of what was written to it.
pub(crate) struct Stage {
    pub(crate) plane: XdpPlane,
    nat: Vec<Ipv4Address>,
    /// When connections that are opened here are opened; asking the program for every packet would take long.
    time: Cell<Now>,
    ours: HashSet<Ipv4Address>,
    services: HashMap<ServiceKey, Service>,
    maglev: HashMap<u32, Vec<u32>>,
    backends: Vec<Backend<AtomicU64>>,
}

impl Stage {
    pub(crate) fn new(plane: XdpPlane, nat: &[IpAddr], backends: usize) -> Self {
        Self {
            plane,
            time: Cell::new(Now(0)),
            nat: nat.iter().filter_map(ipv4).collect(),
            ours: HashSet::new(),
            services: HashMap::new(),
            maglev: HashMap::new(),
            backends: (0..backends).map(|_| Backend::default()).collect(),
        }
    }

    /// Empties the flow table.
    pub(crate) fn clear(&self) -> Result<(), XdpError> {
        self.time.set(self.plane.now()?);
        for entry in self.plane.flow_table().iter().flat_map(|bucket| &bucket.0) {
            for word in [&entry.meta, &entry.addresses, &entry.ports, &entry.peer] {
                Word::store(word, 0);
            }
        }
        Ok(())
    }

    /// Now, by the clock that the program reads.
    pub(crate) fn time_now(&self) -> Result<Now, XdpError> {
        self.plane.now()
    }

    /// Makes every connection active now, and says when that was.
    pub(crate) fn refresh(&self) -> Result<Now, XdpError> {
        let now = self.plane.now()?;
        refresh(self.plane.flow_table(), now);
        Ok(now)
    }

    /// Entries in use, of all.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let entries = || self.plane.flow_table().iter().flat_map(|bucket| &bucket.0);
        (entries().filter(|entry| entry.read().is_some()).count(), entries().count())
    }

    /// The backend at this place.
    fn noted(&self, index: u16) -> Result<&Backend<AtomicU64>, XdpError> {
        let most = self.backends.len() as u32;
        self.backends.get(usize::from(index)).ok_or(XdpError::Full { what: "backends", most })
    }
}

fn ipv4(address: &IpAddr) -> Option<Ipv4Address> {
    if let IpAddr::V4(address) = address { Some((*address).into()) } else { None }
}

impl Plane for Stage {
    type Error = XdpError;

    fn sizes(&self) -> Sizes {
        self.plane.sizes()
    }

    fn contents(&self) -> Result<Contents, XdpError> {
        self.plane.contents()
    }

    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), XdpError> {
        self.ours = addresses.iter().filter_map(ipv4).collect();
        self.plane.set_our_addresses(addresses)
    }

    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), XdpError> {
        Contents::write_backend(self.noted(index)?, target, service, protocol);
        self.plane.set_backend(index, target, service, protocol)
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), XdpError> {
        Word::store(&self.noted(index)?.link, link.0);
        self.plane.set_link(index, link)
    }

    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), XdpError> {
        self.plane.set_standing(index, standing)
    }

    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), XdpError> {
        self.maglev.extend(tables.iter().cloned());
        self.plane.set_maglev(tables)
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), XdpError> {
        self.services.insert(key, service);
        self.plane.set_service(key, service)
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), XdpError> {
        self.services.remove(&key);
        self.plane.remove_service(key)
    }

    fn provide(&mut self, features: Features, timeouts: &Timeouts, room: Sizes) -> Result<(), XdpError> {
        self.plane.provide(features, timeouts, room)
    }

    fn counters(&self) -> Result<Counters, XdpError> {
        self.plane.counters()
    }

    fn traffic(&self, index: u16) -> Result<Traffic, XdpError> {
        self.plane.traffic(index)
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        self.plane.flow_walk()
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), XdpError> {
        self.plane.visit_flows(visit)
    }

    fn sweep_flows(&self) -> Result<(), XdpError> {
        self.plane.sweep_flows()
    }
}

/// What the core sees. Counts nothing: the caller has the verdict.
impl Tables for Stage {
    type Word = AtomicU64;

    fn settings(&self) -> &Settings {
        self.plane.settings()
    }

    fn now(&self) -> Now {
        self.time.get()
    }

    fn allowance(&self, _: u32) -> Option<&AtomicU64> {
        None
    }

    fn asked(&self, _: u32) -> Option<&Asked<AtomicU64>> {
        None
    }

    fn hop(&self, number: HopNumber) -> Option<&AtomicU64> {
        self.plane.hops().get(usize::from(number.0))
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef> {
        let slots = self.maglev.get(&table)?;
        slots.get(slot as usize).filter(|&&bits| bits != 0).map(|&bits| BackendRef::from_bits(bits))
    }

    fn backend(&self, index: u16) -> Option<&Backend<AtomicU64>> {
        self.backends.get(usize::from(index))
    }

    fn count(&self, _: Reason) {}

    fn count_events(&self, _: Event, _: u32) {}

    fn count_traffic(&self, _: u16, _: Side, _: u32) {}
}

impl FamilyTables<V4> for Stage {
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        self.ours.contains(&address)
    }

    fn ours(&self, address: Ipv4Address) -> Option<Ours> {
        self.ours.contains(&address).then_some(Ours::ALONE)
    }

    fn flows(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        self.plane.flow_table().get(index as usize)
    }

    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        self.nat.get(index as usize).copied()
    }
}

/// No packet of the bench is IPv6.
impl FamilyTables<V6> for Stage {
    fn may_be_ours(&self, _: WideAddress) -> bool {
        false
    }

    fn ours(&self, _: WideAddress) -> Option<Ours> {
        None
    }

    fn flows(&self, _: u32) -> Option<&WideBucket<AtomicU64>> {
        None
    }

    fn nat_address(&self, _: u32) -> Option<WideAddress> {
        None
    }
}
