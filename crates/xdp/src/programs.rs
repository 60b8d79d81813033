//! The object, loaded: the programs, and the maps that they share with us.

use crate::bind;
use crate::capabilities;
use crate::error::XdpError;
use crate::maps::{Cells, MappedArray};
use crate::pinned::{MAPS, Pins, STATIONS};
use crate::plain::{Plain, failed};
use aya::maps::{Map, MapData, MapError, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use evenkeel_control::{MOST_BACKENDS, MOST_SERVICES, Sizes};
use evenkeel_core::{Features, Settings, Station};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Name of the program that is attached, in the object, and in the kernel's list of programs.
pub(crate) const PROGRAM: &str = "evenkeel";

/// Name of the program that tells the time.
const CLOCK: &str = "clock";

/// What an object is loaded with.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    /// What `crates/ebpf` has built.
    pub(crate) object: &'a [u8],
    pub(crate) sizes: Sizes,
    pub(crate) settings: &'a Settings,
    /// What packets can need; the verifier removes the rest.
    pub(crate) features: Features,
    /// Where programs get names, and these maps: those that have them there already are used, the others are made.
    pub(crate) names: Option<(&'a Pins, &'a [&'static str])>,
    /// The length of the kernel's tick, in nanoseconds; 0: time stands still.
    pub(crate) tick_length: u64,
    /// A map that no packet looks at, and that shall live as long as the program that is attached.
    pub(crate) keeps: Option<BorrowedFd<'a>>,
}

/// The programs, each in its place, none of them attached.
pub(crate) struct Programs {
    ebpf: Ebpf,
    /// Held, because the kernel empties it when nobody does.
    stations: Map,
    features: Features,
}

impl Programs {
    /// Loads the object.
    ///
    /// # Errors
    /// The kernel lacks BPF or BTF, refuses a program, or we lack the privileges.
    pub(crate) fn load(load: Load<'_>) -> Result<Self, XdpError> {
        let Load { object, sizes, settings, features, names, tick_length, keeps } = load;
        if object.is_empty() {
            return Err(XdpError::NoObject);
        }
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(XdpError::NoBtf);
        }
        let _undisturbed = Undisturbed::begin();
        let plain_settings = Plain(*settings);
        let mut loader = EbpfLoader::new();
        if let Some((pins, maps)) = names {
            for name in maps {
                loader.map_pin_path(name, pins.path(name));
            }
        }
        let mut ebpf = loader
            .override_global("SETTINGS", &plain_settings, true)
            .override_global("FEATURES", &features.0, true)
            .override_global("NANOSECONDS_PER_JIFFY", &tick_length, true)
            .map_max_entries("FLOWS", sizes.buckets())
            .map_max_entries("WIDE_FLOWS", sizes.wide_buckets())
            .map_max_entries("BACKENDS", MOST_BACKENDS)
            // See `TrafficTable`.
            .map_max_entries("TRAFFIC", 2 * sizes.backends)
            .map_max_entries("SERVICES", sizes.services)
            .map_max_entries("MAGLEV", sizes.services.min(MOST_SERVICES))
            .map_max_entries("ALLOWANCE", sizes.services.min(MOST_SERVICES) + 1)
            .map_max_entries("ASKED", sizes.asked())
            .map_max_entries("OURS", sizes.addresses)
            .map_max_entries("WIDE_OURS", sizes.addresses)
            .map_max_entries("NAT_ADDRESSES", settings.nat_addresses.max(1))
            .map_max_entries("WIDE_NAT", settings.wide_nat_addresses.max(1))
            .load(object)
            .map_err(|error| refused(&error))?;
        let stations = taken(&mut ebpf, STATIONS)?;
        let mut programs = Self { ebpf, stations, features };
        programs.man_stations()?;
        for name in [CLOCK, PROGRAM] {
            let program = programs.named_mut(name)?;
            program.load().map_err(|error| refused(&error))?;
            if name == PROGRAM
                && let Some((pins, _)) = names
            {
                pins.add_program(program)?;
            }
        }
        programs.bind(keeps)?;
        Ok(programs)
    }

    /// Puts the program of every station that packets can need into its place.
    fn man_stations(&mut self) -> Result<(), XdpError> {
        let features = self.features;
        for (index, station) in (0..).zip(Station::ALL).filter(|(_, station)| features.include(station.needs())) {
            let program = self.named_mut(station.name())?;
            program.load().map_err(|error| refused(&error))?;
            let fd = program.fd().map_err(|error| refused(&error))?.try_clone();
            let fd = fd.map_err(|error| XdpError::Load(error.to_string()))?;
            let stations = ProgramArray::try_from(&mut self.stations);
            stations.and_then(|mut all| all.set(index, &fd, 0)).map_err(|error| failed(STATIONS, error))?;
        }
        Ok(())
    }

    /// Lets every map live as long as the program that is attached, also those that only a station uses: whoever finds that
    /// program finds them by number, where names are lost.
    fn bind(&self, more: Option<BorrowedFd<'_>>) -> Result<(), XdpError> {
        let program = self.entry()?.fd().map_err(|error| refused(&error))?.as_fd();
        for map in MAPS.iter().filter_map(|(name, _)| map_fd(self.ebpf.map(name)?)).chain(more) {
            bind::bind(program, map);
        }
        Ok(())
    }

    /// What packets can need of them.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// The program that is attached.
    pub(crate) fn entry(&self) -> Result<&Xdp, XdpError> {
        self.named(PROGRAM)
    }

    /// The program that is attached, and the stations.
    pub(crate) fn of_packets(&self) -> impl Iterator<Item = &Xdp> {
        let needed = Station::ALL.iter().filter(|station| self.features.include(station.needs()));
        let names = needed.map(|station| station.name()).chain([PROGRAM]);
        names.filter_map(|name| self.named(name).ok())
    }

    /// The program that tells the time.
    pub(crate) fn clock(&self) -> Result<&Xdp, XdpError> {
        self.named(CLOCK)
    }

    /// Takes a map out of the object as the type that it must be.
    pub(crate) fn take<M: TryFrom<Map, Error = MapError>>(&mut self, name: &'static str) -> Result<M, XdpError> {
        M::try_from(self.take_map(name)?).map_err(|error| XdpError::Object(format!("map {name}: {error}")))
    }

    /// Takes a map out of the object.
    pub(crate) fn take_map(&mut self, name: &'static str) -> Result<Map, XdpError> {
        taken(&mut self.ebpf, name)
    }

    /// A map once more, beside the one that is taken out of the object or has yet to be.
    pub(crate) fn again(&self, name: &'static str) -> Result<Map, XdpError> {
        let map = self.ebpf.map(name).ok_or_else(|| XdpError::Object(format!("no map {name}")))?;
        let fd = map_fd(map).ok_or_else(|| XdpError::Object(format!("no table {name}")))?;
        let fd = fd.try_clone_to_owned().map_err(|source| XdpError::Map { map: name, source })?;
        MapData::from_fd(fd).and_then(Map::from_map_data).map_err(|error| failed(name, error))
    }

    /// The map that leads to the stations.
    pub(crate) fn stations(&self) -> &Map {
        &self.stations
    }

    /// Maps an array's memory into this process.
    pub(crate) fn mapped<T: Cells>(&self, name: &'static str, entries: u32) -> Result<MappedArray<T>, XdpError> {
        match self.ebpf.map(name) {
            Some(Map::Array(map)) => MappedArray::new(map.fd().as_fd(), name, entries as usize),
            _ => Err(XdpError::Object(format!("no array {name}"))),
        }
    }

    fn named(&self, name: &str) -> Result<&Xdp, XdpError> {
        let program = self.ebpf.program(name).and_then(|program| program.try_into().ok());
        program.ok_or_else(|| XdpError::Object(format!("no XDP program {name}")))
    }

    fn named_mut(&mut self, name: &str) -> Result<&mut Xdp, XdpError> {
        let program = self.ebpf.program_mut(name).and_then(|program| program.try_into().ok());
        program.ok_or_else(|| XdpError::Object(format!("no XDP program {name}")))
    }
}

fn taken(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, XdpError> {
    ebpf.take_map(name).ok_or_else(|| XdpError::Object(format!("no map {name}")))
}

/// The descriptor of a map of one of the kinds that our tables are.
pub(crate) fn map_fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map)
        | Map::ArrayOfMaps(map)
        | Map::HashMap(map)
        | Map::PerCpuArray(map)
        | Map::ProgramArray(map) => Some(map.fd().as_fd()),
        _ => None,
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

/// An error without most of the verifier's log, whose last line says what was wrong.
fn shortened(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    // What was counted comes last, whatever the verdict.
    let is_count =
        |line: &str| ["processed", "verification", "stack depth"].iter().any(|count| line.starts_with(count));
    let verdict = lines.rfind(|line| !is_count(line));
    match verdict {
        Some(verdict) => format!("{first} [...] {verdict}"),
        None => first.to_owned(),
    }
}

/// Finds out why the kernel refused, from the first system error in the chain.
pub(crate) fn refused(error: &(dyn std::error::Error + 'static)) -> XdpError {
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
