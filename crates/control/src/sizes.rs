//! How large a plane's tables are, and what it must know before its first packet.

use crate::config::{Config, Unserved};
use crate::secrets::Secrets;
use evenkeel_core::Settings;
use evenkeel_core::flow::{IdleTimes, Timeouts, WAYS};
use evenkeel_core::hash::wide_secret;
use evenkeel_wire::MacAddress;

/// The most backends that a plane can have at once, those included that have left and still have connections: a backend's
/// place is a 16-bit number.
pub const MOST_BACKENDS: u32 = 1 << 16;
/// The most services. Each has a Maglev table of 256 KB, so memory ends before.
pub const MOST_SERVICES: u32 = 1 << 16;
/// The most ports that services have together.
pub const MOST_SERVICE_PORTS: u32 = 1 << 18;
/// The most addresses that are ours, NAT's included.
pub const MOST_ADDRESSES: u32 = 1 << 16;
/// The most connections that a flow table can be made for: 16 GB of it.
pub const MOST_FLOWS: u32 = 1 << 26;

/// How large the tables of a plane are made. What of it can grow, and how far, is [`crate::Plane::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Connections that the table of IPv4 connections is made for.
    pub flows: u32,
    /// The same of IPv6 connections; 0: the smallest that there is, for none.
    pub wide_flows: u32,
    /// Backends, those of every service counted.
    pub backends: u32,
    /// Services, each port of one with several counted.
    pub services: u32,
    /// Addresses that are ours.
    pub addresses: u32,
}

impl Sizes {
    /// Sizes for a configuration of usual extent with this many connections, all of them IPv4.
    pub fn for_flows(flows: u32) -> Self {
        Self { flows, wide_flows: 0, backends: 4096, services: MOST_SERVICE_PORTS, addresses: MOST_ADDRESSES }
    }

    /// Sizes for a configuration: what it says of connections, and room for it to grow.
    pub fn for_config(config: &Config) -> Self {
        let flows = config.dataplane.max_flows;
        let wide_flows = if config.has_ipv6() { flows } else { 0 };
        Self::for_flows(flows).grown_for((0, wide_flows), config.backend_ids().count())
    }

    /// The same with room for so many connections, IPv4's and IPv6's, and backends. What there is room for already stays as it is; where there is
    /// not, as much again is added, so that the next backend does not ask for another table.
    #[must_use]
    pub fn grown_for(self, (flows, wide_flows): (u32, u32), backends: usize) -> Self {
        let backends = u32::try_from(backends).unwrap_or(u32::MAX);
        let backends = if backends <= self.backends {
            self.backends
        } else {
            backends.max(backends.saturating_mul(2).min(MOST_BACKENDS))
        };
        Self { flows: flows.max(self.flows), wide_flows: wide_flows.max(self.wide_flows), backends, ..self }
    }

    /// Buckets of the flow table: four entries for each connection, which has two, so that few buckets are ever full;
    /// a power of two, so that the next larger one is taken.
    pub fn buckets(&self) -> u32 {
        buckets(self.flows)
    }

    /// The same of the table of IPv6 connections; one where there are none.
    pub fn wide_buckets(&self) -> u32 {
        if self.wide_flows == 0 { 1 } else { buckets(self.wide_flows) }
    }

    /// Entries of the table of those who have asked in vain ([`evenkeel_core::Asked`]).
    pub fn asked(&self) -> u32 {
        self.buckets() / 2
    }

    /// What a plane of these sizes must know before its first packet; `mac` is its Ethernet address.
    pub fn settings(&self, config: &Config, secrets: &Secrets, mac: MacAddress, times: IdleTimes) -> Settings {
        Settings {
            pick_secret: secrets.pick,
            flow_secret: secrets.flow,
            wide_secret: wide_secret(&secrets.flow),
            flow_mask: self.buckets() - 1,
            wide_flow_mask: self.wide_buckets() - 1,
            nat_addresses: config.nat.ipv4().len() as u32,
            wide_nat_addresses: config.nat.ipv6().len() as u32,
            nat_port_first: config.nat.own_ports().0,
            nat_port_last: config.nat.own_ports().1,
            mac,
            check_port_first: config.nat.check_ports().0,
            check_port_last: config.nat.check_ports().1,
            refuses: u16::from(config.dataplane.unserved == Unserved::Refuse),
            timeouts: Timeouts::uniform(times),
            ..Settings::EMPTY
        }
    }
}

fn buckets(flows: u32) -> u32 {
    (flows.saturating_mul(4) / WAYS as u32).next_power_of_two().max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_by_more_than_was_asked_for_and_never_shrink() {
        let usual = Sizes::for_flows(4096);
        assert_eq!(usual.grown_for((0, 0), 4096), usual);
        assert_eq!(usual.grown_for((1024, 0), 5000), Sizes { backends: 10_000, ..usual });
        assert_eq!(
            usual.grown_for((8192, 64), 40_000),
            Sizes { flows: 8192, wide_flows: 64, backends: MOST_BACKENDS, ..usual }
        );
        assert_eq!(usual.grown_for((0, 0), 70_000).backends, 70_000, "that it cannot be is for others to say");
    }
}
