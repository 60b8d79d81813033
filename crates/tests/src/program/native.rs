//! The same core in this process: a plane whose tables are plain memory and whose clock stands where it is put.

use evenkeel_control::{FlowView, Plane};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, Entry, Peer, Side, Tick};
use evenkeel_core::{
    Backend, BackendRef, Counters, Event, Reason, Service, ServiceKey, Settings, SliceFrame, Tables, Traffic, Word,
    hash, process,
};
use evenkeel_wire::Ipv4Address;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;

/// A plane in memory.
#[derive(Debug)]
pub struct Native {
    settings: Settings,
    nat: Vec<Ipv4Address>,
    ours: HashSet<Ipv4Address>,
    filter: HashSet<u32>,
    services: HashMap<ServiceKey, Service>,
    maglev: HashMap<u32, Vec<u32>>,
    backends: Vec<Backend<AtomicU64>>,
    flows: Vec<Bucket<AtomicU64>>,
    now: Cell<Tick>,
    counters: RefCell<Counters>,
    traffic: RefCell<Vec<Traffic>>,
}

impl Native {
    /// Empty tables, sized as the settings say.
    pub fn new(settings: Settings, nat: &[Ipv4Addr], backends: u32) -> Self {
        let bucket = |_| Bucket(std::array::from_fn(|_| Entry::default()));
        Self {
            settings,
            nat: nat.iter().map(|&address| address.into()).collect(),
            ours: HashSet::new(),
            filter: HashSet::new(),
            services: HashMap::new(),
            maglev: HashMap::new(),
            backends: (0..backends).map(|_| Backend::default()).collect(),
            flows: (0..=settings.flow_mask).map(bucket).collect(),
            now: Cell::new(Tick(0)),
            counters: RefCell::new(Counters::ZERO),
            traffic: RefCell::new(vec![Traffic::default(); backends as usize]),
        }
    }

    /// Decides on a packet at this time, and changes it if it is to be sent.
    pub fn process(&self, packet: &mut [u8], now: Tick) -> Reason {
        self.now.set(now);
        process(&mut SliceFrame(packet), self)
    }

    /// The flow table.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        &self.flows
    }

    /// Sets the clock.
    pub fn set_now(&self, now: Tick) {
        self.now.set(now);
    }
}

impl Tables for Native {
    type Word = AtomicU64;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> Tick {
        self.now.get()
    }

    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        self.filter.contains(&hash::filter_bit(address))
    }

    fn is_ours(&self, address: Ipv4Address) -> bool {
        self.ours.contains(&address)
    }

    fn flows(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        self.flows.get(index as usize)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef> {
        let bits = *self.maglev.get(&table)?.get(slot as usize)?;
        (bits != 0).then(|| BackendRef::from_bits(bits))
    }

    fn backend(&self, index: u16) -> Option<&Backend<AtomicU64>> {
        self.backends.get(usize::from(index))
    }

    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        self.nat.get(index as usize).copied()
    }

    fn count(&self, reason: Reason) {
        self.counters.borrow_mut().count(reason);
    }

    fn count_event(&self, event: Event) {
        self.counters.borrow_mut().count_event(event);
    }

    fn count_traffic(&self, backend: u16, from: Side, bytes: u32) {
        if let Some(traffic) = self.traffic.borrow_mut().get_mut(usize::from(backend)) {
            traffic.count(from, bytes);
        }
    }
}

impl Plane for Native {
    type Error = Infallible;

    fn set_our_addresses(&mut self, addresses: &[Ipv4Addr]) -> Result<(), Infallible> {
        self.ours = addresses.iter().map(|&address| address.into()).collect();
        self.filter = self.ours.iter().map(|&address| hash::filter_bit(address)).collect();
        Ok(())
    }

    fn set_backend(&mut self, index: u16, target: Peer, service: Peer) -> Result<(), Infallible> {
        let backend = &self.backends[usize::from(index)];
        Word::store(&backend.target, target.bits());
        Word::store(&backend.service, service.bits());
        Ok(())
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), Infallible> {
        self.backends[usize::from(index)].link.publish(link.0);
        Ok(())
    }

    fn set_maglev(&mut self, table: u32, slots: &[u32]) -> Result<(), Infallible> {
        self.maglev.insert(table, slots.to_vec());
        Ok(())
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), Infallible> {
        self.services.insert(key, service);
        Ok(())
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Infallible> {
        self.services.remove(&key);
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Infallible> {
        Ok(*self.counters.borrow())
    }

    fn traffic(&self, index: u16) -> Result<Traffic, Infallible> {
        Ok(self.traffic.borrow()[usize::from(index)])
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Infallible> {
        for found in self.flows.iter().flat_map(|bucket| &bucket.0).filter_map(Entry::read) {
            if found.meta.side() == Side::Client && !self.settings.timeouts.expired(found.meta, self.now.get()) {
                visit(FlowView {
                    key: found.key,
                    backend: found.backend,
                    nat: found.peer,
                    state: found.meta.state(),
                    idle: self.now.get().since(found.meta.seen()),
                });
            }
        }
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), Infallible> {
        self.flows.iter().for_each(|bucket| bucket.sweep(&self.settings.timeouts, self.now.get()));
        Ok(())
    }
}
