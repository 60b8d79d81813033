//! What a plane under test is made with.

use evenkeel_control::{Config, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_core::{Features, Settings};
use evenkeel_packets::{Mac, OUR_MAC};
use evenkeel_wire::MacAddress;
use std::net::IpAddr;

/// Not random, so that a test that fails fails again.
pub const SECRETS: Secrets = Secrets {
    pick: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
    flow: [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d],
};

/// What a plane under test is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Connections that the flow table is made for; it is never smaller than 16 buckets.
    pub flows: u32,
    /// Idle times.
    pub times: IdleTimes,
    /// What the XDP program is loaded for. Whatever a test's configurations need; it cannot be exchanged here.
    pub features: Features,
    /// Whether XDP's clock stands still as DPDK's does.
    pub is_timeless: bool,
    /// Backends whose Ethernet address is not known.
    pub unresolved: Vec<IpAddr>,
    /// The balancer's Ethernet address.
    pub mac: Mac,
    /// Pairs of queues that a DPDK port has, each with a worker.
    pub queues: usize,
    /// Bytes of a packet that one DPDK mbuf has room for.
    pub room: u16,
}

impl Setup {
    /// This configuration with a table for this many connections, on XDP in a program that can do no more than it needs.
    pub fn new(config: Config, flows: u32) -> Self {
        let features = evenkeel_control::features(&config);
        let unresolved = vec![super::scenes::LOST_BACKEND.into()];
        Self {
            config,
            flows,
            times: IdleTimes::DEFAULT,
            features,
            is_timeless: false,
            unresolved,
            mac: OUR_MAC,
            queues: 1,
            room: 2048,
        }
    }

    /// How large the tables are made.
    pub fn sizes(&self) -> Sizes {
        let wide_flows = if self.config.has_ipv6() { self.flows } else { 0 };
        Sizes { flows: self.flows, wide_flows, backends: 64, services: 16, addresses: 16 }
    }

    /// What the plane is started with.
    pub fn settings(&self) -> Settings {
        self.sizes().settings(&self.config, &SECRETS, MacAddress(self.mac), self.times)
    }
}
