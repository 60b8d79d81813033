//! Same in, same out: the same packets through the BPF object and through the core compiled for this machine give the
//! same verdicts, bytes and counters, and leave the same flow tables, word by word.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use evenkeel_control::config::Protocol;
use evenkeel_control::{Balancer, Config, NextHop, Plane};
use evenkeel_core::flow::{IdleTimes, Tick};
use evenkeel_core::{Counters, Reason, Traffic};
use evenkeel_tests::program::native::Native;
use evenkeel_tests::program::packet::{ACK, Draft, FIN, Parsed, RST, SYN, backend_mac, echo, end, tcp, udp};
use evenkeel_tests::program::scenes::{ANY, DNS, EMPTY, LOST, LOST_BACKEND, NAT, STICKY, WALKTHROUGH, WEB, client};
use evenkeel_tests::program::{Connection, SECRETS, Setup, action, load, run, scenes, table};
use evenkeel_wire::MacAddress;
use evenkeel_xdp::XdpPlane;
use proptest::prelude::*;
use proptest::test_runner::{Config as Effort, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A packet from a client.
    Client { who: u16, to: usize, flags: u8, dress: Dress },
    /// A packet from the backend of one of the connections so far.
    Reply { which: usize, flags: u8, dress: Dress },
    /// SYN, its answer, and ACK; or the same by UDP.
    Handshake { who: u16, to: usize },
    /// Handshakes of so many clients, one after the other.
    Crowd { who: u16, to: usize, size: u16 },
    /// A frame with anything in it.
    Noise(Vec<u8>),
    /// Time goes by.
    Wait(u16),
    /// Another configuration.
    Apply(usize),
    /// A backend has another Ethernet address.
    NextHop(usize, u8),
    /// The control side's housekeeping.
    Tidy,
}

/// What a packet looks like, beyond where it goes.
#[derive(Clone, Debug)]
struct Dress {
    mac: u8,
    tags: usize,
    options: usize,
    ttl: u8,
    dscp: u8,
    fragment: (u16, bool),
    size: usize,
    /// Bytes that are not what they should be: where, and what is flipped.
    faults: Vec<(usize, u8)>,
    /// Bytes that are missing at the end.
    cut: usize,
}

fn dress() -> impl Strategy<Value = Dress> {
    (
        0..2_u8,
        prop_oneof![8 => Just(0), 1 => 0..4_usize],
        prop_oneof![8 => Just(0), 1 => 0..11_usize],
        prop_oneof![8 => Just(64_u8), 1 => any::<u8>(), 1 => 0..3_u8],
        0..64_u8,
        prop_oneof![20 => Just((0, false)), 1 => (0..100_u16, any::<bool>())],
        prop_oneof![20 => 0..100_usize, 1 => 3400..3600_usize, 1 => 0..20_000_usize],
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec((0..80_usize, any::<u8>()), 1..4)],
        prop_oneof![12 => Just(0), 1 => 0..80_usize],
    )
        .prop_map(|(mac, tags, options, ttl, dscp, fragment, size, faults, cut)| Dress {
            mac,
            tags,
            options,
            ttl,
            dscp,
            fragment,
            size,
            faults,
            cut,
        })
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        1 => Just(0), 4 => Just(SYN), 4 => Just(ACK), 2 => Just(SYN | ACK), 2 => Just(FIN | ACK), 1 => Just(RST), 1 => any::<u8>()
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (who, to) = (0..80_u16, 0..16_usize);
    prop_oneof![
        12 => (who.clone(), to.clone(), flags(), dress()).prop_map(|(who, to, flags, dress)| Step::Client { who, to, flags, dress }),
        12 => (any::<usize>(), flags(), dress()).prop_map(|(which, flags, dress)| Step::Reply { which, flags, dress }),
        8 => (who.clone(), to.clone()).prop_map(|(who, to)| Step::Handshake { who, to }),
        2 => (who, to, 10..40_u16).prop_map(|(who, to, size)| Step::Crowd { who, to, size }),
        2 => prop::collection::vec(any::<u8>(), 14..120).prop_map(Step::Noise),
        2 => wait().prop_map(Step::Wait),
        1 => (0..4_usize, any::<u8>()).prop_map(|(which, mac)| Step::NextHop(which, mac)),
        1 => Just(Step::Tidy),
    ]
}

/// A moment, or just about an idle time: still alive, expired, or a tick later.
fn wait() -> impl Strategy<Value = u16> {
    const TIMES: IdleTimes = IdleTimes::DEFAULT;
    let time = prop::sample::select(vec![TIMES.opening, TIMES.closing, TIMES.tcp_established, TIMES.udp_established]);
    prop_oneof![0..10_u16, (time, 0..4_u16).prop_map(|(time, more)| time + more)]
}

/// Where a client speaks from; the last ones claim to be us.
fn from(who: u16) -> SocketAddrV4 {
    match who {
        78 => SocketAddrV4::new(NAT[0], 20_001),
        79 => SocketAddrV4::new(WALKTHROUGH, 5_000),
        _ => client(who),
    }
}

/// Steps, and changes of configuration between them; those take long, so there are few.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = || prop::collection::vec(step(), 1..60);
    let change = prop_oneof![3 => Just(None), 1 => (0..4_usize).prop_map(Some)];
    (part(), change, part()).prop_map(|(mut steps, change, more)| {
        steps.extend(change.map(Step::Apply));
        steps.extend(more);
        steps
    })
}

/// Both planes, in the same state.
struct Twins {
    kernel: Balancer<XdpPlane>,
    native: Balancer<Native>,
    configs: Vec<Config>,
    applied: usize,
    services: Vec<(Protocol, SocketAddrV4)>,
    connections: Vec<Connection>,
}

/// The clock moved while the program ran, so that nobody knows which time it saw.
struct Moved;

type Played = Result<Result<(), Moved>, TestCaseError>;

const BACKENDS: [Ipv4Addr; 4] =
    [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 0, 0, 2), LOST_BACKEND];

impl Twins {
    fn new(setup: &Setup, services: &[(Protocol, SocketAddrV4)]) -> Option<Self> {
        let kernel = load(setup)?;
        let native = Native::new(*kernel.settings(), &setup.config.nat.addresses, setup.sizes().backends);
        let mut twins = Self {
            kernel: Balancer::new(kernel, &SECRETS),
            native: Balancer::new(native, &SECRETS),
            configs: variants(&setup.config),
            applied: 0,
            services: services.to_vec(),
            connections: Vec::new(),
        };
        twins.apply(0);
        Some(twins)
    }

    fn apply(&mut self, which: usize) {
        self.applied = which % self.configs.len();
        let config = &self.configs[self.applied];
        self.kernel.apply(config).unwrap();
        self.native.apply(config).unwrap();
        for address in self.native.backend_addresses() {
            if address != LOST_BACKEND {
                self.set_next_hop(address, backend_mac(address));
            }
        }
    }

    fn set_next_hop(&mut self, address: Ipv4Addr, mac: [u8; 6]) {
        let hop = NextHop { address, mac: MacAddress(mac) };
        self.kernel.set_next_hop(hop).unwrap();
        self.native.set_next_hop(hop).unwrap();
    }

    /// As if nothing had ever been sent.
    fn forget(&mut self) {
        table::clear(self.kernel.plane().flow_table());
        table::clear(self.native.plane().flow_table());
        self.connections.clear();
        if self.applied != 0 {
            self.apply(0);
        }
        for address in BACKENDS {
            let mac = if address == LOST_BACKEND { [0; 6] } else { backend_mac(address) };
            self.set_next_hop(address, mac);
        }
        self.kernel.tidy().unwrap();
        self.native.tidy().unwrap();
    }

    /// Plays the steps on both planes.
    fn play(&mut self, steps: &[Step]) -> Played {
        self.forget();
        let before = (self.counted(), self.carried());
        for step in steps {
            if let Err(Moved) = self.take(step)? {
                return Ok(Err(Moved));
            }
            let (kernel, native) = self.counted();
            prop_assert_eq!(
                since(&kernel, &before.0.0),
                since(&native, &before.0.1),
                "counters (left: BPF) after {:?}",
                step
            );
        }
        let tables = [self.kernel.plane().flow_table(), self.native.plane().flow_table()].map(table::words);
        for (place, (kernel, native)) in tables[0].iter().zip(&tables[1]).enumerate() {
            prop_assert_eq!(kernel, native, "entry {} of the flow table (left: BPF)", place);
        }
        for ((kernel, native), (kernel_before, native_before)) in self.carried().iter().zip(&before.1) {
            prop_assert_eq!(carried_since(kernel, kernel_before), carried_since(native, native_before));
        }
        Ok(Ok(()))
    }

    fn now(&self) -> Tick {
        self.kernel.plane().now().unwrap()
    }

    fn counted(&self) -> (Counters, Counters) {
        (self.kernel.plane().counters().unwrap(), self.native.plane().counters().unwrap())
    }

    fn carried(&self) -> Vec<(Traffic, Traffic)> {
        let traffic =
            |index| (self.kernel.plane().traffic(index).unwrap(), self.native.plane().traffic(index).unwrap());
        (0..16).map(traffic).collect()
    }

    fn take(&mut self, step: &Step) -> Played {
        match step {
            Step::Client { who, to, flags, dress } => {
                let (protocol, to) = self.services[to % self.services.len()];
                let draft = match (protocol, flags) {
                    // Now and then something else.
                    (_, 0) => echo(*from(*who).ip(), *to.ip()),
                    (Protocol::Tcp, _) => tcp(from(*who), to, *flags),
                    (Protocol::Udp, _) => udp(from(*who), to),
                };
                self.send(&dress.on(draft))
            }
            Step::Reply { which, flags, dress } => {
                if self.connections.is_empty() {
                    return Ok(Ok(()));
                }
                let connection = self.connections[which % self.connections.len()];
                self.send(&dress.on(connection.answers(*flags)))
            }
            Step::Handshake { who, to } => self.handshake(client(*who), *to),
            Step::Crowd { who, to, size } => {
                for n in *who..who + size {
                    if let Err(Moved) = self.handshake(client(1000 + n), *to)? {
                        return Ok(Err(Moved));
                    }
                }
                Ok(Ok(()))
            }
            Step::Noise(bytes) => self.send(bytes),
            Step::Wait(ticks) => {
                table::age(self.kernel.plane().flow_table(), *ticks);
                table::age(self.native.plane().flow_table(), *ticks);
                Ok(Ok(()))
            }
            Step::Apply(which) => {
                self.apply(*which);
                Ok(Ok(()))
            }
            Step::NextHop(which, last) => {
                self.set_next_hop(BACKENDS[*which], [2, 0, 1, 9, 9, *last]);
                Ok(Ok(()))
            }
            Step::Tidy => {
                let now = self.now();
                self.native.plane().set_now(now);
                self.kernel.tidy().unwrap();
                self.native.tidy().unwrap();
                Ok(if self.now() == now { Ok(()) } else { Err(Moved) })
            }
        }
    }

    fn handshake(&mut self, client: SocketAddrV4, to: usize) -> Played {
        let (protocol, to) = self.services[to % self.services.len()];
        let opened = self.connections.len();
        let first = match protocol {
            Protocol::Tcp => tcp(client, to, SYN),
            Protocol::Udp => udp(client, to),
        };
        if let Err(Moved) = self.send(&first.bytes())? {
            return Ok(Err(Moved));
        }
        let Some(&connection) = self.connections.get(opened) else { return Ok(Ok(())) };
        if let Err(Moved) = self.send(&connection.answers(SYN | ACK).bytes())? {
            return Ok(Err(Moved));
        }
        self.send(&connection.says(ACK).bytes())
    }

    /// A packet through both.
    fn send(&mut self, packet: &[u8]) -> Played {
        let now = self.now();
        let (verdict, bytes) = run(self.kernel.plane(), packet);
        if self.now() != now {
            return Ok(Err(Moved));
        }
        let mut native_bytes = packet.to_vec();
        let reason = self.native.plane().process(&mut native_bytes, now);
        prop_assert_eq!(verdict, action(reason.verdict()), "{}: {:02x?}", reason.name(), packet);
        prop_assert_eq!(&bytes, &native_bytes, "{} (left: BPF): {:02x?}", reason.name(), packet);
        if reason == Reason::ToBackend
            && let (Some(input), Some(output)) = (Parsed::of(packet), Parsed::of(&bytes))
        {
            self.connections.push(Connection {
                protocol: if packet_is_udp(&input) { Protocol::Udp } else { Protocol::Tcp },
                client: input.source(),
                client_mac: input.ethernet.source,
                service: input.destination(),
                nat: output.source(),
                backend: output.destination(),
            });
        }
        Ok(Ok(()))
    }
}

fn packet_is_udp(packet: &Parsed) -> bool {
    packet.ip.protocol == etherparse::IpNumber::UDP
}

impl Dress {
    fn on(&self, draft: Draft) -> Vec<u8> {
        let mut draft = draft
            .ttl(self.ttl)
            .traffic_class(self.dscp, self.dscp & 3)
            .options(&vec![1; self.options * 4])
            .payload(&vec![self.dscp; self.size])
            .fragment(self.fragment.0, self.fragment.1)
            .source_mac([2, 0, 0, 0, 0, self.mac + 1]);
        for tag in 0..self.tags {
            draft = draft.tag(if tag == 0 { 0x88a8 } else { 0x8100 }, 7);
        }
        let mut bytes = draft.bytes();
        for &(at, flip) in &self.faults {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
        }
        // The kernel tries no frame that is shorter than its Ethernet header.
        bytes.truncate(bytes.len().saturating_sub(self.cut).max(14));
        bytes
    }
}

fn since(after: &Counters, before: &Counters) -> (Vec<u64>, Vec<u64>) {
    let difference = |after: &[u64], before: &[u64]| after.iter().zip(before).map(|(a, b)| a - b).collect();
    (difference(&after.verdicts, &before.verdicts), difference(&after.events, &before.events))
}

fn carried_since(after: &Traffic, before: &Traffic) -> [u64; 4] {
    [
        after.client_packets - before.client_packets,
        after.client_bytes - before.client_bytes,
        after.backend_packets - before.backend_packets,
        after.backend_bytes - before.backend_bytes,
    ]
}

/// The configuration, and what an operator may make of it.
fn variants(config: &Config) -> Vec<Config> {
    let mut weights = config.clone();
    weights.services.iter_mut().flat_map(|service| &mut service.backends).for_each(|backend| backend.weight = 2);
    let mut fewer = config.clone();
    for service in &mut fewer.services {
        service.backends.pop();
    }
    let mut none = config.clone();
    none.services.truncate(1);
    vec![config.clone(), weights, fewer, none]
}

/// As many sequences as `EVENKEEL_CASES` says.
fn assert_equal(setup: &Setup, services: &[(Protocol, SocketAddrV4)]) {
    let Some(twins) = Twins::new(setup, services) else { return };
    let twins = RefCell::new(twins);
    let cases = std::env::var("EVENKEEL_CASES").map_or(200, |cases| cases.parse().expect("EVENKEEL_CASES is a number"));
    let effort = Effort { cases, failure_persistence: None, max_shrink_iters: 2000, ..Effort::default() };
    let outcome = TestRunner::new(effort).run(&steps(), |steps| {
        // A second has room for hundreds of sequences, so the next try meets no change of the clock.
        while let Err(Moved) = twins.borrow_mut().play(&steps)? {}
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}\nIs build/evenkeel.bpf.o older than the core? `scripts/build-bpf.sh` builds it.");
    }
    let counted = twins.borrow().kernel.plane().counters().unwrap();
    let given = Reason::ALL.iter().filter(|&&reason| counted.verdicts[reason as usize] > 0).map(|reason| reason.name());
    println!("reasons met: {}", given.collect::<Vec<_>>().join(", "));
}

#[test]
fn the_walkthrough_in_a_table_that_is_soon_full() {
    let any = |port| SocketAddrV4::new(WALKTHROUGH, port);
    let services = [(Protocol::Tcp, any(80)), (Protocol::Udp, any(53)), (Protocol::Tcp, end([10, 0, 0, 2], 80))];
    assert_equal(&Setup::new(evenkeel_control::walkthrough(), 1), &services);
}

const RICH: &[(Protocol, SocketAddrV4)] = &[
    (Protocol::Tcp, WEB),
    (Protocol::Tcp, STICKY),
    (Protocol::Udp, DNS),
    (Protocol::Udp, ANY),
    (Protocol::Tcp, EMPTY),
    (Protocol::Tcp, LOST),
    (Protocol::Tcp, SocketAddrV4::new(NAT[0], 20_001)),
];

#[test]
fn every_kind_of_service_with_room() {
    assert_equal(&Setup::new(scenes::rich(), 1024), RICH);
}

#[test]
fn every_kind_of_service_with_few_ports_and_little_room() {
    let mut config = scenes::rich();
    config.nat.ports = (20_000, 20_002);
    assert_equal(&Setup::new(config, 1), RICH);
}
