//! What must be true between the values of a file, each of which is right by itself.

use super::address::unfit;
use super::dataplane::Dataplane;
use super::families;
use super::fault::Faults;
use super::file::Config;
use super::health::Target;
use super::protocol::Protocol;
use super::service::{Backend, OnDown, OnMissing, Service};
use super::spans::{ServiceSpans, Spans};
use crate::sizes::{MOST_ADDRESSES, MOST_BACKENDS, MOST_FLOWS, MOST_SERVICE_PORTS, MOST_SERVICES};
use evenkeel_core::flow::IDLE_CLASSES;
use evenkeel_wire::Ipv6Address;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

/// What every host must be able to receive (RFC 791, section 3.2).
const LEAST_MTU: u16 = 576;
/// The same for IPv6 (RFC 8200, section 5).
const LEAST_MTU_OF_IPV6: u16 = 1280;
/// The fewest connections that a flow table is made for, and the most.
const MAX_FLOWS: std::ops::RangeInclusive<u32> = 64..=MOST_FLOWS;
/// IFNAMSIZ without the closing zero (linux/if.h).
const INTERFACE_NAME: usize = 15;
/// Identifiers of VLANs (IEEE 802.1Q, clause 9.6: 0 is none, 4095 is reserved).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;
/// Bytes of a service's name: more is not a name.
const SERVICE_NAME: usize = 64;

/// Ports that services may have in all: four times all that an address has.
const MAX_PORTS: usize = MOST_SERVICE_PORTS as usize;

/// Adds what contradicts itself.
pub(super) fn check(config: &Config, spans: &Spans, faults: &mut Faults) {
    check_dataplane(&config.dataplane, spans, faults);
    if config.has_ipv6() && config.dataplane.mtu.is_some_and(|mtu| (LEAST_MTU..LEAST_MTU_OF_IPV6).contains(&mtu)) {
        let message = format!("mtu must be at least {LEAST_MTU_OF_IPV6} where a service has an IPv6 address");
        faults.add(spans.mtu.clone(), message);
    }
    check_nat(config, spans, faults);
    check_extent(config, spans, faults);
    let mut ours: HashSet<IpAddr> = config.nat.addresses.iter().copied().collect();
    ours.extend(config.services.iter().map(|service| service.address));
    ours.extend(config.dataplane.own_addresses());
    let mut names = HashMap::new();
    let mut idle_sets = Vec::new();
    let mut listeners = Listeners::default();
    let mut ports = 0;
    for (service, at) in config.services.iter().zip(&spans.services) {
        ports += service.ports().len();
        if ports > MAX_PORTS && ports - service.ports().len() <= MAX_PORTS {
            let message = format!("services may have {MAX_PORTS} ports in all, and here are more");
            faults.add(at.address.clone(), message);
        }
        let Service { name, address, .. } = service;
        if name.is_empty() || name.len() > SERVICE_NAME || name.contains(|c: char| c.is_control() || "\"\\".contains(c))
        {
            let message = format!(
                "a service's name is 1 to {SERVICE_NAME} bytes, without quotes, backslashes or control characters"
            );
            faults.add(at.name.clone(), message);
        }
        if names.insert(name, ()).is_some() {
            faults.add(at.name.clone(), format!("another service is called \"{name}\": give one of them another name"));
        }
        if let Some(other) = listeners.add(service) {
            let which = if service.last_port.is_none() && other.last_port.is_none() {
                "the same address, port and protocol: leave one of them out"
            } else {
                "one of these ports as well, of the same address and protocol: leave it out in one of them"
            };
            let message = format!("service \"{}\" has {which}", other.name);
            faults.add(at.address.clone(), message);
        }
        check_health(service, at, faults);
        check_fate(service, at, faults);
        if !idle_sets.contains(&service.idle) {
            if idle_sets.len() == IDLE_CLASSES {
                let message = format!(
                    "there may be {IDLE_CLASSES} different sets of idle times in a file, the defaults among them if a \
                     service has those: give this service the times of another"
                );
                faults.add(at.idle.clone(), message);
            } else {
                idle_sets.push(service.idle);
            }
        }
        check_host(*address, "a service", at.address.clone(), faults);
        families::check(config, service, at, faults);
        check_backends(service, at, &ours, faults);
    }
}

/// Who listens where.
#[derive(Default)]
struct Listeners<'c>(HashMap<(IpAddr, Protocol), BTreeMap<u16, &'c Service>>);

impl<'c> Listeners<'c> {
    /// Adds one; returns another that has one of its ports, if there is one.
    fn add(&mut self, service: &'c Service) -> Option<&'c Service> {
        let beside = self.0.entry((service.address, service.protocol)).or_default();
        let ports = service.ports();
        let before = beside.range(..=ports.end()).next_back().map(|(_, other)| *other);
        // Those that are there have no port in common, so the one that begins last is the one that reaches furthest.
        let other = before.filter(|other| other.ports().end() >= ports.start());
        if other.is_none() {
            beside.insert(service.port, service);
        }
        other
    }
}

/// Every backend must be asked somewhere, from where an answer can come back to.
fn check_health(service: &Service, at: &ServiceSpans, faults: &mut Faults) {
    if service.health.probe.is_none() {
        return;
    }
    for (backend, at) in service.backends.iter().zip(&at.backends) {
        let target = service.asked_at(backend);
        if target.port() == 0 {
            let message = "it is not known at which port to ask this backend whether it serves: health = { port = ... } of its \
                           service, or its own, says so";
            faults.add(at.address.clone(), message);
        }
        if service.health.source.is_some_and(|source| source.is_ipv4() != target.is_ipv4()) {
            let place = if backend.health == Target::default() { at.address.clone() } else { at.health.clone() };
            faults
                .add(place, format!("{target} cannot be asked from an address of the other family: see health.source"));
        }
    }
}

/// What no plane ever has room for, however large its tables are made. The fault is where it begins to be too much.
fn check_extent(config: &Config, spans: &Spans, faults: &mut Faults) {
    if let Some(at) = spans.services.get(MOST_SERVICES as usize) {
        let message = format!("there may be {MOST_SERVICES} services, and these are {}", config.services.len());
        faults.add(at.name.clone(), message);
    }
    let backends = || spans.services.iter().flat_map(|service| &service.backends);
    if let Some(at) = backends().nth(MOST_BACKENDS as usize) {
        let total = backends().count();
        let message =
            format!("there may be {MOST_BACKENDS} backends, those of every service counted, and these are {total}");
        faults.add(at.address.clone(), message);
    }
    let mut addresses: HashSet<IpAddr> = config.nat.addresses.iter().copied().collect();
    let mut new = config.services.iter().zip(&spans.services).filter(|(service, _)| addresses.insert(service.address));
    let room = (MOST_ADDRESSES as usize).saturating_sub(config.nat.addresses.len());
    if let Some((_, at)) = new.nth(room) {
        let message = format!("there may be {MOST_ADDRESSES} addresses of services and [nat]; this is one too many");
        faults.add(at.address.clone(), message);
    }
}

/// A datagram has no connection of which somebody could be told that it is over.
fn check_fate(service: &Service, at: &ServiceSpans, faults: &mut Faults) {
    if service.protocol == Protocol::Tcp {
        return;
    }
    if service.on_missing == OnMissing::Reset {
        faults.add(at.on_missing.clone(), "on-missing = \"reset\" is for protocol = \"tcp\" only: UDP has no resets");
    }
    if service.on_down == OnDown::Reset {
        let message = "on-down = \"reset\" is for protocol = \"tcp\" only: UDP has no resets, and its datagrams go to another \
                       backend";
        faults.add(at.on_down.clone(), message);
    }
}

fn check_dataplane(dataplane: &Dataplane, spans: &Spans, faults: &mut Faults) {
    if !MAX_FLOWS.contains(&dataplane.max_flows) {
        let message = format!("max-flows must be between {} and {}", MAX_FLOWS.start(), MAX_FLOWS.end());
        faults.add(spans.max_flows.clone(), message);
    }
    if dataplane.mtu.is_some_and(|mtu| mtu < LEAST_MTU) {
        faults.add(spans.mtu.clone(), format!("mtu must be between {LEAST_MTU} and 65535"));
    }
    if let Some(name) = &dataplane.interface
        && (name.is_empty() || name.len() > INTERFACE_NAME || name.contains(|c: char| c == '/' || c.is_whitespace()))
    {
        faults.add(spans.interface.clone(), format!("\"{name}\" cannot be an interface's name"));
    }
    if dataplane.vlan.is_some_and(|vlan| !VLANS.contains(&vlan)) {
        faults.add(spans.vlan.clone(), format!("vlan must be between {} and {}", VLANS.start(), VLANS.end()));
    }
    check_six(dataplane, spans, faults);
    let Some(own) = dataplane.address else {
        if dataplane.gateway.is_some() {
            faults.add(spans.gateway.clone(), "gateway needs address, which says who is near and needs no gateway");
        }
        return;
    };
    check_host(own.address.into(), "the balancer", spans.own_address.clone(), faults);
    if let Some(gateway) = dataplane.gateway
        && (own.address == gateway || !own.has_near(gateway))
    {
        let message = format!("gateway {gateway} must be another host of the network of {}", own.address);
        faults.add(spans.gateway.clone(), message);
    }
}

/// The host's own addresses of IPv6. A router's is the link's own as a rule, and so in every network of the link.
fn check_six(dataplane: &Dataplane, spans: &Spans, faults: &mut Faults) {
    let Some(own) = dataplane.address6 else {
        if dataplane.gateway6.is_some() {
            faults.add(spans.gateway6.clone(), "gateway6 needs address6, which says who is near and needs no gateway");
        }
        return;
    };
    check_host(own.address.into(), "the balancer", spans.own_address6.clone(), faults);
    if let Some(gateway) = dataplane.gateway6 {
        let is_near = Ipv6Address::from(gateway).is_link_local() || own.has_near(gateway);
        if gateway == own.address || !Ipv6Address::from(gateway).is_host() || !is_near {
            let message = format!(
                "gateway6 {gateway} must be another host of the network of {}, by an address there or by a link-local one",
                own.address
            );
            faults.add(spans.gateway6.clone(), message);
        }
    }
}

fn check_nat(config: &Config, spans: &Spans, faults: &mut Faults) {
    let place = || spans.nat_addresses.clone();
    if config.nat.addresses.is_empty() {
        faults.add(place(), "[nat] needs at least one address, or full NAT has nothing to send from");
    }
    let mut seen = HashSet::new();
    for address in &config.nat.addresses {
        if !seen.insert(address) {
            faults.add(place(), format!("{address} is listed twice"));
        }
        check_host(*address, "[nat]", place(), faults);
    }
}

fn check_backends(service: &Service, spans: &ServiceSpans, ours: &HashSet<IpAddr>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (backend, at) in service.backends.iter().zip(&spans.backends) {
        let Backend { address, port, .. } = backend;
        if ours.contains(address) {
            faults.add(at.address.clone(), format!("backend {address} is the balancer itself"));
        }
        check_host(*address, "a backend", at.address.clone(), faults);
        if service.keeps_ports() != (*port == 0) {
            let message = if service.last_port.is_some() {
                "backends of a service for several ports have none of their own: each is asked at the port that the client asked for"
            } else {
                "a service for any port (0) needs backends with port 0, and a service with a port needs backends with one"
            };
            faults.add(at.port.clone(), message);
        }
        if !seen.insert((address, port)) {
            faults.add(at.address.clone(), format!("backend {address} port {port} is listed twice"));
        }
    }
}

fn check_host(address: IpAddr, whose: &str, place: std::ops::Range<usize>, faults: &mut Faults) {
    if let Some(why) = unfit(address, whose) {
        faults.add(place, why);
    }
}
