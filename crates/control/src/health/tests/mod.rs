//! Servers of every manner on loopback, and scripted checks on a clock that stands still.

mod answers;
mod datagrams;
mod pacing;
mod secrecy;
mod server;
mod sharing;
mod talks;
mod watching;

use crate::config::{
    Affinity, AllDown, Backend, Config, Dataplane, Forward, Health, HttpCheck, Metrics, Nat, OnDown, OnMissing, Probe,
    Protocol, Reply, Service, Statuses, Target,
};
use crate::operator::Judgement;
use evenkeel_core::flow::IdleTimes;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// After so long a test has failed; no test takes anywhere near that.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration with a service for each of these, whose only backend it is.
fn config(watched: &[(SocketAddrV4, Health)]) -> Config {
    let services = watched.iter().enumerate().map(|(number, (target, health))| Service {
        name: format!("service {number}"),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        // By its backend, so that a service is the same one wherever it stands.
        port: target.port(),
        last_port: None,
        protocol: Protocol::Tcp,
        forward: Forward::Fullnat,
        affinity: Affinity::Connection,
        health: health.clone(),
        all_down: AllDown::Drop,
        on_missing: OnMissing::Drop,
        reply: Reply::Source,
        newcomers: None,
        on_down: OnDown::Keep,
        idle: IdleTimes::DEFAULT,
        drain_time: None,
        backends: vec![Backend {
            address: (*target.ip()).into(),
            port: target.port(),
            weight: 1,
            drain: false,
            health: Target::default(),
        }],
    });
    Config {
        dataplane: Dataplane::default(),
        nat: Nat { addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()], ports: (1024, 65535) },
        services: services.collect(),
        metrics: Metrics::default(),
    }
}

/// A check that comes often, and waits for long.
fn often(probe: Probe) -> Health {
    let interval = Duration::from_millis(10);
    Health { probe: Some(probe), interval, timeout: PATIENCE, ..Health::default() }
}

fn page() -> HttpCheck {
    HttpCheck { tls: None, path: "/".to_owned(), host: None, status: Statuses::one(200), body: None }
}

async fn next(judged: &mut mpsc::Receiver<Judgement>) -> Judgement {
    timeout(PATIENCE, judged.recv()).await.expect("a judgement comes").expect("the checker is there")
}
