//! What a process that was killed, or was told to leave everything in place, has left on an interface.

use crate::error::XdpError;
use crate::interface::Interface;
use crate::left_behind::Source;
use crate::pinned::{MAPS, Pins};
use crate::plain::Plain;
use crate::state::{STATE, State};
use aya::maps::{Array, HashMap, Map, MapData};
use evenkeel_control::config::Nat;
use evenkeel_control::{Config, Sizes};
use evenkeel_core::{LAYOUT, Service, ServiceKey, counter_names};
use evenkeel_wire::Ipv4Address;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

/// Tables that can be taken over.
#[derive(Debug)]
pub(crate) struct Estate {
    maps: Vec<(&'static str, MapData)>,
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
        Some(Self { maps, state })
    }

    /// The state, if the tables are what is wanted now: of the size that such a configuration would get, where that matters
    /// to what is in them, and large enough elsewhere.
    pub(crate) fn check(&self, interface: &Interface, config: &Config, sizes: &Sizes) -> Result<State, XdpError> {
        let name = || interface.name.clone();
        let alien = |layout| XdpError::Layout { interface: name(), layout, ours: LAYOUT };
        let Some(state) = self.state else { return Err(alien("another".to_owned())) };
        if state.layout != LAYOUT {
            return Err(alien(state.layout.to_string()));
        }
        let differs = |what, old: String, new: String| XdpError::Differs { interface: name(), what, old, new };
        if state.sizes().buckets() != sizes.buckets() {
            return Err(differs("max-flows", state.sizes().flows.to_string(), sizes.flows.to_string()));
        }
        let most = |what, most: u32, wanted: usize| {
            let fits = wanted <= most as usize;
            if fits { Ok(()) } else { Err(differs(what, format!("room for {most}"), wanted.to_string())) }
        };
        let backends = config.services.iter().map(|service| service.backends.len()).sum();
        most("the number of services' ports", state.sizes().services, config.service_keys())?;
        most("the number of backends", state.sizes().backends, backends)?;
        let nat = &config.nat;
        let old = Nat { addresses: self.nat_addresses(state.nat_addresses), ports: state.nat_ports() };
        if old != *nat {
            return Err(differs("[nat]", shown(&old), shown(nat)));
        }
        match self.misshapen() {
            Some(map) => Err(alien(format!("{LAYOUT}, but not in {map}"))),
            None => Ok(state),
        }
    }

    /// Gives the tables names in a set of pins.
    pub(crate) fn pin(&self, pins: &Pins) -> Result<(), XdpError> {
        // Counters that count other things are begun anew.
        let counts_the_same = self.state.is_some_and(|state| state.counters == counter_names());
        for (name, map) in self.maps.iter().filter(|(name, _)| counts_the_same || *name != "COUNTERS") {
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

    fn nat_addresses(&self, count: u32) -> Vec<Ipv4Addr> {
        let array =
            self.again("NAT_ADDRESSES").and_then(|map| Array::<_, Plain<Ipv4Address>>::try_from(Map::Array(map)).ok());
        let Some(array) = array else { return Vec::new() };
        (0..count).filter_map(|index| array.get(&index, 0).ok()).map(|Plain(address)| address.into()).collect()
    }
}

fn shown(nat: &Nat) -> String {
    let addresses: Vec<_> = nat.addresses.iter().map(Ipv4Addr::to_string).collect();
    format!("{} ports {}-{}", addresses.join(", "), nat.ports.0, nat.ports.1)
}
