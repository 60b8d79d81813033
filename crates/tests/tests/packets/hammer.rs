//! Several CPUs in the core at once, and what must be true of the flow table when they are done.

use evenkeel_control::Plane;
use evenkeel_control::config::{Protocol, Unserved};
use evenkeel_core::flow::{IdleTimes, Tick};
use evenkeel_core::{Event, Reason, Verdict};
use evenkeel_packets::{ACK, CLIENT_MAC, FIN, Packet, RST, SYN, tcp};
use evenkeel_tests::on_both_planes;
use evenkeel_tests::program::scenes::{WEB, client};
use evenkeel_tests::program::{Connection, On, PlaneUnderTest, Setup, pin, scenes, table, trial, xdp};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// Numbers that look random and are the same every time (Marsaglia, "Xorshift RNGs", 2003).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What a client's packet that came to this queue opened or followed.
fn to_backend(plane: &PlaneUnderTest, queue: usize, client: SocketAddr, flags: u8) -> Option<Connection> {
    let sent = Packet::of(&plane.run(queue, &tcp(client, WEB, flags).bytes()).sent?).unwrap();
    let (nat, backend) = (sent.source(), sent.destination());
    Some(Connection { protocol: Protocol::Tcp, client, client_mac: CLIENT_MAC, service: WEB, nat, backend })
}

fn assert_is_sound(plane: &PlaneUnderTest) {
    let violations = table::violations(plane);
    assert!(
        violations.is_empty(),
        "{} violations, such as {:#?}",
        violations.len(),
        &violations[..violations.len().min(5)]
    );
}

fn the_same_syn_on_two_cpus_opens_one_connection(on: On) {
    // So large that no bucket has more of these entries than places.
    trial(on, Setup { queues: 2, ..Setup::new(scenes::rich(), 65_536) }, |rig| {
        const CLIENTS: u16 = 4000;
        // So many clients, one after the other, for which both set out at once: waiting for one another takes long on a
        // machine that has other things to do.
        const HEAT: u16 = 16;
        let plane = rig.plane();
        let arrived = AtomicUsize::new(0);
        let seen: Vec<Vec<_>> = thread::scope(|scope| {
            let cpus = [0, 1].map(|cpu| {
                let arrived = &arrived;
                scope.spawn(move || {
                    pin(cpu);
                    let race = |n: u16| {
                        if n.is_multiple_of(HEAT) {
                            arrived.fetch_add(1, SeqCst);
                            // Awake, as long as the other one may have a CPU of its own.
                            let both = || arrived.load(SeqCst) >= 2 * usize::from(n / HEAT + 1);
                            if !(0..1000).any(|_| both()) {
                                while !both() {
                                    thread::yield_now();
                                }
                            }
                        }
                        to_backend(plane, cpu, client(n), SYN)
                    };
                    (0..CLIENTS).map(race).collect()
                })
            });
            cpus.map(|cpu| cpu.join().unwrap()).into()
        });
        for (one, other) in seen[0].iter().zip(&seen[1]) {
            // One of them may have been told to try again, or even both.
            if let (Some(one), Some(other)) = (one, other) {
                assert_eq!(one, other, "one client, two connections");
            }
        }
        assert_is_sound(plane);
        let contended = rig.counters().verdicts[Reason::FlowContended as usize];
        for n in 0..CLIENTS {
            let again = to_backend(rig.plane(), 0, client(n), SYN).expect("nobody is in the way any more");
            let before = seen[0][usize::from(n)].or(seen[1][usize::from(n)]);
            assert!(before.is_none_or(|before| before == again), "{before:?} has become {again:?}");
        }
        assert_eq!(rig.counters().events[Event::FlowOpened as usize], u64::from(CLIENTS));
        assert_eq!(table::entries(rig.plane()).len(), 2 * usize::from(CLIENTS));
        println!("{contended} of {} SYNs were told to try again", 2 * CLIENTS);
    });
}

/// Everything at once: handshakes, data, FIN, RST and floods on the same few clients, in a table with no room, for few
/// NAT ports, while the control side sweeps. Between the rounds time goes by, so that all this meets what is over, too.
fn whatever_two_cpus_do_the_table_stays_sound(on: On) {
    for (ports, flows) in [((20_000, 20_040), 1), ((20_000, 39_999), 1), ((20_000, 20_005), 256)] {
        let config = scenes::one_backend(scenes::few_ports(ports.0, ports.1));
        trial(on, Setup { queues: THREADS, ..Setup::new(config, flows) }, |rig| {
            let plane = rig.plane();
            let known: Vec<_> = (0..CLIENTS).map(|_| Mutex::new(None)).collect();
            for round in 0..ROUNDS {
                thread::scope(|scope| {
                    for thread in 0..THREADS {
                        let known = &known;
                        scope.spawn(move || {
                            pin(thread);
                            let seed = 0x9e37_79b9_7f4a_7c15 + (round * THREADS + thread) as u64;
                            (0..PACKETS).fold(Xorshift(seed), |random, _| anything(plane, thread, known, random));
                        });
                    }
                });
                assert_is_sound(plane);
                let idle =
                    [IdleTimes::DEFAULT.opening, IdleTimes::DEFAULT.established].map(|time| Tick::span(time) + 1);
                let idle = [0, idle[0], idle[1]];
                table::age(plane.flow_table(), idle[round % idle.len()]);
            }
            let counters = rig.counters();
            let count = |reason: Reason| counters.verdicts[reason as usize];
            assert_eq!(counters.verdicts.iter().sum::<u64>(), (ROUNDS * THREADS * PACKETS) as u64);
            println!(
                "opened {}, contended {}, full {}, no port {}, evicted {}",
                counters.events[Event::FlowOpened as usize],
                count(Reason::FlowContended),
                count(Reason::FlowTableFull),
                count(Reason::NatPortsExhausted),
                counters.events[Event::HalfOpenEvicted as usize]
            );
        });
    }
}

const ROUNDS: usize = 12;
const THREADS: usize = 4;
const PACKETS: usize = 3_000;
const CLIENTS: u16 = 60;

/// One packet that fits what is known of one of the clients' connections, or does not.
fn anything(
    plane: &PlaneUnderTest,
    queue: usize,
    known: &[Mutex<Option<Connection>>],
    mut random: Xorshift,
) -> Xorshift {
    let n = random.below(known.len() as u64) as u16;
    let place = &known[usize::from(n)];
    let connection = *place.lock().unwrap();
    let packet = match (random.below(16), connection) {
        (0, _) => {
            // The control side is at work as well.
            if random.below(64) == 0 {
                plane.sweep_flows().unwrap();
            }
            tcp(client(CLIENTS + random.below(4000) as u16), WEB, SYN)
        }
        (1..4, _) | (_, None) => {
            let opened = to_backend(plane, queue, client(n), SYN);
            if opened.is_some() {
                *place.lock().unwrap() = opened;
            }
            return random;
        }
        (4..7, Some(known)) => known.answers(SYN | ACK),
        (7..11, Some(known)) => known.says(ACK),
        (11, Some(known)) => known.says(FIN | ACK),
        (12, Some(known)) => known.answers(FIN | ACK),
        (13, Some(known)) => known.answers(RST),
        (_, Some(known)) => known.answers(ACK),
    };
    plane.run(queue, &packet.bytes());
    random
}

fn a_flood_from_two_cpus_harms_no_connection(on: On) {
    trial(on, Setup { queues: 2, ..Setup::new(scenes::one_backend(scenes::rich()), 1) }, |rig| {
        let connections: Vec<_> = (0..25).map(|n| rig.establish(Protocol::Tcp, client(n), WEB)).collect();
        let plane = rig.plane();
        thread::scope(|scope| {
            for cpu in 0..2_u16 {
                scope.spawn(move || {
                    pin(cpu.into());
                    (0..20_000).for_each(|n| {
                        to_backend(plane, cpu.into(), client(100 + n * 2 + cpu), SYN);
                    });
                });
            }
        });
        assert_is_sound(plane);
        connections.iter().for_each(|connection| rig.assert_works(connection));
    });
}

/// Lets a packet that is not sent come to this queue so often.
fn repeat(plane: &PlaneUnderTest, queue: usize, packet: &[u8], times: u32) {
    match plane {
        // A test run that is repeated gets the packet as the last turn left it, which is as it came.
        PlaneUnderTest::Xdp(plane) => {
            let (verdict, _) = xdp::test_run(plane.program().unwrap(), packet, None, times).unwrap();
            assert_ne!(verdict, Verdict::Transmit);
        }
        PlaneUnderTest::Dpdk(dpdk) => {
            let mut lane = dpdk.lane(queue);
            for _ in 0..times {
                while !dpdk.inlet(queue).offer(packet) {
                    lane.poll();
                }
            }
            while lane.poll() {}
            assert_eq!(lane.sent(), [[0; 0]; 0]);
        }
    }
}

fn a_million_refusals_leave_nothing_behind(on: On) {
    let mut config = scenes::one_backend(scenes::few_ports(20_000, 20_003));
    config.dataplane.unserved = Unserved::Drop;
    trial(on, Setup { queues: 2, ..Setup::new(config, 64) }, |rig| {
        let connections: Vec<_> = (0..4).map(|n| rig.establish(Protocol::Tcp, client(n), WEB)).collect();
        let before = table::words(rig.plane().flow_table());
        let plane = rig.plane();
        let packets = [
            (tcp(client(9), WEB, SYN), Reason::NatPortsExhausted),
            (tcp(client(9), WEB, ACK), Reason::FlowMissing),
            (tcp(client(1), WEB, ACK).ttl(1), Reason::TtlExpired),
        ];
        const REPEAT: u32 = 150_000;
        thread::scope(|scope| {
            for cpu in 0..2 {
                let packets = &packets;
                scope.spawn(move || {
                    pin(cpu);
                    for (packet, _) in packets {
                        repeat(plane, cpu, &packet.bytes(), REPEAT);
                    }
                });
            }
        });
        let verdicts = rig.counters().verdicts;
        packets.iter().for_each(|(_, reason)| assert_eq!(verdicts[*reason as usize], 2 * u64::from(REPEAT)));
        // A place's count of uses goes up when it is claimed; here nothing was.
        assert!(before == table::words(rig.plane().flow_table()), "the table has changed");
        connections.iter().for_each(|connection| rig.assert_works(connection));
    });
}

on_both_planes!(
    the_same_syn_on_two_cpus_opens_one_connection,
    whatever_two_cpus_do_the_table_stays_sound,
    a_flood_from_two_cpus_harms_no_connection,
    a_million_refusals_leave_nothing_behind,
);
