//! What is balanced in every measurement, and how its connections come about: the real core runs the handshakes, over the
//! tables of the plane that is measured.

use crate::error::BenchError;
use crate::layout::{FRAME, Tuple};
use crate::packet::{ACK, Head, OUR_MAC, SYN, THEIR_MAC};
use crate::segment::segment;
use evenkeel_control::config::{self, Affinity, Backend, Config, Forward, Nat, Protocol};
use evenkeel_control::{Balancer, BalancerError, NextHop, Plane, Secrets, Sizes};
use evenkeel_core::flow::{Bucket, IdleTimes, Now, Peer};
use evenkeel_core::{AllTables, Features, Reason, Settings, SliceFrame, Word, process};
use evenkeel_wire::{Ipv4Address, Port};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU64;

/// Backends, and NAT addresses: enough NAT ports for a million connections many times over.
const WIDTH: u8 = 16;
/// The address of the one service.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

/// One service with [`WIDTH`] backends behind [`WIDTH`] NAT addresses.
pub(crate) struct Deployment {
    config: Config,
    secrets: Secrets,
    pub(crate) sizes: Sizes,
    pub(crate) settings: Settings,
}

impl Deployment {
    /// With tables that have room for so many connections, and a limit of newcomers or none.
    pub(crate) fn new(room: u32, newcomers: Option<u32>) -> Result<Self, BenchError> {
        let config = config(newcomers);
        let secrets = Secrets::random().map_err(|error| BenchError::Random(error.to_string()))?;
        let sizes = Sizes::for_flows(room);
        let settings = sizes.settings(&config, &secrets, OUR_MAC, IdleTimes::DEFAULT);
        Ok(Self { config, secrets, sizes, settings })
    }

    pub(crate) fn nat(&self) -> &[IpAddr] {
        &self.config.nat.addresses
    }

    /// What its packets can need.
    pub(crate) fn features(&self) -> Features {
        evenkeel_control::features(&self.config)
    }

    /// Fills a plane's tables.
    pub(crate) fn balance<P: Plane>(&self, plane: P) -> Result<Balancer<P>, BalancerError<P::Error>> {
        let mut balancer = Balancer::new(plane, &self.secrets);
        for backend in self.config.services.iter().flat_map(|service| &service.backends) {
            balancer.set_next_hop(NextHop { address: backend.address, mac: THEIR_MAC })?;
        }
        balancer.apply(&self.config)?;
        Ok(balancer)
    }
}

fn config(newcomers: Option<u32>) -> Config {
    let backends = (1..=WIDTH).map(|last| Backend {
        address: [10, 0, 1, last].into(),
        port: 8080,
        weight: 1,
        drain: false,
        health: Default::default(),
    });
    Config {
        dataplane: Default::default(),
        metrics: Default::default(),
        nat: Nat { addresses: (1..=WIDTH).map(|last| [10, 0, 2, last].into()).collect(), ports: (1024, 65535) },
        services: vec![config::Service {
            name: "bench".to_owned(),
            address: SERVICE.into(),
            port: 80,
            last_port: None,
            protocol: Protocol::Tcp,
            forward: Forward::Fullnat,
            affinity: Affinity::Connection,
            health: Default::default(),
            all_down: Default::default(),
            on_missing: Default::default(),
            newcomers,
            reply: Default::default(),
            on_down: Default::default(),
            idle: IdleTimes::DEFAULT,
            drain_time: None,
            backends: backends.collect(),
        }],
    }
}

/// Client number so many. The second byte is left to count in, for who makes ever new clients.
pub(crate) fn client(number: u32) -> Peer {
    let [_, high, middle, low] = number.to_be_bytes();
    Peer { address: Ipv4Address([32, 0, middle, low]), port: Port::from_number(1024 + 257 * u16::from(high)) }
}

/// Connections, and what their packets look like in either direction.
pub(crate) struct Connected {
    pub(crate) forth: Vec<Tuple>,
    pub(crate) back: Vec<Tuple>,
    /// How many more were refused, because the one bucket that they may be in was full.
    pub(crate) refused: u32,
}

/// Runs handshakes until there are this many connections.
pub(crate) fn connect<T: AllTables>(tables: &T, flows: u32) -> Result<Connected, BenchError> {
    let service = Peer { address: SERVICE.into(), port: Port::from_number(80) };
    let [syn, answer, ack] = [SYN, SYN | ACK, ACK].map(Head::tcp);
    let mut connected = Connected { forth: Vec::new(), back: Vec::new(), refused: 0 };
    let mut number = 0;
    while number - connected.refused < flows {
        let client = client(number);
        number += 1;
        let (verdict, sent) = run(tables, &syn, (client, service), (0, 0));
        if verdict == Reason::FlowTableFull && connected.refused < flows / 8 {
            connected.refused += 1;
            continue;
        }
        let (nat, backend) = (end(&sent, 26, 34), end(&sent, 30, 36));
        let (answered, _) = run(tables, &answer, (backend, nat), (0, 1));
        let (confirmed, _) = run(tables, &ack, (client, service), (1, 1));
        if (verdict, answered, confirmed) != (Reason::ToBackend, Reason::ToClient, Reason::ToBackend) {
            let [verdict, answered, confirmed] = [verdict, answered, confirmed].map(Reason::name);
            let verdicts = format!("a handshake got the verdicts \"{verdict}\", \"{answered}\", \"{confirmed}\".");
            return Err(BenchError::Broken(verdicts));
        }
        connected.forth.push(ack.tuple(client, service));
        connected.back.push(ack.tuple(backend, nat));
    }
    Ok(connected)
}

/// Makes every connection of a flow table active at this time.
pub(crate) fn refresh(flows: &[Bucket<AtomicU64>], now: Now) {
    for entry in flows.iter().flat_map(|bucket| &bucket.0) {
        if let Some(found) = entry.read() {
            Word::compare_exchange(&entry.meta, found.meta.0, found.meta.with_seen(now).0);
        }
    }
}

/// Gives the core one packet from one end to another, with these numbers (sequence, acknowledged); returns the verdict, and the
/// packet as it came out.
fn run<T: AllTables>(tables: &T, head: &Head, ends: (Peer, Peer), numbers: (u32, u32)) -> (Reason, [u8; FRAME]) {
    let mut frame = segment(head, ends.0, ends.1, numbers.0, numbers.1);
    (process(&mut SliceFrame(&mut frame), tables), frame)
}

/// The address and the port at these offsets.
pub(crate) fn end(frame: &[u8], address: usize, port: usize) -> Peer {
    Peer {
        address: Ipv4Address(std::array::from_fn(|byte| frame[address + byte])),
        port: Port(std::array::from_fn(|byte| frame[port + byte])),
    }
}
