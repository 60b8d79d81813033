//! Answers for tests.

use super::Answer;
use evenkeel_control::operator::{BackendStatus, ServiceStatus, State, Status};
use std::net::Ipv4Addr;
use std::time::Duration;

/// An answer after so many seconds.
pub(in crate::top) fn answer(seconds: u64, services: Vec<ServiceStatus>, counters: &[(&str, u64)]) -> Answer {
    Answer {
        status: Status {
            version: "1.2.3".to_owned(),
            plane: "xdp".to_owned(),
            interface: Some("eth0".to_owned()),
            mode: Some("native".to_owned()),
            mode_reason: None,
            uptime_seconds: 100 + seconds,
            flows_age_seconds: 0,
            services,
        },
        status_at: Duration::from_secs(seconds),
        counters: counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        counters_at: Duration::from_secs(seconds),
    }
}

pub(in crate::top) fn service(name: &str, backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: 443,
        last_port: None,
        protocol: "tcp".to_owned(),
        forward: "fullnat".to_owned(),
        backends,
    }
}

/// 10.0.0.`last`:8080, which has carried so many packets of 100 bytes.
pub(in crate::top) fn backend(last: u8, packets: u64) -> BackendStatus {
    BackendStatus {
        address: Ipv4Addr::new(10, 0, 0, last).into(),
        port: 8080,
        weight: 1,
        state: State::Up,
        reason: "not checked".to_owned(),
        trouble: None,
        since: None,
        leaving: false,
        flows: 3,
        packets,
        bytes: 100 * packets,
    }
}
