//! The core's tables in this process's memory, shared by all lcores and the control side.

use crate::counters::LcoreCounters;
use crate::error::DpdkError;
use crate::host::Heard;
use crate::mbuf::prefetch;
use crate::memory::{Backing, Memory};
use arc_swap::ArcSwap;
use evenkeel_control::Sizes;
use evenkeel_control::config::Nat;
use evenkeel_core::flow::{Bucket, HopNumber, Now, Side, Timeouts, WAYS, WideAddress, WideBucket};
use evenkeel_core::hop::HOPS;
use evenkeel_core::{
    AddressFilter, Asked, Backend, BackendRef, Event, FamilyTables, Features, MAGLEV_SLOTS, Ours, Reason, Service,
    ServiceKey, Settings, V4, V6, hash,
};
use evenkeel_wire::{Ipv4Address, Ipv6Address};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Everything that packets are decided by, made once for all lcores.
///
/// Flows, backends and counters are words that change in place. The rest is a [`Directory`], which is replaced whole: an
/// lcore looks at one for a burst of packets, and who replaces it waits for nobody.
#[derive(Debug)]
pub struct Tables {
    /// What the plane was started with. Idle times and the flow table's size may have changed since; [`Directory::settings`] has
    /// those in force.
    pub(crate) settings: Settings,
    pub(crate) sizes: Sizes,
    pub(crate) nat: Box<[Ipv4Address]>,
    pub(crate) wide_nat: Box<[Ipv6Address]>,
    pub(crate) hops: Box<[AtomicU64]>,
    pub(crate) backends: Box<[Backend<AtomicU64>]>,
    pub(crate) directory: ArcSwap<Directory>,
    pub(crate) lcores: Box<[LcoreCounters]>,
    /// How many packets may be answered unasked, and open a connection of each service.
    allowances: Box<[AtomicU64]>,
    /// Raised whenever a backend's Ethernet address or state changes: packets that wait for one are tried again.
    links: AtomicU64,
}

/// The table of IPv4 flows in memory.
pub type FlowTable = Memory<Bucket<AtomicU64>>;

/// The table of IPv6 flows in memory.
pub type WideFlowTable = Memory<WideBucket<AtomicU64>>;

/// What changes with the configuration only.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) settings: Settings,
    pub(crate) flows: Arc<FlowTable>,
    pub(crate) wide: Arc<WideFlowTable>,
    /// No packet may change a flow table, whose last changes are being carried into a larger one.
    pub(crate) is_held: bool,
    /// Who has asked in vain for a connection.
    pub(crate) asked: Arc<[Asked<AtomicU64>]>,
    pub(crate) filter: Arc<AddressFilter>,
    pub(crate) ours: Arc<HashSet<Ipv4Address>>,
    pub(crate) wide_ours: Arc<HashSet<Ipv6Address>>,
    /// Whether there are any of those. If not, IPv6 is nothing that packets are looked at for, as on XDP.
    pub(crate) has_ipv6: bool,
    pub(crate) services: HashMap<ServiceKey, Service>,
    pub(crate) maglev: Vec<Option<MaglevTable>>,
    /// Which messages of neighbours are the host's.
    pub(crate) heard: Option<Arc<Heard>>,
}

/// The slots of a Maglev table.
pub(crate) type MaglevTable = Arc<[u32; MAGLEV_SLOTS as usize]>;

impl Tables {
    /// Empty tables of these sizes for so many lcores. `nat` are the NAT addresses, of either family.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(sizes: Sizes, settings: Settings, nat: &[IpAddr], lcores: usize) -> Result<Self, DpdkError> {
        let nothing = Directory {
            settings,
            flows: Arc::new(Memory::new("flow table", sizes.buckets() as usize)?),
            wide: Arc::new(Memory::new("flow table", sizes.wide_buckets() as usize)?),
            is_held: false,
            asked: nobody_has_asked(&sizes),
            filter: Arc::new(AddressFilter::EMPTY),
            ours: Arc::default(),
            wide_ours: Arc::default(),
            has_ipv6: false,
            services: HashMap::new(),
            maglev: Vec::new(),
            heard: None,
        };
        let nat = Nat { addresses: nat.to_vec(), ports: (0, 0) };
        let (narrow, wide) = (nat.ipv4(), nat.ipv6());
        Ok(Self {
            settings,
            sizes,
            nat: narrow.iter().map(|&address| address.into()).collect(),
            wide_nat: wide.iter().map(|&address| address.into()).collect(),
            hops: (0..HOPS).map(|_| AtomicU64::new(0)).collect(),
            backends: (0..sizes.backends).map(|_| Backend::default()).collect(),
            directory: ArcSwap::from_pointee(nothing),
            lcores: (0..lcores).map(|_| LcoreCounters::new(sizes.backends)).collect(),
            allowances: (0..=sizes.services).map(|_| AtomicU64::new(0)).collect(),
            links: AtomicU64::new(0),
        })
    }

    /// The table of IPv4 flows.
    pub fn flow_table(&self) -> Arc<FlowTable> {
        Arc::clone(&self.directory.load().flows)
    }

    /// The table of IPv6 flows.
    pub fn wide_flow_table(&self) -> Arc<WideFlowTable> {
        Arc::clone(&self.directory.load().wide)
    }

    /// The hops towards clients.
    pub fn hops(&self) -> &[AtomicU64] {
        &self.hops
    }

    /// The word that says how many packets may be answered unasked.
    pub fn allowance(&self) -> &AtomicU64 {
        &self.allowances[0]
    }

    /// What the flow tables lie in, and their size in bytes.
    pub fn flow_memory(&self) -> (Backing, usize) {
        let (flows, wide) = (self.flow_table(), self.wide_flow_table());
        (flows.backing(), flows.bytes() + wide.bytes())
    }

    /// What the plane was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Shows the tables as the core sees them at this time, with this lcore's counters: for whoever runs the core without
    /// a [`crate::Worker`].
    ///
    /// # Panics
    /// `lcore` is not below the number that the tables were made for.
    pub fn view<R>(&self, lcore: usize, now: Now, look: impl FnOnce(&View<'_>) -> R) -> R {
        let directory = self.directory.load();
        look(&View::new(self, &directory, &self.lcores[lcore], now))
    }

    /// The idle times in force.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.directory.load().settings.timeouts
    }

    pub(crate) fn note_link_change(&self) {
        self.links.fetch_add(1, Ordering::Release);
    }

    /// A number that is another one after the link of a backend has changed.
    pub(crate) fn link_changes(&self) -> u64 {
        self.links.load(Ordering::Acquire)
    }
}

/// The table of those who have asked in vain, empty.
pub(crate) fn nobody_has_asked(sizes: &Sizes) -> Arc<[Asked<AtomicU64>]> {
    (0..sizes.asked()).map(|_| Asked::default()).collect()
}

/// The tables as one lcore sees them during one burst.
#[derive(Debug)]
pub struct View<'t> {
    pub(crate) tables: &'t Tables,
    pub(crate) directory: &'t Directory,
    /// The directory's, one step nearer.
    flows: &'t [Bucket<AtomicU64>],
    wide: &'t [WideBucket<AtomicU64>],
    pub(crate) counters: &'t LcoreCounters,
    pub(crate) now: Now,
}

impl<'t> View<'t> {
    #[inline(always)]
    pub(crate) fn new(tables: &'t Tables, directory: &'t Directory, counters: &'t LcoreCounters, now: Now) -> Self {
        Self { tables, directory, flows: &directory.flows, wide: &directory.wide, counters, now }
    }

    /// Asks for the two entries at which the search for the flow at this place begins. They are in one line or in two. In
    /// a table that is as full as it was made for, seventeen flows in a hundred are not in the first of these lines, and
    /// seven in neither.
    #[inline(always)]
    pub fn prefetch(&self, place: u64) {
        if let Some(bucket) = self.flows.get(hash::bucket(place, self.directory.settings.flow_mask) as usize) {
            let start = hash::start(place);
            prefetch(&bucket.0[start % WAYS]);
            prefetch(&bucket.0[(start + 1) % WAYS]);
        }
    }

    /// The same for an IPv6 flow, of which each entry is a line.
    #[inline(always)]
    pub fn prefetch_wide(&self, place: u64) {
        if let Some(bucket) = self.wide.get(hash::bucket(place, self.directory.settings.wide_flow_mask) as usize) {
            let start = hash::start(place);
            prefetch(&bucket.0[start % WAYS]);
            prefetch(&bucket.0[(start + 1) % WAYS]);
        }
    }
}

impl evenkeel_core::Tables for View<'_> {
    type Word = AtomicU64;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        &self.directory.settings
    }

    #[inline(always)]
    fn features(&self) -> Features {
        if self.directory.has_ipv6 { Features::ALL } else { Features::ALL.without(Features::IPV6) }
    }

    #[inline(always)]
    fn now(&self) -> Now {
        self.now
    }

    #[inline(always)]
    fn allowance(&self, number: u32) -> Option<&AtomicU64> {
        self.tables.allowances.get(number as usize)
    }

    #[inline(always)]
    fn asked(&self, index: u32) -> Option<&Asked<AtomicU64>> {
        self.directory.asked.get(index as usize)
    }

    #[inline(always)]
    fn hop(&self, number: HopNumber) -> Option<&AtomicU64> {
        self.tables.hops.get(usize::from(number.0))
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.directory.services.get(key).copied()
    }

    #[inline(always)]
    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef> {
        match self.directory.maglev.get(table as usize)?.as_ref()?.get(slot as usize)? {
            0 => None,
            &bits => Some(BackendRef::from_bits(bits)),
        }
    }

    #[inline(always)]
    fn backend(&self, index: u16) -> Option<&Backend<AtomicU64>> {
        self.tables.backends.get(usize::from(index))
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        self.counters.count(reason);
    }

    #[inline(always)]
    fn count_events(&self, event: Event, times: u32) {
        self.counters.count_events(event, times.into());
    }

    #[inline(always)]
    fn count_traffic(&self, backend: u16, from: Side, bytes: u32) {
        self.counters.count_traffic(backend, from, bytes);
    }
}

impl FamilyTables<V4> for View<'_> {
    #[inline(always)]
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        self.directory.filter.may_contain(address)
    }

    #[inline(always)]
    fn ours(&self, address: Ipv4Address) -> Option<Ours> {
        // There is no kernel behind.
        self.directory.ours.contains(&address).then_some(Ours::ALONE)
    }

    #[inline(always)]
    fn flows(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        self.flows.get(index as usize)
    }

    #[inline(always)]
    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        self.tables.nat.get(index as usize).copied()
    }
}

impl FamilyTables<V6> for View<'_> {
    #[inline(always)]
    fn may_be_ours(&self, address: WideAddress) -> bool {
        self.directory.filter.may_contain_wide(address)
    }

    #[inline(always)]
    fn ours(&self, address: WideAddress) -> Option<Ours> {
        self.directory.wide_ours.contains(&Ipv6Address::from_bits(address.words())).then_some(Ours::ALONE)
    }

    #[inline(always)]
    fn flows(&self, index: u32) -> Option<&WideBucket<AtomicU64>> {
        self.wide.get(index as usize)
    }

    #[inline(always)]
    fn nat_address(&self, index: u32) -> Option<WideAddress> {
        self.tables.wide_nat.get(index as usize).map(|&address| address.into())
    }
}
