//! What a process that was killed, or was told to leave everything in place, has left on an interface.

use crate::error::XdpError;
use crate::interface::Interface;
use crate::left_behind::Source;
use crate::maps::MappedArray;
use crate::pinned::{MAPS, Pins, STATIONS};
use crate::plain::Plain;
use crate::plane::Outgrown;
use crate::state::{STATE, State};
use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
use evenkeel_control::config::Nat;
use evenkeel_control::{BackendId, Config, Contents, MOST_BACKENDS, Sizes};
use evenkeel_core::{Backend, LAYOUT, Service, ServiceKey, counter_names};
use evenkeel_wire::{Ipv4Address, Ipv6Address};
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;

/// Tables that can be taken over.
#[derive(Debug)]
pub(crate) struct Estate {
    maps: Vec<(&'static str, MapData)>,
    /// What leads the program to its stations.
    stations: Option<MapData>,
    /// Nothing if it is of another version, which shaped it otherwise.
    state: Option<State>,
}

impl Estate {
    /// Everything that is found, if the process meant to leave anything at all to another one.
    pub(crate) fn open(source: &Source) -> Option<Self> {
        let mut numbered: Vec<_> = match source {
            Source::Pins(_) => Vec::new(),
            Source::Numbers(ids) => ids.iter().filter_map(|&id| MapData::from_id(id).ok()).collect(),
        };
        let mut find = |name: &str| match source {
            Source::Pins(pins) => pins.map(name),
            Source::Numbers(_) => {
                let is_it = |map: &MapData| map.info().is_ok_and(|info| info.name() == name.as_bytes());
                let index = numbered.iter().position(is_it)?;
                Some(numbered.swap_remove(index))
            }
        };
        let state = State::load(find(STATE)?);
        if state.is_some_and(|state| !state.is_heritable()) {
            return None;
        }
        let maps = MAPS.iter().filter_map(|&(name, _)| Some((name, find(name)?))).collect();
        Some(Self { maps, stations: find(STATIONS), state })
    }

    /// The state, if the tables are what is wanted now, apart from their sizes.
    pub(crate) fn check(&self, interface: &Interface, config: &Config) -> Result<State, XdpError> {
        let name = || interface.name.clone();
        let alien = |layout| XdpError::Layout { interface: name(), layout, ours: LAYOUT };
        let Some(state) = self.state else { return Err(alien("another".to_owned())) };
        if state.layout != LAYOUT {
            return Err(alien(state.layout.to_string()));
        }
        let differs = |what, old: String, new: String| XdpError::Differs { interface: name(), what, old, new };
        let nat = &config.nat;
        let ipv4 = self.nat_addresses::<Ipv4Address>("NAT_ADDRESSES", state.nat_addresses);
        let ipv6 = self.nat_addresses::<Ipv6Address>("WIDE_NAT", state.wide_nat_addresses);
        let addresses = ipv4.into_iter().chain(ipv6).collect();
        let old = Nat { addresses, ports: state.nat_ports() };
        // Each family has a table of its own, so how they are mixed in the file does not matter.
        if (old.ipv4(), old.ipv6(), old.ports) != (nat.ipv4(), nat.ipv6(), nat.ports) {
            return Err(differs("[nat]", shown(&old), shown(nat)));
        }
        match self.misshapen() {
            Some(map) => Err(alien(format!("{LAYOUT}, but not in {map}"))),
            None => Ok(state),
        }
    }

    /// How large tables must be that take over what is in these, which have the sizes `had`, and that have room for this
    /// configuration. They are never smaller: connections might have no place.
    pub(crate) fn grown(&self, had: Sizes, config: &Config) -> Result<Sizes, XdpError> {
        let mut backends: HashSet<_> = config.backend_ids().collect();
        backends.extend(self.backends()?);
        let Sizes { flows, wide_flows, .. } = Sizes::for_config(config);
        Ok(had.grown_for((flows, wide_flows), backends.len()))
    }

    /// The backends in them, those included that have left the configuration and have connections.
    pub(crate) fn backends(&self) -> Result<Vec<BackendId>, XdpError> {
        let Some(map) = self.again("BACKENDS") else { return Ok(Vec::new()) };
        let places = MappedArray::<Backend<AtomicU64>>::new(map.fd().as_fd(), "BACKENDS", MOST_BACKENDS as usize)?;
        Ok(Contents::read_places(&places).into_iter().filter_map(|place| place.owner).collect())
    }

    /// The tables, of the sizes `had`, that are too small for these.
    pub(crate) fn outgrown(&self, had: Sizes, sizes: &Sizes) -> Result<Option<Outgrown>, XdpError> {
        let flows = if outgrows("FLOWS", &had, sizes) { self.again("FLOWS") } else { None };
        let wide = if outgrows("WIDE_FLOWS", &had, sizes) { self.again("WIDE_FLOWS") } else { None };
        let traffic = if outgrows("TRAFFIC", &had, sizes) { self.again("TRAFFIC") } else { None };
        if flows.is_none() && wide.is_none() && traffic.is_none() {
            return Ok(None);
        }
        let stations = self.stations.as_ref().and_then(|map| map.fd().as_fd().try_clone_to_owned().ok());
        let stations = stations.ok_or_else(|| XdpError::Object(format!("no map {STATIONS}")))?;
        Ok(Some(Outgrown { sizes: had, flows, wide, traffic, stations }))
    }

    /// Gives the tables, which have the sizes `had`, names in a set of pins, but for those that are too small.
    pub(crate) fn pin(&self, pins: &Pins, had: &Sizes, sizes: &Sizes) -> Result<(), XdpError> {
        // Counters that count other things are begun anew.
        let counts_the_same = self.state.is_some_and(|state| state.counters == counter_names());
        let stays = |name: &str| (counts_the_same || name != "COUNTERS") && !outgrows(name, had, sizes);
        for (name, map) in self.maps.iter().filter(|(name, _)| stays(name)) {
            pins.add(name, |path| map.pin(path))?;
        }
        Ok(())
    }

    /// A map that is missing, or whose values have another size than the number of the layout promises. Our memory would
    /// not be safe from it.
    fn misshapen(&self) -> Option<&'static str> {
        MAPS.iter().find_map(|&(name, size)| {
            let map = self.maps.iter().find(|(found, _)| *found == name).map(|(_, map)| map);
            let fits = map.and_then(|map| map.info().ok()).is_some_and(|info| info.value_size() as usize == size);
            (!fits).then_some(name)
        })
    }

    /// The services in them. What cannot be read is nobody's.
    pub(crate) fn services(&self) -> Vec<(ServiceKey, Service)> {
        let map = self.again("SERVICES").map(Map::HashMap);
        let Some(services) = map.and_then(|map| HashMap::<_, Plain<ServiceKey>, Plain<Service>>::try_from(map).ok())
        else {
            return Vec::new();
        };
        services.iter().flatten().map(|(Plain(key), Plain(service))| (key, service)).collect()
    }

    /// One of the tables, once more.
    fn again(&self, name: &str) -> Option<MapData> {
        let (_, map) = self.maps.iter().find(|(found, _)| *found == name)?;
        MapData::from_fd(map.fd().as_fd().try_clone_to_owned().ok()?).ok()
    }

    /// The first so many addresses in a table of a family's.
    fn nat_addresses<A>(&self, name: &str, count: u32) -> Vec<IpAddr>
    where
        Plain<A>: Pod,
        A: Into<IpAddr>,
    {
        let array = self.again(name).and_then(|map| Array::<_, Plain<A>>::try_from(Map::Array(map)).ok());
        let Some(array) = array else { return Vec::new() };
        (0..count).filter_map(|index| array.get(&index, 0).ok()).map(|Plain(address)| address.into()).collect()
    }
}

/// Whether tables of these sizes need another map of this name than those that had other ones.
pub(crate) fn outgrows(name: &str, had: &Sizes, sizes: &Sizes) -> bool {
    match name {
        "FLOWS" => sizes.buckets() > had.buckets(),
        "WIDE_FLOWS" => sizes.wide_buckets() > had.wide_buckets(),
        "TRAFFIC" => sizes.backends > had.backends,
        _ => false,
    }
}

fn shown(nat: &Nat) -> String {
    let addresses: Vec<_> = nat.addresses.iter().map(IpAddr::to_string).collect();
    format!("{} ports {}-{}", addresses.join(", "), nat.ports.0, nat.ports.1)
}
