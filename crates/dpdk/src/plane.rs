//! The tables, from the side that fills them.

use crate::clock::coarse_now;
use crate::error::PlaneError;
use crate::host::Heard;
use crate::memory::{Cells, Memory};
use crate::quiescence::wait_for_bursts;
use crate::tables::{Directory, FlowTable, Tables, WideFlowTable, nobody_has_asked};
use evenkeel_control::carry::{Carried, Carrying};
use evenkeel_control::{Contents, FlowView, FlowWalk, MOST_FLOWS, Plane, Sizes, WalkError, by_family};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, BucketOf, Now, Timeouts, WideBucket};
use evenkeel_core::hop;
use evenkeel_core::{AddressFilter, Backend, Counters, Features, Service, ServiceKey, Standing, Traffic, Word};
use evenkeel_wire::IpProtocol;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
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
    /// The table of IPv4 flows in force.
    flows: Arc<FlowTable>,
    /// The same of IPv6.
    wide: Arc<WideFlowTable>,
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
        let (flows, wide, sizes) = (tables.flow_table(), tables.wide_flow_table(), tables.sizes);
        Self { tables, retired: Vec::new(), flows, wide, sizes, clock: Arc::new(clock) }
    }

    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Says which messages of neighbours lcores hand to the host, from now on.
    pub fn hear(&mut self, heard: Heard) {
        self.replace(|directory| directory.heard = Some(Arc::new(heard)));
    }

    /// The table of IPv4 flows.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        &self.flows
    }

    /// The table of IPv6 flows.
    pub fn wide_flow_table(&self) -> &[WideBucket<AtomicU64>] {
        &self.wide
    }

    /// Puts larger flow tables in the place of those that are in force, see [`evenkeel_control::carry`]. Lcores go on; packets
    /// that would change a connection wait meanwhile, as many as there is room for.
    fn grow(&mut self, sizes: Sizes) -> Result<(), PlaneError> {
        let secret = self.tables.settings.flow_secret;
        let mut flows = Growth::begin(&self.flows, sizes.buckets(), secret)?;
        let mut wide = Growth::begin(&self.wide, sizes.wide_buckets(), secret)?;
        let asked = (sizes.asked() != self.sizes.asked()).then(|| nobody_has_asked(&sizes));
        let mut catch_up = || {
            flows.iter_mut().for_each(Growth::catch_up);
            wide.iter_mut().for_each(Growth::catch_up);
        };
        // Once more beforehand, so that there is little to be done while packets wait.
        catch_up();
        self.replace(|directory| directory.is_held = true);
        wait_for_bursts(&self.tables);
        catch_up();
        if let Some(flows) = flows {
            self.flows = flows.new;
        }
        if let Some(wide) = wide {
            self.wide = wide.new;
        }
        self.sizes = sizes;
        let (flows, wide) = (Arc::clone(&self.flows), Arc::clone(&self.wide));
        self.replace(|directory| {
            directory.is_held = false;
            directory.settings.flow_mask = sizes.buckets() - 1;
            directory.settings.wide_flow_mask = sizes.wide_buckets() - 1;
            (directory.flows, directory.wide) = (flows, wide);
            // Who has asked in vain asks once more.
            if let Some(asked) = asked {
                directory.asked = asked;
            }
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

/// A flow table on its way into a larger one.
struct Growth<E> {
    old: Arc<Memory<BucketOf<E>>>,
    new: Arc<Memory<BucketOf<E>>>,
    carrying: Carrying,
}

impl<E: Carried> Growth<E>
where
    BucketOf<E>: Cells,
{
    /// Carries what is there, if there are to be more buckets. The old table goes on working.
    fn begin(old: &Arc<Memory<BucketOf<E>>>, buckets: u32, secret: [u32; 4]) -> Result<Option<Self>, PlaneError> {
        if buckets as usize <= old.len() {
            return Ok(None);
        }
        let new = Arc::new(Memory::new("flow table", buckets as usize).map_err(PlaneError::Memory)?);
        let carrying = Carrying::new(old.len(), secret);
        let mut growth = Self { old: Arc::clone(old), new, carrying };
        growth.catch_up();
        Ok(Some(growth))
    }

    /// Carries what has changed since.
    fn catch_up(&mut self) {
        self.carrying.bring_up_to_date(&self.old, &self.new);
    }
}

impl Plane for DpdkPlane {
    type Error = PlaneError;

    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), PlaneError> {
        if addresses.len() > self.tables.sizes.addresses as usize {
            return Err(self.full("addresses", self.tables.sizes.addresses));
        }
        let mut filter = AddressFilter::EMPTY;
        let (mut ours, mut wide_ours) = (HashSet::new(), HashSet::new());
        for address in addresses {
            match *address {
                IpAddr::V4(address) => {
                    filter.insert(address.into());
                    ours.insert(address.into());
                }
                IpAddr::V6(address) => {
                    filter.insert_wide(address.into());
                    wide_ours.insert(address.into());
                }
            }
        }
        self.replace(|directory| {
            directory.filter = Arc::new(filter);
            directory.has_ipv6 = !wide_ours.is_empty();
            (directory.ours, directory.wide_ours) = (Arc::new(ours), Arc::new(wide_ours));
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
        Sizes { flows: MOST_FLOWS, wide_flows: MOST_FLOWS, ..self.sizes }
    }

    fn contents(&self) -> Result<Contents, PlaneError> {
        let directory = self.tables.directory.load();
        Ok(Contents {
            places: Contents::read_places(&self.tables.backends),
            services: directory.services.iter().map(|(key, service)| (*key, *service)).collect(),
            addresses: directory
                .ours
                .iter()
                .map(|&address| address.into())
                .chain(directory.wide_ours.iter().map(|&address| address.into()))
                .collect(),
        })
    }

    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), PlaneError> {
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
        let sizes = self.sizes.grown_for((room.flows, room.wide_flows), 0);
        if sizes.buckets() > self.sizes.buckets() || sizes.wide_buckets() > self.sizes.wide_buckets() {
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
        let walk = self.walk();
        walk.visit_these(0..walk.buckets(), visit);
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), PlaneError> {
        let walk = self.walk();
        walk.sweep_these(0..walk.buckets());
        walk.sweep_the_hops();
        Ok(())
    }
}

/// The flow tables, for other threads of the control side.
struct Walk {
    tables: Arc<Tables>,
    clock: Clock,
}

impl Walk {
    fn sweep_these(&self, buckets: Range<usize>) {
        let (timeouts, now) = (self.tables.timeouts(), (self.clock)());
        let (table, wide) = (self.tables.flow_table(), self.tables.wide_flow_table());
        let (narrow_buckets, wide_buckets) = by_family(buckets, table.len());
        there(&table, narrow_buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
        there(&wide, wide_buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
    }

    fn visit_these(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) {
        let (timeouts, now) = (self.tables.timeouts(), (self.clock)());
        let (table, wide) = (self.tables.flow_table(), self.tables.wide_flow_table());
        let nat: Vec<_> = self.tables.wide_nat.iter().map(|&address| address.into()).collect();
        let (narrow_buckets, wide_buckets) = by_family(buckets, table.len());
        FlowView::visit(there(&table, narrow_buckets), &timeouts, now, visit);
        FlowView::visit_wide(there(&wide, wide_buckets), &nat, &timeouts, now, visit);
    }

    fn sweep_the_hops(&self) {
        hop::sweep(hop::learned(&self.tables.hops), self.tables.timeouts().longest, (self.clock)().tick());
    }
}

/// These buckets, as far as the table has them: who asks may have another one in mind.
fn there<B>(table: &[B], buckets: Range<usize>) -> &[B] {
    table.get(buckets.start..buckets.end.min(table.len())).unwrap_or_default()
}

impl FlowWalk for Walk {
    fn buckets(&self) -> usize {
        self.tables.flow_table().len() + self.tables.wide_flow_table().len()
    }

    fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
        self.visit_these(buckets, visit);
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
