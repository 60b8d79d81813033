//! From text to typed values: which keys there are, and what they are when they are left out.

use super::address::Address;
use super::check;
use super::dataplane::{Dataplane, HostAddress6, Idle, Unserved, XdpMode};
use super::fault::{Fault, Faults};
use super::file::{Config, Metrics, Nat};
use super::health::{self, Health, Time};
use super::idle;
use super::protocol::Protocol;
use super::secret::PickSecret;
use super::section::{Located, Section};
use super::service::{Affinity, AllDown, Backend, Forward, OnDown, OnMissing, Reply, Service};
use super::spans::{BackendSpans, ServiceSpans, Spans};
use evenkeel_core::flow::IdleTimes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeTable;

/// Reads a text.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<Config, Vec<Fault>> {
    let mut faults = Faults::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        faults.add(error.span().unwrap_or_default(), error.message());
    }
    // What a broken text seems to say is not worth judging.
    if !faults.is_empty() {
        return Err(faults.in_order(text));
    }
    let mut spans = Spans::default();
    let config = root(document, &mut spans, &mut faults);
    // What could not be read cannot be held against the rest; that would only repeat the fault.
    let Some(config) = config.filter(|_| faults.is_empty()) else { return Err(faults.in_order(text)) };
    check::check(&config, &spans, &mut faults);
    if faults.is_empty() { Ok(config) } else { Err(faults.in_order(text)) }
}

fn root(document: Spanned<DeTable<'_>>, spans: &mut Spans, faults: &mut Faults) -> Option<Config> {
    // What is missing at the top is missing at the very beginning.
    let document = Spanned::new(0..0, document.into_inner());
    let mut root = Section::new("the file", document, faults);
    if !root.has("nat") {
        root.missing("[nat] section");
    }
    if !root.has("service") {
        root.missing("[[service]]");
    }
    let dataplane = root.table("dataplane");
    let nat = root.table("nat");
    let services = root.tables("service");
    let metrics = root.table("metrics");
    root.end();

    let dataplane = match dataplane {
        Some(table) => read_dataplane(Section::new("[dataplane]", table, faults), spans),
        None => Some(Dataplane::default()),
    };
    let nat = nat.and_then(|table| read_nat(Section::new("[nat]", table, faults), spans));
    let services: Vec<_> = services
        .into_iter()
        .flatten()
        .map(|table| read_service(Section::new("[[service]]", table, faults), spans))
        .collect();
    let metrics = match metrics {
        Some(table) => read_metrics(Section::new("[metrics]", table, faults)),
        None => Metrics::default(),
    };
    Some(Config { metrics, dataplane: dataplane?, nat: nat?, services: services.into_iter().collect::<Option<_>>()? })
}

fn read_dataplane(mut section: Section<'_, '_>, spans: &mut Spans) -> Option<Dataplane> {
    let default = Dataplane::default();
    let kind = section.optional("kind");
    let interface = section.optional::<String>("interface");
    let xdp_mode = section.optional::<XdpMode>("xdp-mode");
    let max_flows = section.optional::<u32>("max-flows");
    let address = section.optional("address");
    let gateway = section.optional::<Ipv4Addr>("gateway");
    let address6 = section.optional::<HostAddress6>("address6");
    let gateway6 = section.optional::<Ipv6Addr>("gateway6");
    let vlan = section.optional::<u16>("vlan");
    let idle = section.optional::<Idle>("idle");
    let mtu = section.optional::<u16>("mtu");
    let secret = section.optional::<PathBuf>("secret-file").and_then(|file| {
        let read = PickSecret::read(&file.value);
        read.map_err(|error| section.faults().add(file.span, format!("secret-file: {error}"))).ok()
    });
    let unserved = section.optional::<Unserved>("unserved");
    section.end();
    spans.interface = span(&interface);
    spans.max_flows = span(&max_flows);
    spans.own_address = span(&address);
    spans.gateway = span(&gateway);
    spans.own_address6 = span(&address6);
    spans.gateway6 = span(&gateway6);
    spans.vlan = span(&vlan);
    spans.mtu = span(&mtu);
    Some(Dataplane {
        kind: value(kind),
        interface: value(interface),
        xdp_mode: value(xdp_mode).unwrap_or(default.xdp_mode),
        max_flows: value(max_flows).unwrap_or(default.max_flows),
        address: value(address),
        gateway: value(gateway),
        address6: value(address6),
        gateway6: value(gateway6),
        vlan: value(vlan),
        idle: value(idle).unwrap_or(default.idle),
        mtu: value(mtu),
        secret,
        unserved: value(unserved).unwrap_or(default.unserved),
    })
}

fn read_nat(mut section: Section<'_, '_>, spans: &mut Spans) -> Option<Nat> {
    let addresses = section.required::<Vec<Address>>("addresses");
    let ports = section.optional::<PortRange>("ports").map(|ports| ports.value.0);
    section.end();
    spans.nat_addresses = span(&addresses);
    Some(Nat {
        addresses: value(addresses)?.into_iter().map(|address| address.0).collect(),
        ports: ports.unwrap_or(UNRESERVED),
    })
}

fn read_metrics(mut section: Section<'_, '_>) -> Metrics {
    let listen = section.optional("listen");
    section.end();
    Metrics { listen: value(listen) }
}

fn read_service(mut section: Section<'_, '_>, spans: &mut Spans) -> Option<Service> {
    let name = section.required::<String>("name");
    let address = section.required::<Address>("address");
    let port = section.required::<ServicePorts>("port");
    let protocol = section.required::<Protocol>("protocol");
    let forward = section.optional::<Forward>("forward");
    let affinity = section.optional::<Affinity>("affinity");
    let all_down = section.optional::<AllDown>("all-down");
    let on_missing = section.optional::<OnMissing>("on-missing");
    let on_down = section.optional::<OnDown>("on-down");
    let reply = section.optional::<Reply>("reply");
    let newcomers = section.optional::<u32>("newcomers");
    if let Some(number) = newcomers.as_ref().filter(|number| !NEWCOMERS.contains(&number.value)) {
        section.faults().add(
            number.span.clone(),
            format!("newcomers is {} to {} a second; without it there is no limit", NEWCOMERS.start(), NEWCOMERS.end()),
        );
    }
    let drain_time = section.optional::<Time>("drain-time");
    if let Some(time) = drain_time.as_ref().filter(|time| time.value.0 > LONGEST_DRAIN) {
        section.faults().add(time.span.clone(), "drain-time is at most 365 days; without it there is no limit");
    }
    let idle = section.table("idle");
    let idle_span = idle.as_ref().map_or(0..0, Spanned::span);
    let of = protocol.as_ref().map(|protocol| protocol.value);
    let idle = idle.map_or(IdleTimes::DEFAULT, |table| idle::read(table, of, section.faults()));
    let health = match section.table("health") {
        Some(table) => health::read(table, of, section.faults()),
        None => Some(Health::default()),
    };
    if !section.has("backends") {
        section.missing("backends");
    }
    let backends = section.tables("backends");
    let keeps_ports = port.as_ref().is_some_and(|port| port.value.last.is_some());
    let mut backend_spans = Vec::new();
    let backends: Option<Vec<_>> = backends.map(|backends| {
        let mut read = Vec::new();
        for table in backends {
            read.push(read_backend(
                Section::new("a backend", table, section.faults()),
                keeps_ports,
                &mut backend_spans,
            ));
        }
        read
    });
    section.end();
    spans.services.push(ServiceSpans {
        name: span(&name),
        address: span(&address),
        on_missing: span(&on_missing),
        on_down: span(&on_down),
        reply: span(&reply),
        idle: idle_span,
        backends: backend_spans,
    });
    Some(Service {
        name: value(name)?,
        address: value(address)?.0,
        port: port.as_ref()?.value.first,
        last_port: value(port)?.last,
        protocol: value(protocol)?,
        forward: value(forward).unwrap_or_default(),
        affinity: value(affinity).unwrap_or_default(),
        health: health?,
        all_down: value(all_down).unwrap_or_default(),
        on_missing: value(on_missing).unwrap_or_default(),
        on_down: value(on_down).unwrap_or_default(),
        reply: value(reply).unwrap_or_default(),
        newcomers: value(newcomers),
        idle,
        drain_time: value(drain_time).map(|time| time.0),
        backends: backends?.into_iter().collect::<Option<_>>()?,
    })
}

/// `keeps_ports`: of a service whose backends need no port.
fn read_backend(mut section: Section<'_, '_>, keeps_ports: bool, spans: &mut Vec<BackendSpans>) -> Option<Backend> {
    let address = section.required::<Address>("address");
    let has_port = section.has("port") || !keeps_ports;
    let port = if has_port { section.required::<u16>("port") } else { section.optional("port") };
    let weight = section.optional::<u16>("weight");
    let drain = section.optional::<bool>("drain");
    let health = section.table("health");
    let health_span = health.as_ref().map_or(0..0, Spanned::span);
    let health = health.map(|table| health::read_own(table, section.faults())).unwrap_or_default();
    section.end();
    spans.push(BackendSpans { address: span(&address), port: span(&port), health: health_span });
    Some(Backend {
        address: value(address)?.0,
        port: if has_port { value(port)? } else { 0 },
        weight: value(weight).unwrap_or(1),
        drain: value(drain).unwrap_or(false),
        health,
    })
}

/// Below, the clock that they are counted by is too coarse; above, no CPU could count them.
const NEWCOMERS: RangeInclusive<u32> = 10..=10_000_000;

/// What is longer is no limit.
const LONGEST_DRAIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Every port that is not reserved for services of the system (RFC 6335, section 6).
const UNRESERVED: (u16, u16) = (1024, 65535);

/// A service's ports, as in 443 or "20000-29999".
struct ServicePorts {
    first: u16,
    last: Option<u16>,
}

impl<'de> Deserialize<'de> for ServicePorts {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Ports;
        impl Visitor<'_> for Ports {
            type Value = ServicePorts;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a port, or a range of them such as \"20000-29999\"")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<ServicePorts, E> {
                let port = u16::try_from(number);
                let first = port.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
                Ok(ServicePorts { first, last: None })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ServicePorts, E> {
                let (first, last) = port_range(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(ServicePorts { first, last: (first < last).then_some(last) })
            }
        }
        input.deserialize_any(Ports)
    }
}

/// First and last port, as in 1024-65535.
struct PortRange((u16, u16));

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        port_range(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("FIRST-LAST is wanted, from 1 to 65535, not \"{text}\"")))
    }
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

fn value<T>(located: Option<Located<T>>) -> Option<T> {
    located.map(|located| located.value)
}

fn span<T>(located: &Option<Located<T>>) -> Range<usize> {
    located.as_ref().map_or(0..0, |located| located.span.clone())
}
