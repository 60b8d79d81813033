//! The maps of the XDP program as the control side's tables.

use crate::clock::{Clock, nanoseconds_per_jiffy};
use crate::error::XdpError;
use crate::estate::outgrows;
use crate::flows::Flows;
use crate::growth::{
    self, FlowGrowth, FlowTable, Growth, TrafficGrowth, TrafficTable, WideFlowTable, carry_traffic, set_traffic,
};
use crate::left_behind::{LeftBehind, Source};
use crate::maglev::MaglevTables;
use crate::maps::MappedArray;
use crate::pinned::{HERITABLE, Pins, Staging};
use crate::plain::{Plain, failed, full};
use crate::post::{Post, Program};
use crate::programs::{Load, Programs, map_fd};
use crate::state::{STATE, State};
use arc_swap::ArcSwap;
use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::Xdp;
use evenkeel_control::{Contents, FlowView, FlowWalk, MOST_BACKENDS, MOST_FLOWS, MOST_SERVICES, Plane, Sizes};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, Now, Timeouts, WideBucket};
use evenkeel_core::hop::{self, HOPS};
use evenkeel_core::{
    AddressFilter, Backend, Counters, Features, Ours, Service, ServiceKey, Settings, Standing, Traffic, Word,
};
use evenkeel_wire::{IpProtocol, Ipv4Address, Ipv6Address, MacAddress};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The XDP program, loaded, and its maps.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct XdpPlane {
    programs: Programs,
    /// To load them again when more is wanted of them.
    object: Box<[u8]>,
    tick_length: u64,
    sizes: Sizes,
    settings: Settings,
    /// The flow table that the program works over.
    table: Arc<FlowTable>,
    /// The same of IPv6.
    wide: Arc<WideFlowTable>,
    flows: Arc<Flows>,
    backends: MappedArray<Backend<AtomicU64>>,
    allowance: MappedArray<AtomicU64>,
    services: HashMap<MapData, Plain<ServiceKey>, Plain<Service>>,
    maglev: MaglevTables,
    filter: Array<MapData, Plain<AddressFilter>>,
    addresses: HashMap<MapData, Plain<Ipv4Address>, Plain<Ours>>,
    wide_addresses: HashMap<MapData, Plain<Ipv6Address>, Plain<Ours>>,
    counters: PerCpuArray<MapData, Plain<Counters>>,
    traffic: TrafficTable,
    /// What of the process before is to be carried into larger tables when the program is attached.
    growth: Mutex<Option<Growth>>,
    /// What is in `addresses` and `wide_addresses`.
    ours: BTreeMap<IpAddr, Ours>,
    /// Addresses that the host has.
    hosts: HashSet<IpAddr>,
    /// Where tables and program have names, if they outlive this process.
    staging: Option<Staging>,
    /// Where the program is attached.
    post: OnceLock<Arc<Post>>,
}

/// What a plane finds, and how it tells the time.
pub(crate) struct Surroundings<'a> {
    /// Where tables have names: those that are pinned there already are used, and the others made.
    pub(crate) staging: Option<Staging>,
    /// A map that shall live as long as the program.
    pub(crate) keeps: Option<&'a Map>,
    /// Tables of a program that is at work, and which are too small.
    pub(crate) outgrown: Option<Outgrown>,
    /// See [`Load::tick_length`].
    pub(crate) tick_length: u64,
}

impl Default for Surroundings<'_> {
    fn default() -> Self {
        Self { staging: None, keeps: None, outgrown: None, tick_length: nanoseconds_per_jiffy() }
    }
}

/// Tables that a process has left and that are too small for what is wanted now. Those that are missing are large enough.
#[derive(Debug)]
pub(crate) struct Outgrown {
    pub(crate) sizes: Sizes,
    pub(crate) flows: Option<MapData>,
    pub(crate) wide: Option<MapData>,
    pub(crate) traffic: Option<MapData>,
    pub(crate) stations: OwnedFd,
}

impl Outgrown {
    /// Begins to carry what is in them.
    fn grow(
        self,
        programs: &Programs,
        (table, wide_table): (&Arc<FlowTable>, &Arc<WideFlowTable>),
        sizes: &Sizes,
        secret: [u32; 4],
    ) -> Result<Growth, XdpError> {
        let flows = match self.flows {
            Some(map) => {
                let old = MappedArray::new(map.fd().as_fd(), "FLOWS", self.sizes.buckets() as usize)?;
                Some(FlowGrowth::begin(Arc::new(old), Arc::clone(table), secret))
            }
            None => None,
        };
        let wide = match self.wide {
            Some(map) => {
                let old = MappedArray::new(map.fd().as_fd(), "WIDE_FLOWS", self.sizes.wide_buckets() as usize)?;
                Some(FlowGrowth::begin(Arc::new(old), Arc::clone(wide_table), secret))
            }
            None => None,
        };
        let traffic = |map| TrafficTable::try_from(map).map_err(|error| failed("TRAFFIC", error));
        let traffic = match self.traffic {
            Some(map) => Some(TrafficGrowth {
                old: (traffic(Map::PerCpuArray(map))?, self.sizes.backends),
                new: (traffic(programs.again("TRAFFIC")?)?, sizes.backends),
            }),
            None => None,
        };
        Ok(Growth { flows, wide, traffic, stations: self.stations })
    }
}

impl XdpPlane {
    /// Loads the object that `crates/ebpf` builds, with empty tables of these sizes. `nat` are the NAT addresses, of either family; `features`
    /// are all that packets will ever need. The tables go with this value, or with the program if that is attached somewhere.
    ///
    /// # Errors
    /// The kernel lacks BPF or BTF, refuses the program, or we lack the privileges.
    pub fn load(
        object: &[u8],
        sizes: Sizes,
        settings: Settings,
        nat: &[IpAddr],
        features: Features,
    ) -> Result<Self, XdpError> {
        Self::load_at(object, sizes, settings, nat, features, Surroundings::default())
    }

    /// The same with a clock that stands still: for tests, which turn time back in the flow table.
    ///
    /// # Errors
    /// As [`XdpPlane::load`].
    pub fn load_timeless(
        object: &[u8],
        sizes: Sizes,
        settings: Settings,
        nat: &[IpAddr],
        features: Features,
    ) -> Result<Self, XdpError> {
        let surroundings = Surroundings { tick_length: 0, ..Surroundings::default() };
        Self::load_at(object, sizes, settings, nat, features, surroundings)
    }

    /// The same in these surroundings.
    pub(crate) fn load_at(
        object: &[u8],
        sizes: Sizes,
        settings: Settings,
        nat: &[IpAddr],
        features: Features,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, XdpError> {
        let Surroundings { staging, keeps, outgrown, tick_length } = surroundings;
        let names = staging.as_ref().map(|staging| (staging.pins(), staging.names()));
        let keeps = keeps.and_then(map_fd);
        let load = Load { object, sizes, settings: &settings, features, names, tick_length, keeps };
        let mut programs = Programs::load(load)?;
        let wide_nat = write_nat(&mut programs, nat)?;
        let addresses = programs.take("OURS")?;
        let wide_addresses = programs.take("WIDE_OURS")?;
        let mut ours = entries::<Ipv4Address>(&addresses, "OURS")?;
        ours.extend(entries::<Ipv6Address>(&wide_addresses, "WIDE_OURS")?);
        let table = Arc::new(programs.mapped("FLOWS", sizes.buckets())?);
        let wide = Arc::new(programs.mapped("WIDE_FLOWS", sizes.wide_buckets())?);
        let grow = |outgrown: Outgrown| outgrown.grow(&programs, (&table, &wide), &sizes, settings.flow_secret);
        let growth = outgrown.map(grow).transpose()?;
        // Until the program is attached, connections are in the old ones.
        let old = growth.as_ref().and_then(|growth: &Growth| Some(Arc::clone(growth.flows.as_ref()?.old_table())));
        let wide_old = growth.as_ref().and_then(|growth: &Growth| Some(Arc::clone(growth.wide.as_ref()?.old_table())));
        let flows = Flows {
            table: ArcSwap::new(old.unwrap_or_else(|| Arc::clone(&table))),
            wide: ArcSwap::new(wide_old.unwrap_or_else(|| Arc::clone(&wide))),
            wide_nat,
            hops: programs.mapped("HOPS", HOPS)?,
            timeouts: ArcSwap::from_pointee(settings.timeouts),
            clock: Clock::of(programs.clock()?)?,
        };
        let mut plane = Self {
            hosts: ours.iter().filter(|(_, ours)| ours.is_hosts()).map(|(address, _)| *address).collect(),
            ours,
            addresses,
            wide_addresses,
            table,
            wide,
            flows: Arc::new(flows),
            growth: Mutex::new(growth),
            backends: programs.mapped("BACKENDS", MOST_BACKENDS)?,
            allowance: programs.mapped("ALLOWANCE", sizes.services.min(MOST_SERVICES) + 1)?,
            services: programs.take("SERVICES")?,
            maglev: MaglevTables::new(&mut programs)?,
            filter: programs.take("OURS_FILTER")?,
            counters: programs.take("COUNTERS")?,
            traffic: programs.take("TRAFFIC")?,
            staging,
            post: OnceLock::new(),
            programs,
            object: object.into(),
            tick_length,
            sizes,
            settings,
        };
        if !plane.ours.is_empty() {
            // A process that was killed while it changed them may have left the filter behind.
            plane.set_our_addresses(&Vec::from_iter(plane.ours.keys().copied()))?;
        }
        Ok(plane)
    }

    /// Notes that the program is attached, names it and the tables as what is in force now, and says where. Who has no names
    /// takes away those of the program that was replaced.
    pub(crate) fn take_post(&self, post: &Arc<Post>, left_behind: Option<&LeftBehind>) -> Vec<Pins> {
        let _ = self.post.set(Arc::clone(post));
        match (&self.staging, left_behind.map(|left| &left.source)) {
            (Some(staging), _) => {
                staging.settle();
                Pins::places(&post.interface.name).into()
            }
            (None, Some(Source::Pins(pins))) => {
                // They are stale without their program, and recognised as such.
                let _ = pins.remove();
                Vec::new()
            }
            (None, _) => Vec::new(),
        }
    }

    /// The loaded program.
    ///
    /// # Errors
    /// Never after a successful [`XdpPlane::load`].
    pub fn program(&self) -> Result<&Xdp, XdpError> {
        self.programs.entry()
    }

    /// The map that leads to the stations.
    pub(crate) fn stations(&self) -> &Map {
        self.programs.stations()
    }

    /// All of the object's programs that packets come by.
    pub fn programs(&self) -> impl Iterator<Item = &Xdp> {
        self.programs.of_packets()
    }

    /// What packets can need of the program.
    pub fn features(&self) -> Features {
        self.programs.features()
    }

    /// Now, by the clock that flows are stamped with.
    ///
    /// # Errors
    /// The kernel does not run the program that reads it.
    pub fn now(&self) -> Result<Now, XdpError> {
        self.flows.now()
    }

    /// Tells which addresses the host has: what is for one of ours among them, and for no service there, is for its kernel.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn set_host_addresses(&mut self, addresses: HashSet<IpAddr>) -> Result<(), XdpError> {
        self.hosts = addresses;
        let ours: Vec<_> = self.ours.keys().copied().collect();
        ours.into_iter().try_for_each(|address| self.write_address(address))
    }

    /// Writes what is known of an address of ours, if the map says otherwise.
    fn write_address(&mut self, address: IpAddr) -> Result<(), XdpError> {
        let ours = if self.hosts.contains(&address) { Ours::HOSTS } else { Ours::ALONE };
        if self.ours.get(&address) != Some(&ours) {
            let (value, most) = (Plain(ours), self.sizes.addresses);
            match address {
                IpAddr::V4(address) => self.addresses.insert(Plain(Ipv4Address::from(address)), value, 0),
                IpAddr::V6(address) => self.wide_addresses.insert(Plain(Ipv6Address::from(address)), value, 0),
            }
            .map_err(full("OURS", "addresses", most))?;
            self.ours.insert(address, ours);
        }
        Ok(())
    }

    /// Has the program go by another Ethernet address of its interface's: in one step, over the same tables.
    ///
    /// # Errors
    /// The program cannot be exchanged.
    pub fn set_mac(&mut self, mac: MacAddress) -> Result<(), XdpError> {
        self.exchange(self.programs.features(), Settings { mac, ..self.settings }, self.sizes)
    }

    /// Whether another program can take the place of the one that is attached: not where the tables are this process's own.
    pub fn can_be_exchanged(&self) -> bool {
        self.staging.as_ref().is_some_and(|staging| staging.names().len() > 1)
    }

    /// The table of IPv4 flows, shared with the program.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        &self.table
    }

    /// The table of IPv6 flows, likewise.
    pub fn wide_flow_table(&self) -> &[WideBucket<AtomicU64>] {
        &self.wide
    }

    /// The hops towards clients, shared with the program.
    pub fn hops(&self) -> &[AtomicU64] {
        &self.flows.hops
    }

    /// The word that says how many packets may be answered unasked, shared with the program.
    pub fn allowance(&self) -> &AtomicU64 {
        &self.allowance[0]
    }

    /// What the program was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// The addresses of a family that are ours, as its map has them.
fn entries<A>(
    map: &HashMap<MapData, Plain<A>, Plain<Ours>>,
    name: &'static str,
) -> Result<BTreeMap<IpAddr, Ours>, XdpError>
where
    Plain<A>: Pod,
    A: Into<IpAddr>,
{
    let entry = |entry: Result<_, _>| {
        entry.map(|(Plain(address), Plain(ours)): (Plain<A>, Plain<Ours>)| (address.into(), ours))
    };
    map.iter().map(entry).collect::<Result<_, _>>().map_err(|error| failed(name, error))
}

/// Writes NAT addresses down, each family's for itself; returns those of IPv6.
fn write_nat(programs: &mut Programs, nat: &[IpAddr]) -> Result<Box<[Ipv6Addr]>, XdpError> {
    let mut narrow: Array<_, Plain<Ipv4Address>> = programs.take("NAT_ADDRESSES")?;
    let mut wide: Array<_, Plain<Ipv6Address>> = programs.take("WIDE_NAT")?;
    let (mut count, mut ipv6) = (0, Vec::new());
    for address in nat {
        match *address {
            IpAddr::V4(address) => {
                let value = Plain(Ipv4Address::from(address));
                narrow.set(count, value, 0).map_err(|error| failed("NAT_ADDRESSES", error))?;
                count += 1;
            }
            IpAddr::V6(address) => {
                let value = Plain(Ipv6Address::from(address));
                wide.set(ipv6.len() as u32, value, 0).map_err(|error| failed("WIDE_NAT", error))?;
                ipv6.push(address);
            }
        }
    }
    Ok(ipv6.into())
}

/// What was to be removed and is not there is gone: an attempt before may have come half-way.
fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

impl Plane for XdpPlane {
    type Error = XdpError;

    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), XdpError> {
        let mut filter = AddressFilter::EMPTY;
        for address in addresses {
            match *address {
                IpAddr::V4(address) => filter.insert(address.into()),
                IpAddr::V6(address) => filter.insert_wide(address.into()),
            }
            self.write_address(*address)?;
        }
        // The kernel copies word by word, and each word is right before and after.
        self.filter.set(0, Plain(filter), 0).map_err(|error| failed("OURS_FILTER", error))?;
        let left: Vec<_> = self.ours.keys().filter(|address| !addresses.contains(address)).copied().collect();
        for address in left {
            let removed = match address {
                IpAddr::V4(address) => self.addresses.remove(&Plain(Ipv4Address::from(address))),
                IpAddr::V6(address) => self.wide_addresses.remove(&Plain(Ipv6Address::from(address))),
            };
            gone(removed).map_err(|error| failed("OURS", error))?;
            self.ours.remove(&address);
        }
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn contents(&self) -> Result<Contents, XdpError> {
        let mut services = Vec::new();
        for entry in self.services.iter() {
            let (Plain(key), Plain(service)) = entry.map_err(|error| failed("SERVICES", error))?;
            services.push((key, service));
        }
        let mut addresses: Vec<_> = entries(&self.addresses, "OURS")?.into_keys().collect();
        addresses.extend(entries(&self.wide_addresses, "WIDE_OURS")?.into_keys());
        Ok(Contents { places: Contents::read_places(&self.backends), services, addresses })
    }

    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), XdpError> {
        Contents::write_backend(self.backend(index)?, target, service, protocol);
        let row = u32::from(index);
        if let Some(traffic) = self.growth.get_mut().ok().and_then(|growth| growth.as_mut()?.traffic.as_mut()) {
            traffic.forget(row)?;
        }
        set_traffic(&mut self.traffic, row, Traffic::default())?;
        set_traffic(&mut self.traffic, row + self.sizes.backends, Traffic::default())
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), XdpError> {
        self.backend(index)?.link.publish(link.0);
        Ok(())
    }

    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), XdpError> {
        Contents::write_standing(self.backend(index)?, standing);
        Ok(())
    }

    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), XdpError> {
        self.maglev.replace(tables)
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), XdpError> {
        self.services.insert(Plain(key), Plain(service), 0).map_err(full("SERVICES", "services", self.sizes.services))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), XdpError> {
        gone(self.services.remove(&Plain(key))).map_err(|error| failed("SERVICES", error))
    }

    fn limits(&self) -> Sizes {
        // Larger tables are another program, and that finds the tables that stay by their names.
        if self.can_be_exchanged() {
            Sizes { flows: MOST_FLOWS, wide_flows: MOST_FLOWS, backends: MOST_BACKENDS, ..self.sizes }
        } else {
            self.sizes
        }
    }

    fn provide(&mut self, features: Features, timeouts: &Timeouts, room: Sizes) -> Result<(), XdpError> {
        let there = self.programs.features();
        let mut sizes = Sizes { backends: self.sizes.backends.max(room.backends), ..self.sizes };
        if room.buckets() > sizes.buckets() {
            sizes.flows = room.flows;
        }
        if room.wide_buckets() > sizes.wide_buckets() {
            sizes.wide_flows = room.wide_flows;
        }
        if there.include(features) && self.settings.timeouts == *timeouts && sizes == self.sizes {
            return Ok(());
        }
        let (flow_mask, wide_flow_mask) = (sizes.buckets() - 1, sizes.wide_buckets() - 1);
        let settings = Settings { timeouts: *timeouts, flow_mask, wide_flow_mask, ..self.settings };
        self.exchange(there | features, settings, sizes)
    }

    fn counters(&self) -> Result<Counters, XdpError> {
        let mut sum = Counters::ZERO;
        for Plain(counters) in self.counters.get(&0, 0).map_err(|error| failed("COUNTERS", error))?.iter() {
            sum.add(counters);
        }
        Ok(sum)
    }

    fn traffic(&self, index: u16) -> Result<Traffic, XdpError> {
        growth::traffic(&self.traffic, index.into(), self.sizes.backends)
    }

    fn kept_hops(&self) -> &[AtomicU64] {
        hop::kept(&self.flows.hops)
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        Arc::<Flows>::clone(&self.flows)
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), XdpError> {
        self.flows.visit(0..self.flows.buckets(), visit)
    }

    fn sweep_flows(&self) -> Result<(), XdpError> {
        self.flows.sweep(0..self.flows.buckets())?;
        self.flows.sweep_hops()
    }
}

impl XdpPlane {
    /// Puts a program that can do more, goes by other settings or works over larger tables in the place of the one that is
    /// attached. All other tables stay, so no packet and no connection notices.
    fn exchange(&mut self, features: Features, settings: Settings, sizes: Sizes) -> Result<(), XdpError> {
        let Some(post) = self.post.get().map(Arc::clone) else { return Err(XdpError::Features) };
        let (pins, _) = Pins::in_force(&post.interface.name, post.program_id()).ok_or(XdpError::Features)?;
        let staging = Staging::begin(&post.interface, Some(&pins), &HERITABLE)?;
        let [more_flows, more_wide, more_backends] =
            ["FLOWS", "WIDE_FLOWS", "TRAFFIC"].map(|name| outgrows(name, &self.sizes, &sizes));
        let anew = [
            ("FLOWS", more_flows),
            ("WIDE_FLOWS", more_wide),
            ("TRAFFIC", more_backends),
            (STATE, sizes != self.sizes),
        ];
        let anew: Vec<_> = anew.iter().filter(|(_, anew)| *anew).map(|(name, _)| *name).collect();
        staging.in_force().share(staging.pins(), &anew)?;
        let state = staging.in_force().map(STATE);
        let state = match state.filter(|_| anew.contains(&STATE)).and_then(State::load) {
            Some(state) => {
                let state = state.with_sizes(&sizes).store()?;
                staging.pins().add(STATE, |path| state.pin(path))?;
                map_fd(&state).and_then(|fd| fd.try_clone_to_owned().ok())
            }
            None => staging.pins().map(STATE).and_then(|state| state.fd().as_fd().try_clone_to_owned().ok()),
        };
        let (object, tick_length) = (&self.object, self.tick_length);
        let names = Some((staging.pins(), staging.names()));
        let keeps = state.as_ref().map(AsFd::as_fd);
        let mut programs =
            Programs::load(Load { object, sizes, settings: &settings, features, names, tick_length, keeps })?;
        let flows = if more_flows {
            let new = Arc::new(programs.mapped("FLOWS", sizes.buckets())?);
            Some(FlowGrowth::begin(Arc::clone(&self.table), new, settings.flow_secret))
        } else {
            None
        };
        let wide = if more_wide {
            let new = Arc::new(programs.mapped("WIDE_FLOWS", sizes.wide_buckets())?);
            Some(FlowGrowth::begin(Arc::clone(&self.wide), new, settings.flow_secret))
        } else {
            None
        };
        let traffic = if more_backends { Some(programs.take("TRAFFIC")?) } else { None };
        let stations = map_fd(self.programs.stations()).and_then(|fd| fd.try_clone_to_owned().ok());
        let stations = stations.ok_or_else(|| XdpError::Object("no stations".to_owned()))?;
        let mut growth = Growth { flows, wide, traffic: None, stations };
        let hold = growth.finish()?;
        post.exchange(Program::of(programs.entry()?)?, programs.stations())?;
        if let Some(hold) = hold {
            hold.forget();
        }
        staging.settle();
        post.settle();
        self.programs = programs;
        self.flows.timeouts.store(Arc::new(settings.timeouts));
        self.settings = settings;
        let before = std::mem::replace(&mut self.sizes, sizes);
        if let Some(flows) = growth.flows {
            self.table = Arc::clone(flows.new_table());
            self.flows.table.store(Arc::clone(flows.new_table()));
        }
        if let Some(wide) = growth.wide {
            self.wide = Arc::clone(wide.new_table());
            self.flows.wide.store(Arc::clone(wide.new_table()));
        }
        if let Some(traffic) = traffic {
            let old = std::mem::replace(&mut self.traffic, traffic);
            carry_traffic(&old, before.backends, &mut self.traffic, sizes.backends)?;
        }
        Ok(())
    }

    /// What of the program that is there is to be carried when this one is attached, if there is anything; once. The
    /// caller says by [`XdpPlane::has_grown`] that it has been.
    pub(crate) fn take_growth(&self) -> Option<Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The program is attached, and nobody works over the tables that were too small any more.
    ///
    /// # Errors
    /// What was counted before cannot be noted.
    pub(crate) fn has_grown(&self, growth: Growth) -> Result<(), XdpError> {
        let Growth { flows, wide, traffic, .. } = growth;
        if let Some(flows) = flows {
            self.flows.table.store(Arc::clone(flows.new_table()));
        }
        if let Some(wide) = wide {
            self.flows.wide.store(Arc::clone(wide.new_table()));
        }
        traffic.map_or(Ok(()), TrafficGrowth::finish)
    }

    fn backend(&self, index: u16) -> Result<&Backend<AtomicU64>, XdpError> {
        let most = self.sizes.backends;
        let backend = self.backends.get(usize::from(index)).filter(|_| u32::from(index) < most);
        backend.ok_or(XdpError::Full { what: "backends", most })
    }
}
