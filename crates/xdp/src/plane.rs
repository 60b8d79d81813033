//! The maps of the XDP program as the control side's tables.

use crate::bind;
use crate::capabilities;
use crate::clock;
use crate::error::XdpError;
use crate::interface::Interface;
use crate::left_behind::{LeftBehind, Source};
use crate::maglev::MaglevTables;
use crate::maps::{Cells, MappedArray};
use crate::pinned::{MAPS, Pins, Staging};
use crate::plain::{Plain, failed, full};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use evenkeel_control::{Contents, FlowView, Plane, Sizes};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, Peer, Tick};
use evenkeel_core::{AddressFilter, Backend, Counters, Service, ServiceKey, Settings, Standing, Traffic, Word};
use evenkeel_wire::{IpProtocol, Ipv4Address};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Name of the program in the object, and in the kernel's list of programs.
pub(crate) const PROGRAM: &str = "evenkeel";

/// Name of the program that tells the time.
const CLOCK: &str = "clock";

/// The XDP program, loaded, and its maps.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct XdpPlane {
    /// Keeps the program and the maps that nobody changes after the start.
    ebpf: Ebpf,
    sizes: Sizes,
    settings: Settings,
    flows: MappedArray<Bucket<AtomicU64>>,
    backends: MappedArray<Backend<AtomicU64>>,
    services: HashMap<MapData, Plain<ServiceKey>, Plain<Service>>,
    maglev: MaglevTables,
    filter: Array<MapData, Plain<AddressFilter>>,
    addresses: HashMap<MapData, Plain<Ipv4Address>, u32>,
    counters: PerCpuArray<MapData, Plain<Counters>>,
    traffic: PerCpuArray<MapData, Plain<Traffic>>,
    ours: Vec<Ipv4Addr>,
    /// Where tables and program have names, if they outlive this process.
    staging: Option<Staging>,
}

impl XdpPlane {
    /// Loads the object that `crates/ebpf` builds, with empty tables of these sizes. `nat` are the NAT addresses. The tables
    /// go with this value, or with the program if that is attached somewhere.
    ///
    /// # Errors
    /// The kernel lacks BPF or BTF, refuses the program, or we lack the privileges.
    pub fn load(object: &[u8], sizes: Sizes, settings: Settings, nat: &[Ipv4Addr]) -> Result<Self, XdpError> {
        Self::load_at(object, sizes, settings, nat, None)
    }

    /// The same over tables that have names: those that are pinned at `staging` already, and the rest new.
    pub(crate) fn load_at(
        object: &[u8],
        sizes: Sizes,
        settings: Settings,
        nat: &[Ipv4Addr],
        staging: Option<Staging>,
    ) -> Result<Self, XdpError> {
        if object.is_empty() {
            return Err(XdpError::NoObject);
        }
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(XdpError::NoBtf);
        }
        let _undisturbed = Undisturbed::begin();
        let plain_settings = Plain(settings);
        let tick_length = clock::nanoseconds_per_jiffy();
        let mut loader = EbpfLoader::new();
        if let Some(staging) = &staging {
            for (name, _) in MAPS {
                loader.map_pin_path(name, staging.pins().path(name));
            }
        }
        let mut ebpf = loader
            .override_global("SETTINGS", &plain_settings, true)
            .override_global("NANOSECONDS_PER_JIFFY", &tick_length, true)
            .map_max_entries("FLOWS", sizes.buckets())
            .map_max_entries("BACKENDS", sizes.backends)
            .map_max_entries("TRAFFIC", sizes.backends)
            .map_max_entries("SERVICES", sizes.services)
            .map_max_entries("MAGLEV", sizes.services)
            .map_max_entries("OURS", sizes.addresses)
            .map_max_entries("NAT_ADDRESSES", nat.len().max(1) as u32)
            .load(object)
            .map_err(|error| refused(&error))?;
        for name in [PROGRAM, CLOCK] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or_else(|| XdpError::Object(format!("no XDP program {name}")))?;
            program.load().map_err(|error| refused(&error))?;
            if name == PROGRAM
                && let Some(staging) = &staging
            {
                staging.add_program(program)?;
            }
        }

        let mut nat_addresses: Array<_, Plain<Ipv4Address>> = typed(&mut ebpf, "NAT_ADDRESSES")?;
        for (index, address) in (0..).zip(nat) {
            let value = Plain(Ipv4Address::from(*address));
            nat_addresses.set(index, value, 0).map_err(|error| failed("NAT_ADDRESSES", error))?;
        }
        let addresses: HashMap<_, Plain<Ipv4Address>, u32> = typed(&mut ebpf, "OURS")?;
        let mut plane = Self {
            ours: keys(&addresses)?,
            addresses,
            flows: mapped(&mut ebpf, "FLOWS", sizes.buckets())?,
            backends: mapped(&mut ebpf, "BACKENDS", sizes.backends)?,
            services: typed(&mut ebpf, "SERVICES")?,
            maglev: MaglevTables::new(&mut ebpf)?,
            filter: typed(&mut ebpf, "OURS_FILTER")?,
            counters: typed(&mut ebpf, "COUNTERS")?,
            traffic: typed(&mut ebpf, "TRAFFIC")?,
            staging,
            ebpf,
            sizes,
            settings,
        };
        if !plane.ours.is_empty() {
            // A process that was killed while it changed them may have left the filter behind.
            plane.set_our_addresses(&plane.ours.clone())?;
        }
        Ok(plane)
    }

    /// Names tables and program as what is in force now, and says where. Who has none takes away those of the program that
    /// was replaced.
    pub(crate) fn settle_pins(&self, interface: &Interface, left_behind: Option<&LeftBehind>) -> Vec<Pins> {
        match (&self.staging, left_behind.map(|left| &left.source)) {
            (Some(staging), _) => {
                staging.settle();
                Pins::places(&interface.name).into()
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
        self.named(PROGRAM)
    }

    fn named(&self, name: &str) -> Result<&Xdp, XdpError> {
        self.ebpf
            .program(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| XdpError::Object(format!("no XDP program {name}")))
    }

    /// Now, by the clock that flows are stamped with.
    ///
    /// # Errors
    /// The kernel does not run the program that reads it.
    pub fn now(&self) -> Result<Tick, XdpError> {
        clock::now(self.named(CLOCK)?)
    }

    /// The flow table, shared with the program.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        &self.flows
    }

    /// What the program was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// No signal reaches this thread while this lives; what comes meanwhile is delivered afterwards. A signal would end the
/// verifier early (EAGAIN), and aya would try again and again, asking for the verifier's log, which takes many times as
/// long.
struct Undisturbed(libc::sigset_t);

impl Undisturbed {
    fn begin() -> Self {
        // SAFETY: plain data, for which zero is a value; the calls write to it and to nothing else.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// Takes a map out of the object as the type that it must be.
fn typed<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, XdpError> {
    let map = ebpf.take_map(name).ok_or_else(|| XdpError::Object(format!("no map {name}")))?;
    M::try_from(map).map_err(|error| XdpError::Object(format!("map {name}: {error}")))
}

/// Maps an array's memory into this process.
fn mapped<T: Cells>(ebpf: &mut Ebpf, name: &'static str, entries: u32) -> Result<MappedArray<T>, XdpError> {
    match ebpf.map(name) {
        Some(Map::Array(map)) => MappedArray::new(map.fd().as_fd(), name, entries as usize),
        _ => Err(XdpError::Object(format!("no array {name}"))),
    }
}

/// The addresses that are ours.
fn keys(ours: &HashMap<MapData, Plain<Ipv4Address>, u32>) -> Result<Vec<Ipv4Addr>, XdpError> {
    let key = |key: Result<_, _>| key.map(|Plain(address): Plain<Ipv4Address>| address.into());
    ours.keys().map(key).collect::<Result<_, _>>().map_err(|error| failed("OURS", error))
}

/// An error without most of the verifier's log, whose last line says what was wrong.
fn shortened(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let verdict = lines.rfind(|line| !line.starts_with("processed") && !line.starts_with("verification"));
    match verdict {
        Some(verdict) => format!("{first} [...] {verdict}"),
        None => first.to_owned(),
    }
}

/// Finds out why the kernel refused, from the first system error in the chain.
fn refused(error: &(dyn std::error::Error + 'static)) -> XdpError {
    let mut cause = Some(error);
    while let Some(current) = cause {
        match current.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(libc::EPERM) => return XdpError::Privileges,
            // It is also what the verifier says to a program that it does not like.
            Some(libc::EACCES) if !capabilities::may_use_pointers() => return XdpError::Privileges,
            Some(libc::ENOSYS) => return XdpError::NoBpf,
            _ => cause = current.source(),
        }
    }
    XdpError::Load(shortened(&error.to_string()))
}

impl Plane for XdpPlane {
    type Error = XdpError;

    fn set_our_addresses(&mut self, addresses: &[Ipv4Addr]) -> Result<(), XdpError> {
        let mut filter = AddressFilter::EMPTY;
        for address in addresses {
            filter.insert((*address).into());
            if !self.ours.contains(address) {
                let key = Plain(Ipv4Address::from(*address));
                self.addresses.insert(key, 0, 0).map_err(full("OURS", "addresses", self.sizes.addresses))?;
            }
        }
        // The kernel copies word by word, and each word is right before and after.
        self.filter.set(0, Plain(filter), 0).map_err(|error| failed("OURS_FILTER", error))?;
        for address in self.ours.iter().filter(|address| !addresses.contains(address)) {
            let key = Plain(Ipv4Address::from(*address));
            self.addresses.remove(&key).map_err(|error| failed("OURS", error))?;
        }
        self.ours = addresses.to_vec();
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
        let addresses = keys(&self.addresses)?;
        Ok(Contents { places: Contents::read_places(&self.backends), services, addresses })
    }

    fn set_backend(&mut self, index: u16, target: Peer, service: Peer, protocol: IpProtocol) -> Result<(), XdpError> {
        Contents::write_backend(self.backend(index)?, target, service, protocol);
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| XdpError::Map { map: "TRAFFIC", source })?;
        let nothing = PerCpuValues::try_from(vec![Plain(Traffic::default()); cpus]);
        let nothing = nothing.map_err(|source| XdpError::Map { map: "TRAFFIC", source })?;
        self.traffic.set(u32::from(index), nothing, 0).map_err(|error| failed("TRAFFIC", error))
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
        self.services.remove(&Plain(key)).map_err(|error| failed("SERVICES", error))
    }

    fn counters(&self) -> Result<Counters, XdpError> {
        let mut sum = Counters::ZERO;
        for Plain(counters) in self.counters.get(&0, 0).map_err(|error| failed("COUNTERS", error))?.iter() {
            sum.add(counters);
        }
        Ok(sum)
    }

    fn traffic(&self, index: u16) -> Result<Traffic, XdpError> {
        let mut sum = Traffic::default();
        let values = self.traffic.get(&u32::from(index), 0).map_err(|error| failed("TRAFFIC", error))?;
        for Plain(traffic) in values.iter() {
            sum.add(traffic);
        }
        Ok(sum)
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), XdpError> {
        FlowView::visit(&self.flows, &self.settings.timeouts, self.now()?, visit);
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), XdpError> {
        let now = self.now()?;
        for bucket in self.flows.iter() {
            bucket.sweep(&self.settings.timeouts, now);
        }
        Ok(())
    }
}

impl XdpPlane {
    /// Keeps a map as long as the program lives.
    pub(crate) fn bind(&self, map: &Map) {
        let Map::Array(map) = map else { return };
        if let Ok(program) = self.program().and_then(|program| program.fd().map_err(|error| refused(&error))) {
            bind::bind(program.as_fd(), map.fd().as_fd());
        }
    }

    fn backend(&self, index: u16) -> Result<&Backend<AtomicU64>, XdpError> {
        self.backends.get(usize::from(index)).ok_or(XdpError::Full { what: "backends", most: self.sizes.backends })
    }
}
