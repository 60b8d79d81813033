//! Same in, same out: the same packets through the BPF object and through a DPDK worker give the same verdicts, bytes and
//! counters, and leave the same flow tables, word by word; also if they come to DPDK in bursts.

use evenkeel_control::Config;
use evenkeel_control::config::Protocol;
use evenkeel_core::Reason;
use evenkeel_core::flow::{IdleTimes, Tick};
use evenkeel_packets::{ACK, Draft, FIN, Packet, RST, SYN, Transport, at, echo, end, tcp, udp};
use evenkeel_tests::program::scenes::{
    ANY, DNS, EMPTY, LIMITED, LOST, LOST_BACKEND, NAT, REFUSING, STICKY, WALKTHROUGH, WEB, client,
};
use evenkeel_tests::program::{Connection, Difference, Setup, Twins, scenes, with_twins};
use proptest::prelude::*;
use proptest::test_runner::{Config as Effort, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

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

/// The idle times, in ticks.
const TIMES: [u16; 7] = [
    Tick::span(IdleTimes::DEFAULT.opening),
    Tick::span(IdleTimes::DEFAULT.closing),
    Tick::span(IdleTimes::DEFAULT.half_closed),
    Tick::span(IdleTimes::DEFAULT.established),
    Tick::span(IdleTimes::DEFAULT.udp_opening),
    Tick::span(IdleTimes::DEFAULT.udp_answered),
    Tick::span(IdleTimes::DEFAULT.udp_established),
];

/// A moment, or just about an idle time: still alive, expired, or a tick later.
fn wait() -> impl Strategy<Value = u16> {
    let time = prop::sample::select(TIMES.to_vec());
    prop_oneof![0..10_u16, (time, 0..4_u16).prop_map(|(time, more)| time + more)]
}

/// Where a client speaks from; the last ones claim to be us.
fn from(who: u16) -> SocketAddr {
    match who {
        78 => at(NAT[0], 20_001),
        79 => at(WALKTHROUGH, 5_000),
        _ => client(who),
    }
}

/// What happens, one thing after the other, and how many packets come to DPDK at once.
type Sequence = (Vec<Step>, usize);

/// Steps, and changes of configuration between them; those take long, so there are few: for each table that is replaced
/// the kernel waits until no CPU looks at the old one.
fn sequences() -> impl Strategy<Value = Sequence> {
    let burst = prop_oneof![1 => Just(1), 2 => 2..64_usize];
    let part = || prop::collection::vec(step(), 1..60);
    let change = prop_oneof![7 => Just(None), 1 => (0..4_usize).prop_map(Some)];
    (part(), change, part(), burst).prop_map(|(mut steps, change, more, burst)| {
        steps.extend(change.map(Step::Apply));
        steps.extend(more);
        (steps, burst)
    })
}

/// What chance would hardly come upon: chiefly packets of one flow that come in one burst, where each is looked at before
/// the one in front of it is decided on.
fn made_by_hand() -> Vec<(&'static str, Vec<Step>)> {
    let says = |flags| Step::Client { who: 1, to: 0, flags, dress: Dress::plain() };
    let answers = |flags| Step::Reply { which: 0, flags, dress: Dress::plain() };
    let life = || vec![says(SYN), answers(SYN | ACK), says(ACK), answers(ACK), says(FIN | ACK), answers(FIN | ACK)];
    let open = || Step::Handshake { who: 1, to: 0 };
    let around = |time: u16| (time - 1..time + 4).map(Step::Wait);
    let over = |time| around(time).flat_map(move |wait| [open(), wait, says(ACK), answers(ACK), says(SYN)]);
    vec![
        ("a connection from SYN to FIN", life()),
        ("a SYN that comes again and again", [vec![says(SYN); 20], vec![answers(SYN | ACK); 20]].concat()),
        ("a port that is used again at once", [life(), life(), life()].concat()),
        ("a reset in the middle", vec![open(), says(RST), says(ACK), answers(ACK), says(SYN), answers(SYN | ACK)]),
        ("every idle time, just before and just after", { TIMES.into_iter().flat_map(over).collect() }),
        ("a backend goes, its connection does not, and its place is given away in the end", {
            let go = [Step::Apply(2), answers(ACK), says(ACK), Step::Tidy, says(ACK)];
            let end = [
                Step::Wait(Tick::span(IdleTimes::DEFAULT.established) + 2),
                Step::Tidy,
                says(ACK),
                says(SYN),
                Step::Apply(0),
                open(),
            ];
            [&[open()], &go[..], &end[..]].concat()
        }),
        ("more clients than there is room for, and their backends", {
            let crowd = (0..8).map(|n| Step::Crowd { who: n * 40, to: 0, size: 40 });
            crowd.flat_map(|crowd| [crowd, answers(ACK), says(ACK)]).collect()
        }),
        ("services that are none", {
            let all = (0..16).map(|to| Step::Handshake { who: 1, to });
            all.chain((0..16).map(|to| Step::Client { who: 2, to, flags: 0, dress: Dress::plain() })).collect()
        }),
    ]
}

const BACKENDS: [Ipv4Addr; 4] =
    [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 0, 0, 2), LOST_BACKEND];

/// What the steps act on.
struct Stage<'t, 'a, 'p> {
    twins: &'t mut Twins<'a, 'p>,
    configs: &'t [Config],
    services: &'t [(Protocol, SocketAddr)],
    /// What was opened so far, and opened again.
    connections: Vec<Connection>,
}

impl Stage<'_, '_, '_> {
    fn take(&mut self, step: &Step) -> Result<(), Difference> {
        match step {
            Step::Client { who, to, flags, dress } => {
                let (protocol, to) = self.services[to % self.services.len()];
                let draft = match (protocol, flags) {
                    // Now and then something else.
                    (_, 0) => echo(from(*who).ip(), to.ip()),
                    (Protocol::Tcp, _) => tcp(from(*who), to, *flags),
                    (Protocol::Udp, _) => udp(from(*who), to),
                };
                self.send(&dress.on(draft))
            }
            Step::Reply { which, flags, dress } => {
                let Some(place) = which.checked_rem(self.connections.len()) else { return Ok(()) };
                self.send(&dress.on(self.connections[place].answers(*flags)))
            }
            Step::Handshake { who, to } => self.handshake(client(*who), *to),
            Step::Crowd { who, to, size } => (*who..who + size).try_for_each(|n| self.handshake(client(1000 + n), *to)),
            Step::Noise(bytes) => self.send(bytes),
            Step::Wait(ticks) => self.twins.wait(*ticks),
            Step::Apply(which) => self.twins.apply(&self.configs[which % self.configs.len()]),
            Step::NextHop(which, last) => self.twins.set_next_hop(BACKENDS[*which].into(), [2, 0, 1, 9, 9, *last]),
            Step::Tidy => self.twins.tidy(),
        }
    }

    fn handshake(&mut self, client: SocketAddr, to: usize) -> Result<(), Difference> {
        let (protocol, to) = self.services[to % self.services.len()];
        let opened = self.connections.len();
        let first = match protocol {
            Protocol::Tcp => tcp(client, to, SYN),
            Protocol::Udp => udp(client, to),
        };
        self.send(&first.bytes())?;
        let Some(&connection) = self.connections.get(opened) else { return Ok(()) };
        self.send(&connection.answers(SYN | ACK).bytes())?;
        self.send(&connection.says(ACK).bytes())
    }

    fn send(&mut self, packet: &[u8]) -> Result<(), Difference> {
        let outcome = self.twins.send(packet)?;
        if outcome.reason == Reason::ToBackend
            && let (Some(input), Some(output)) = (Packet::of(packet), Packet::of(&outcome.sent))
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
        Ok(())
    }
}

fn packet_is_udp(packet: &Packet) -> bool {
    matches!(packet.transport, Transport::Udp(_))
}

impl Dress {
    fn plain() -> Self {
        let faults = Vec::new();
        Self { mac: 0, tags: 0, options: 0, ttl: 64, dscp: 0, fragment: (0, false), size: 8, faults, cut: 0 }
    }

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

/// Sequences for each of these tests, if `EVENKEEL_CASES` does not say another number; ten thousand together.
const CASES: u32 = 3_400;
const ADVICE: &str = "\nIs build/evenkeel.bpf.o older than the core? `scripts/build-bpf.sh` builds it.";
/// Pairs of planes that these are shared out among.
const PAIRS: u32 = 2;

fn assert_equal(setup: &Setup, services: &[(Protocol, SocketAddr)]) {
    let cases = std::env::var("EVENKEEL_CASES");
    let cases = cases.map_or(CASES, |cases| cases.parse().expect("EVENKEEL_CASES is a number"));
    thread::scope(|scope| {
        for _ in 0..PAIRS {
            scope.spawn(|| with_twins(setup, |twins| play_many(twins, &setup.config, services, cases.div_ceil(PAIRS))));
        }
    });
}

fn play(
    twins: &mut Twins,
    configs: &[Config],
    services: &[(Protocol, SocketAddr)],
    (steps, burst): &Sequence,
) -> Result<(), Difference> {
    twins.play(*burst, |twins| {
        let mut stage = Stage { twins, configs, services, connections: Vec::new() };
        steps.iter().try_for_each(|step| stage.take(step))
    })
}

fn play_many(twins: &mut Twins, config: &Config, services: &[(Protocol, SocketAddr)], cases: u32) {
    let effort = Effort { cases, failure_persistence: None, max_shrink_iters: 2000, ..Effort::default() };
    let configs = variants(config);
    for (name, steps) in made_by_hand() {
        for burst in [1, 2, 7, 32, 64] {
            let result = play(twins, &configs, services, &(steps.clone(), burst));
            result.unwrap_or_else(|difference| panic!("{name}, {burst} at once: {difference}{ADVICE}"));
        }
    }
    let twins = RefCell::new(twins);
    let outcome = TestRunner::new(effort).run(&sequences(), |sequence| {
        play(&mut twins.borrow_mut(), &configs, services, &sequence).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}{ADVICE}");
    }
    let counted = twins.borrow().counters();
    let met = Reason::ALL.iter().filter(|&&reason| counted.verdicts[reason as usize] > 0);
    println!("reasons met: {}", met.map(|reason| reason.name()).collect::<Vec<_>>().join(", "));
}

#[test]
fn the_walkthrough_in_a_table_that_is_soon_full() {
    let any = |port| at(WALKTHROUGH, port);
    let services = [(Protocol::Tcp, any(80)), (Protocol::Udp, any(53)), (Protocol::Tcp, end([10, 0, 0, 2], 80))];
    assert_equal(&Setup::new(evenkeel_control::walkthrough(), 1), &services);
}

const RICH: &[(Protocol, SocketAddr)] = &[
    (Protocol::Tcp, WEB),
    (Protocol::Tcp, STICKY),
    (Protocol::Udp, DNS),
    (Protocol::Udp, ANY),
    (Protocol::Tcp, EMPTY),
    (Protocol::Tcp, REFUSING),
    (Protocol::Tcp, LIMITED),
    (Protocol::Tcp, LOST),
    (Protocol::Tcp, end(NAT[0].octets(), 20_001)),
    // For nobody.
    (Protocol::Udp, WEB),
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
