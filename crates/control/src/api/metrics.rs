//! What Prometheus reads.

use crate::operator::{Scrape, State};
use evenkeel_core::Event;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::net::SocketAddr;

/// The format's name (OpenMetrics 1.0).
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of one scrape.
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
        let Self(Scrape { status, counters, traffic, stages, free, troubles, nat_ports_free }) = self;
        let counter = |value| ConstCounter::<u64>::new(value);

        let mut packets =
            out.encode_descriptor("evenkeel_packets", "Packets carried.", None, counter(0).metric_type())?;
        for line in traffic {
            for (direction, value) in
                [("client", line.traffic.client_packets), ("backend", line.traffic.backend_packets)]
            {
                let labels = [("service", line.service.as_str()), ("backend", &line.backend), ("direction", direction)];
                counter(value).encode(packets.encode_family(&labels)?)?;
            }
        }
        let mut bytes = out.encode_descriptor(
            "evenkeel",
            "Bytes carried, Ethernet headers included.",
            Some(&Unit::Bytes),
            counter(0).metric_type(),
        )?;
        for line in traffic {
            for (direction, value) in [("client", line.traffic.client_bytes), ("backend", line.traffic.backend_bytes)] {
                let labels = [("service", line.service.as_str()), ("backend", &line.backend), ("direction", direction)];
                counter(value).encode(bytes.encode_family(&labels)?)?;
            }
        }
        let mut verdicts = out.encode_descriptor(
            "evenkeel_verdicts",
            "Packets by the reason of their verdict, and events.",
            None,
            counter(0).metric_type(),
        )?;
        for (reason, value) in counters {
            counter(*value).encode(verdicts.encode_family(&[("reason", reason.as_str())])?)?;
        }

        let help = "What the control side could not do and has tried again; no packet waits for it.";
        let mut failures = out.encode_descriptor("evenkeel_control_failures", help, None, counter(0).metric_type())?;
        for (trouble, value) in troubles {
            counter(*value).encode(failures.encode_family(&[("kind", trouble.name())])?)?;
        }

        let gauge = |value: i64| ConstGauge::<i64>::new(value);
        let mut flows = out.encode_descriptor("evenkeel_flows", "Connections.", None, gauge(0).metric_type())?;
        for service in &status.services {
            let count: u64 = service.backends.iter().map(|backend| backend.flows).sum();
            gauge(count as i64).encode(flows.encode_family(&[("service", service.name.as_str())])?)?;
        }
        let help = "Connections in the flow table by how far they have come, and how many more it is made for (free).";
        let mut fill = out.encode_descriptor("evenkeel_flow_table", help, None, gauge(0).metric_type())?;
        let counted = stages.iter().map(|(stage, count)| (stage.name(), *count));
        for (class, count) in counted.chain([("free", *free)]) {
            gauge(count as i64).encode(fill.encode_family(&[("class", class)])?)?;
        }
        let help = "Connections that made room for another before their idle time was over.";
        let mut evictions = out.encode_descriptor("evenkeel_evictions", help, None, counter(0).metric_type())?;
        for (class, event) in EVICTIONS {
            let count = counters.get(event.name()).copied().unwrap_or_default();
            counter(count).encode(evictions.encode_family(&[("class", class)])?)?;
        }
        let help =
            "NAT source ports that a new connection took from one that had ended, was never complete or was silent.";
        let taken = out.encode_descriptor("evenkeel_nat_ports_taken_over", help, None, counter(0).metric_type())?;
        let count = counters.get(Event::PortTakenOver.name()).copied().unwrap_or_default();
        counter(count).encode(taken)?;
        let help = "NAT source ports in use towards a backend.";
        let mut used = out.encode_descriptor("evenkeel_nat_ports_in_use", help, None, gauge(0).metric_type())?;
        for line in traffic {
            let labels = [("service", line.service.as_str()), ("backend", &line.backend)];
            gauge(line.nat_ports as i64).encode(used.encode_family(&labels)?)?;
        }
        let help = "Whether a backend gets new connections (1) or not (0).";
        let mut up = out.encode_descriptor("evenkeel_backend_up", help, None, gauge(0).metric_type())?;
        for service in &status.services {
            // Who has left the file is not missed.
            for backend in service.backends.iter().filter(|backend| !backend.leaving) {
                let name = SocketAddr::new(backend.address, backend.port).to_string();
                let labels = [("service", service.name.as_str()), ("backend", name.as_str())];
                let is_up = backend.state == State::Up && backend.weight > 0;
                gauge(i64::from(is_up)).encode(up.encode_family(&labels)?)?;
            }
        }
        let help = "NAT source ports that are free towards the backend with the most connections.";
        let free = out.encode_descriptor("evenkeel_nat_ports_free", help, None, gauge(0).metric_type())?;
        gauge(*nat_ports_free as i64).encode(free)
    }
}
