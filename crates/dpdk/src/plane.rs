//! The tables, from the side that fills them.

use crate::clock::coarse_now;
use crate::error::PlaneError;
use crate::host::Heard;
use crate::memory::Memory;
use crate::quiescence::wait_for_bursts;
use crate::tables::{Directory, FlowTable, Tables, nobody_has_asked};
use evenkeel_control::carry::Carrying;
use evenkeel_control::{Contents, FlowView, FlowWalk, MOST_FLOWS, Plane, Sizes, WalkError};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, Now, Peer, Timeouts};
use evenkeel_core::hop;
use evenkeel_core::{AddressFilter, Backend, Counters, Features, Service, ServiceKey, Standing, Traffic, Word};
use evenkeel_wire::IpProtocol;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Tells the time by which flows are stamped.
type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// The DPDK plane, as the control side drives it.
pub struct DpdkPlane {
    tables: Arc<Tables>,
    /// Directories that lcores may still be looking at. Freed here, once nobody does, and never on an lcore.
    retired: Vec<Arc<Directory>>,
    /// The flow table in force.
    flows: Arc<FlowTable>,
    sizes: Sizes,
    clock: Clock,
}

impl fmt::Debug for DpdkPlane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DpdkPlane({} lcores)", self.tables.lcores.len())
    }
}

impl DpdkPlane {
    /// A plane over these tables, with flows stamped by [`coarse_now`].
    pub fn new(tables: Arc<Tables>) -> Self {
        Self::with_clock(tables, coarse_now)
    }

    /// The same with another clock.
    pub fn with_clock(tables: Arc<Tables>, clock: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        let (flows, sizes) = (tables.flow_table(), tables.sizes);
        Self { tables, retired: Vec::new(), flows, sizes, clock: Arc::new(clock) }
    }

    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Says which ARP lcores hand to the host, from now on.
    pub fn hear(&mut self, heard: Heard) {
        self.replace(|directory| directory.heard = Some(Arc::new(heard)));
    }

    /// The flow table.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        &self.flows
    }

    /// Puts a larger flow table in the place of the one that is in force, see [`evenkeel_control::carry`]. Lcores go on; packets
    /// that would change a connection wait meanwhile, as many as there is room for.
    fn grow(&mut self, sizes: Sizes) -> Result<(), PlaneError> {
        let secret = self.tables.settings.flow_secret;
        let new = Memory::new("flow table", sizes.buckets() as usize).map_err(PlaneError::Memory)?;
        let (old, new) = (Arc::clone(&self.flows), Arc::new(new));
        let mut carrying = Carrying::new(old.len(), secret);
        carrying.bring_up_to_date(&old, &new);
        let asked = nobody_has_asked(&sizes);
        // Once more beforehand, so that there is little to be done while packets wait.
        carrying.bring_up_to_date(&old, &new);
        self.replace(|directory| directory.is_held = true);
        wait_for_bursts(&self.tables);
        carrying.bring_up_to_date(&old, &new);
        (self.flows, self.sizes) = (Arc::clone(&new), sizes);
        self.replace(|directory| {
            directory.is_held = false;
            directory.settings.flow_mask = sizes.buckets() - 1;
            directory.flows = new;
            // Who has asked in vain asks once more.
            directory.asked = asked;
        });
        self.tables.note_link_change();
        Ok(())
    }

    fn walk(&self) -> Walk {
        Walk { tables: Arc::clone(&self.tables), clock: Arc::clone(&self.clock) }
    }

    /// Puts another directory in the place of the one that is in force.
    fn replace(&mut self, change: impl FnOnce(&mut Directory)) {
        let mut next = Directory::clone(&self.tables.directory.load());
        change(&mut next);
        let former = self.tables.directory.swap(Arc::new(next));
        self.retired.push(former);
        self.retired.retain(|directory| Arc::strong_count(directory) > 1);
    }

    fn backend(&self, index: u16) -> Result<&Backend<AtomicU64>, PlaneError> {
        let most = self.tables.sizes.backends;
        self.tables.backends.get(usize::from(index)).ok_or_else(|| self.full("backends", most))
    }

    fn full(&self, what: &'static str, most: u32) -> PlaneError {
        PlaneError::Full { what, most }
    }
}

impl Plane for DpdkPlane {
    type Error = PlaneError;

    fn set_our_addresses(&mut self, addresses: &[Ipv4Addr]) -> Result<(), PlaneError> {
        if addresses.len() > self.tables.sizes.addresses as usize {
            return Err(self.full("addresses", self.tables.sizes.addresses));
        }
        let mut filter = AddressFilter::EMPTY;
        addresses.iter().for_each(|&address| filter.insert(address.into()));
        let ours = addresses.iter().map(|&address| address.into()).collect();
        self.replace(|directory| {
            directory.filter = Arc::new(filter);
            directory.ours = Arc::new(ours);
        });
        Ok(())
    }

    fn is_the_host(&self) -> bool {
        true
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn limits(&self) -> Sizes {
        Sizes { flows: MOST_FLOWS, ..self.sizes }
    }

    fn contents(&self) -> Result<Contents, PlaneError> {
        let directory = self.tables.directory.load();
        Ok(Contents {
            places: Contents::read_places(&self.tables.backends),
            services: directory.services.iter().map(|(key, service)| (*key, *service)).collect(),
            addresses: directory.ours.iter().map(|&address| address.into()).collect(),
        })
    }

    fn set_backend(&mut self, index: u16, target: Peer, service: Peer, protocol: IpProtocol) -> Result<(), PlaneError> {
        Contents::write_backend(self.backend(index)?, target, service, protocol);
        self.tables.lcores.iter().for_each(|lcore| lcore.forget_traffic(index));
        Ok(())
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), PlaneError> {
        self.backend(index)?.link.publish(link.0);
        self.tables.note_link_change();
        Ok(())
    }

    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), PlaneError> {
        Contents::write_standing(self.backend(index)?, standing);
        Ok(())
    }

    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), PlaneError> {
        let mut replacements = Vec::with_capacity(tables.len());
        for (table, slots) in tables {
            if *table >= self.tables.sizes.services {
                return Err(self.full("services", self.tables.sizes.services));
            }
            let slots: Arc<[u32]> = slots.as_slice().into();
            let slots = slots.try_into().map_err(|slots: Arc<[u32]>| PlaneError::Slots(slots.len()))?;
            replacements.push((*table as usize, slots));
        }
        self.replace(|directory| {
            for (table, slots) in replacements {
                if directory.maglev.len() <= table {
                    directory.maglev.resize(table + 1, None);
                }
                directory.maglev[table] = Some(slots);
            }
        });
        Ok(())
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), PlaneError> {
        let most = self.tables.sizes.services;
        let directory = self.tables.directory.load();
        if directory.services.len() >= most as usize && !directory.services.contains_key(&key) {
            return Err(self.full("services", most));
        }
        drop(directory);
        self.replace(|directory| {
            directory.services.insert(key, service);
        });
        Ok(())
    }

    fn set_services(&mut self, keys: &[ServiceKey], service: Service) -> Result<(), PlaneError> {
        let most = self.tables.sizes.services;
        let directory = self.tables.directory.load();
        let new = keys.iter().filter(|key| !directory.services.contains_key(*key)).count();
        if directory.services.len() + new > most as usize {
            return Err(self.full("services", most));
        }
        drop(directory);
        self.replace(|directory| directory.services.extend(keys.iter().map(|key| (*key, service))));
        Ok(())
    }

    fn remove_services(&mut self, keys: &[ServiceKey]) -> Result<(), PlaneError> {
        self.replace(|directory| {
            for key in keys {
                directory.services.remove(key);
            }
        });
        Ok(())
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), PlaneError> {
        self.replace(|directory| {
            directory.services.remove(&key);
        });
        Ok(())
    }

    fn provide(&mut self, _: Features, timeouts: &Timeouts, room: Sizes) -> Result<(), PlaneError> {
        let sizes = self.sizes.grown_for(room.flows, 0);
        if sizes.buckets() > self.sizes.buckets() {
            self.grow(sizes)?;
        }
        self.sizes = sizes;
        if self.tables.timeouts() != *timeouts {
            self.replace(|directory| directory.settings.timeouts = *timeouts);
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, PlaneError> {
        let mut sum = Counters::ZERO;
        self.tables.lcores.iter().for_each(|lcore| lcore.add_to(&mut sum));
        Ok(sum)
    }

    fn traffic(&self, index: u16) -> Result<Traffic, PlaneError> {
        let mut sum = Traffic::default();
        self.tables.lcores.iter().for_each(|lcore| lcore.add_traffic_to(index, &mut sum));
        Ok(sum)
    }

    fn kept_hops(&self) -> &[AtomicU64] {
        hop::kept(&self.tables.hops)
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        Arc::new(self.walk())
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), PlaneError> {
        let timeouts = self.tables.timeouts();
        FlowView::visit(&self.flows, &timeouts, (self.clock)(), visit);
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), PlaneError> {
        let walk = self.walk();
        walk.sweep_these(0..self.flows.len());
        walk.sweep_the_hops();
        Ok(())
    }
}

/// The flow table, for other threads of the control side.
struct Walk {
    tables: Arc<Tables>,
    clock: Clock,
}

impl Walk {
    fn sweep_these(&self, buckets: Range<usize>) {
        let (timeouts, now, table) = (self.tables.timeouts(), (self.clock)(), self.tables.flow_table());
        there(&table, buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
    }

    fn sweep_the_hops(&self) {
        hop::sweep(hop::learned(&self.tables.hops), self.tables.timeouts().longest, (self.clock)().tick());
    }
}

/// These buckets, as far as the table has them: who asks may have another one in mind.
fn there(table: &[Bucket<AtomicU64>], buckets: Range<usize>) -> &[Bucket<AtomicU64>] {
    table.get(buckets.start..buckets.end.min(table.len())).unwrap_or_default()
}

impl FlowWalk for Walk {
    fn buckets(&self) -> usize {
        self.tables.flow_table().len()
    }

    fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
        let (timeouts, table) = (self.tables.timeouts(), self.tables.flow_table());
        FlowView::visit(there(&table, buckets), &timeouts, (self.clock)(), visit);
        Ok(())
    }

    fn sweep(&self, buckets: Range<usize>) -> Result<(), WalkError> {
        self.sweep_these(buckets);
        Ok(())
    }

    fn sweep_hops(&self) -> Result<(), WalkError> {
        self.sweep_the_hops();
        Ok(())
    }
}
