//! What Prometheus reads.

use crate::operator::{BackendTraffic, Scrape, State};
use evenkeel_core::{Event, LAYOUT, Reason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

/// The text of one scrape, as OpenMetrics has it.
pub(super) fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading(scrape)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Who makes room, and the event that counts it.
const EVICTIONS: [(&str, Event); 3] =
    [("half-open", Event::HalfOpenEvicted), ("closing", Event::ClosingEvicted), ("udp", Event::UdpEvicted)];

#[derive(Debug)]
struct Reading(Scrape);

impl Collector for Reading {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(scrape) = self;
        itself(scrape, &mut out)?;
        packets(scrape, &mut out)?;
        backends(scrape, &mut out)?;
        tables(scrape, &mut out)?;
        nat_ports(scrape, &mut out)
    }
}

type Out<'a, 'b> = &'a mut DescriptorEncoder<'b>;

/// One sample of a metric.
type Sample<'a> = (Vec<(&'a str, &'a str)>, u64);

/// A metric of counters.
fn counters<'a>(
    out: Out<'_, '_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        ConstCounter::<u64>::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A metric of gauges.
fn gauges<'a>(out: Out<'_, '_>, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a>>) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        ConstGauge::<i64>::new(value as i64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(out: Out<'_, '_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::<i64>::new(value as i64).encode(family)
}

/// The balancer.
fn itself(scrape: &Scrape, out: Out<'_, '_>) -> fmt::Result {
    let Scrape { status, port, reloads, .. } = scrape;
    let layout = LAYOUT.to_string();
    let labels = vec![("version", status.version.as_str()), ("plane", &status.plane), ("layout", &layout)];
    gauges(out, "evenkeel_build_info", "Which evenkeel this is: always 1.", [(labels, 1)])?;
    let place = port.iter().map(|port| (vec![("interface", port.interface.as_str()), ("mode", &port.mode)], 1));
    gauges(out, "evenkeel_attach_mode", "Where packets come and go, and how that is worked: always 1.", place)?;
    gauge(out, "evenkeel_uptime_seconds", "For how long the process has been at work.", status.uptime_seconds)?;
    let help = "Whether the file was put in force when it was read last (1) or refused (0).";
    gauge(out, "evenkeel_config_last_reload_successful", help, reloads.successful.into())?;
    let since = reloads.last_success.duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "When the configuration in force was read, in seconds since 1970.";
    gauge(out, "evenkeel_config_last_reload_success_timestamp_seconds", help, since.as_secs())
}

/// What became of packets.
fn packets(scrape: &Scrape, out: Out<'_, '_>) -> fmt::Result {
    let Scrape { counters: counted, traffic, .. } = scrape;
    let by_direction = |read: fn(&BackendTraffic) -> [u64; 2]| {
        traffic.iter().flat_map(move |((service, backend), carried)| {
            ["client", "backend"].into_iter().zip(read(carried)).map(move |(direction, value)| {
                (vec![("service", service.as_str()), ("backend", backend), ("direction", direction)], value)
            })
        })
    };
    let carried = by_direction(|carried| [carried.traffic.client_packets, carried.traffic.backend_packets]);
    counters(out, "evenkeel_packets", "Packets carried.", carried)?;
    let help = "Bytes carried, Ethernet headers included.";
    let mut bytes = out.encode_descriptor("evenkeel", help, Some(&Unit::Bytes), MetricType::Counter)?;
    for (labels, value) in by_direction(|carried| [carried.traffic.client_bytes, carried.traffic.backend_bytes]) {
        ConstCounter::<u64>::new(value).encode(bytes.encode_family(&labels)?)?;
    }
    let verdicts =
        Reason::ALL.iter().zip(counted.verdicts).map(|(reason, count)| (vec![("reason", reason.name())], count));
    counters(out, "evenkeel_verdicts", "Packets by the reason of their verdict: every packet has one.", verdicts)?;
    let help = "What the control side could not do and has tried again; no packet waits for it.";
    let failures = scrape.troubles.iter().map(|(trouble, count)| (vec![("kind", trouble.name())], *count));
    counters(out, "evenkeel_control_failures", help, failures)?;
    let events = Event::ALL.iter().zip(counted.events).map(|(event, count)| (vec![("event", event.name())], count));
    counters(out, "evenkeel_events", "What happened beside the verdicts.", events)
}

/// Services and backends, as they are.
fn backends(scrape: &Scrape, out: Out<'_, '_>) -> fmt::Result {
    let flows = scrape.flows().into_iter().map(|(service, count)| (vec![("service", service)], count));
    gauges(out, "evenkeel_flows", "Connections.", flows)?;
    // Who has left the file is not missed.
    let services = scrape.status.services.iter();
    let listed: Vec<_> = services
        .flat_map(|service| service.backends.iter().map(move |backend| (service.name.as_str(), backend)))
        .filter(|(_, backend)| !backend.leaving)
        .map(|(service, backend)| (service, SocketAddr::new(backend.address, backend.port).to_string(), backend))
        .collect();
    let up = listed.iter().map(|(service, name, backend)| {
        let is_up = backend.state == State::Up && backend.weight > 0;
        (vec![("service", *service), ("backend", name)], is_up.into())
    });
    gauges(out, "evenkeel_backend_up", "Whether a backend gets new connections (1) or not (0).", up)?;
    let trouble = listed.iter().filter_map(|(service, name, backend)| {
        Some((vec![("service", *service), ("backend", name), ("trouble", backend.trouble.as_deref()?)], 1))
    });
    let help =
        "What is the matter with a backend, where something is: it fails its checks, or packets do not find the way.";
    gauges(out, "evenkeel_backend_trouble", help, trouble)?;
    let weight = listed
        .iter()
        .map(|(service, name, backend)| (vec![("service", *service), ("backend", name)], backend.weight.into()));
    gauges(out, "evenkeel_backend_weight", "A backend's weight among those of its service.", weight)
}

/// Tables, and how full they are.
fn tables(scrape: &Scrape, out: Out<'_, '_>) -> fmt::Result {
    let Scrape { stages, tables, counters: counted, .. } = scrape;
    let size = tables.iter().map(|table| (vec![("table", table.name)], table.size));
    gauges(out, "evenkeel_table_size", "How many entries a table is made for.", size)?;
    let used = tables.iter().map(|table| (vec![("table", table.name)], table.used));
    gauges(out, "evenkeel_table_used", "How many entries of a table are in use.", used)?;
    let of_flows = tables.iter().filter(|table| table.name.starts_with("flows"));
    let free: u64 = of_flows.map(|table| table.size.saturating_sub(table.used)).sum();
    let classes = stages.iter().map(|(stage, count)| (stage.name(), *count)).chain([("free", free)]);
    let help = "Connections in the flow table by how far they have come, and how many more it is made for (free).";
    gauges(out, "evenkeel_flow_table", help, classes.map(|(class, count)| (vec![("class", class)], count)))?;
    let evicted = EVICTIONS.iter().map(|(class, event)| (vec![("class", *class)], counted.events[*event as usize]));
    counters(
        out,
        "evenkeel_evictions",
        "Connections that made room for another before their idle time was over.",
        evicted,
    )
}

/// Ports of full NAT.
fn nat_ports(scrape: &Scrape, out: Out<'_, '_>) -> fmt::Result {
    let taken = scrape.counters.events[Event::PortTakenOver as usize];
    let help = "NAT source ports that a new connection took from one that had ended, was never complete or was silent.";
    let family = out.encode_descriptor("evenkeel_nat_ports_taken_over", help, None, MetricType::Counter)?;
    ConstCounter::<u64>::new(taken).encode(family)?;
    let used = scrape.traffic.iter().map(|((service, backend), carried)| {
        (vec![("service", service.as_str()), ("backend", backend)], carried.flows)
    });
    gauges(out, "evenkeel_nat_ports_in_use", "NAT source ports in use towards a backend, by a service.", used)?;
    let targets: Vec<_> = scrape
        .nat_targets
        .iter()
        .map(|((protocol, target), used)| (protocol.to_string(), target.to_string(), *used))
        .collect();
    let by_target = targets
        .iter()
        .map(|(protocol, target, used)| (vec![("protocol", protocol.as_str()), ("target", target.as_str())], *used));
    let help = "NAT source ports in use towards a target, by all services together: each may be used once a target.";
    gauges(out, "evenkeel_nat_target_ports_in_use", help, by_target)?;
    let help = "NAT source ports that there are towards each target.";
    gauge(out, "evenkeel_nat_target_ports", help, scrape.nat_ports())?;
    let help = "NAT source ports that are free towards the target that most are in use to.";
    gauge(out, "evenkeel_nat_ports_free", help, scrape.nat_ports_free())
}
