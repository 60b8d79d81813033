//! The settings of the walk-through: a balancer at 10.0.0.10 in front of 10.0.0.2 and 10.0.0.3.

use crate::config::{
    Affinity, AllDown, Backend, Config, Forward, Health, Nat, OnDown, OnMissing, Protocol, Reply, Service,
};
use evenkeel_core::flow::IdleTimes;
use std::net::IpAddr;

/// Any TCP or UDP port of 10.0.0.10, full NAT, the same port on both backends.
pub fn walkthrough() -> Config {
    let address = IpAddr::from([10, 0, 0, 10]);
    let backend = |last| Backend {
        address: [10, 0, 0, last].into(),
        port: 0,
        weight: 1,
        drain: false,
        health: Default::default(),
    };
    let service = |name: &str, protocol| Service {
        name: name.to_owned(),
        address,
        port: 0,
        last_port: None,
        protocol,
        forward: Forward::Fullnat,
        affinity: Affinity::Connection,
        health: Health::default(),
        all_down: AllDown::Drop,
        on_missing: OnMissing::Drop,
        reply: Reply::Source,
        newcomers: None,
        on_down: OnDown::Keep,
        idle: IdleTimes::DEFAULT,
        drain_time: None,
        backends: vec![backend(2), backend(3)],
    };
    Config {
        dataplane: Default::default(),
        metrics: Default::default(),
        nat: Nat { addresses: vec![address], ports: (1024, 65535) },
        services: vec![service("any-tcp", Protocol::Tcp), service("any-udp", Protocol::Udp)],
    }
}
