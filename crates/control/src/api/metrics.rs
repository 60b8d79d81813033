//! What Prometheus reads.

use crate::operator::{Scrape, State};
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

#[derive(Debug)]
struct Reading(Scrape);

impl Collector for Reading {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(Scrape { status, counters, traffic, nat_ports_free }) = self;
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

        let gauge = |value: i64| ConstGauge::<i64>::new(value);
        let mut flows = out.encode_descriptor("evenkeel_flows", "Connections.", None, gauge(0).metric_type())?;
        for service in &status.services {
            let count: u64 = service.backends.iter().map(|backend| backend.flows).sum();
            gauge(count as i64).encode(flows.encode_family(&[("service", service.name.as_str())])?)?;
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
