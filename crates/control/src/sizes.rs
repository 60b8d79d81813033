//! How large a plane's tables are, and what it must know before its first packet.

use crate::config::{Config, Unserved};
use crate::secrets::Secrets;
use evenkeel_core::Settings;
use evenkeel_core::flow::{IdleTimes, Timeouts, WAYS};
use evenkeel_wire::MacAddress;

/// How large the tables of a plane are made. They cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Connections that the flow table is made for.
    pub flows: u32,
    /// Backends, those of every service counted.
    pub backends: u32,
    /// Services, each port of one with several counted.
    pub services: u32,
    /// Addresses that are ours.
    pub addresses: u32,
}

impl Sizes {
    /// Sizes for a configuration of usual extent with this many connections.
    pub fn for_flows(flows: u32) -> Self {
        Self { flows, backends: 4096, services: 1024, addresses: 1024 }
    }

    /// Sizes for a configuration: what it says of connections, and room for it to grow.
    pub fn for_config(config: &Config) -> Self {
        let usual = Self::for_flows(config.dataplane.max_flows);
        let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
        // A backend's place in the table is a 16-bit number.
        let backends = (2 * backends as u32).clamp(usual.backends, 1 << 16);
        let services = usual.services.max(2 * config.service_keys() as u32);
        let addresses = usual.addresses.max(2 * config.services.len() as u32);
        Self { backends, services, addresses, ..usual }
    }

    /// Buckets of the flow table: four entries for each connection, which has two, so that few buckets are ever full;
    /// a power of two, so that the next larger one is taken.
    pub fn buckets(&self) -> u32 {
        (self.flows.saturating_mul(4) / WAYS as u32).next_power_of_two().max(16)
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
            flow_mask: self.buckets() - 1,
            nat_addresses: config.nat.addresses.len() as u32,
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
