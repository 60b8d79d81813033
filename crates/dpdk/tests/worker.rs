//! The loop on a real EAL, over rings: what it keeps, what it hands to the host, what it frees. Every test ends with all
//! mbufs back in their pool. (What becomes of packets that are balanced is the whole's tests to say, on every plane.)
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

mod support;

use etherparse::PacketBuilder;
use evenkeel_control::{Balancer, NextHop, Plane, Secrets, Sizes, walkthrough};
use evenkeel_core::flow::{IdleTimes, Now, Tick, Timeouts};
use evenkeel_core::{Event, Features, Reason};
use evenkeel_dpdk::host::Heard;
use evenkeel_dpdk::{Burst, DpdkPlane, HostLink, IdlePolicy, Pool, Port, Ring, Tables, Worker};
use evenkeel_wire::MacAddress;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use support::eal;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BACKENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)];
const SECRETS: Secrets = Secrets { pick: [1, 2], flow: [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d] };

/// The walk-through's balancer on a port over rings, with a host's ends of its link.
struct Bench<'a, 'p> {
    balancer: Balancer<DpdkPlane>,
    worker: Worker<'a, 'p>,
    pool: &'p Pool<'p>,
    wire: &'a [Arc<Ring<'p>>],
    to_host: &'a Ring<'p>,
    from_host: &'a Ring<'p>,
    woken: &'a AtomicUsize,
    now: Now,
}

fn bench(test: impl FnOnce(&mut Bench<'_, '_>)) {
    let config = walkthrough();
    let sizes = Sizes { flows: 1024, wide_flows: 0, backends: 16, services: 4, addresses: 4 };
    let settings = sizes.settings(&config, &SECRETS, MacAddress(OURS), IdleTimes::DEFAULT);
    let tables = Arc::new(Tables::new(sizes, settings, &config.nat.addresses, 1).unwrap());
    let mut balancer = Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &SECRETS);
    balancer.apply(&config).unwrap();
    let pool = Pool::new(eal(), 1024).unwrap();
    {
        let wire: Vec<_> = (0..2).map(|_| Arc::new(Ring::new(eal(), 512).unwrap())).collect();
        let (to_host, from_host) = (Ring::new(eal(), 8).unwrap(), Ring::new(eal(), 8).unwrap());
        let woken = AtomicUsize::new(0);
        let wake = || {
            woken.fetch_add(1, Relaxed);
        };
        let mut port = Port::over_rings(eal(), &wire[..1], &wire[1..], &pool).unwrap();
        let host = HostLink { to_host: &to_host, from_host: Some(&from_host), wake: &wake };
        let worker = Worker::new(port.queues().pop().unwrap(), &tables, 0, Some(host));
        test(&mut Bench {
            balancer,
            worker,
            pool: &pool,
            wire: &wire,
            to_host: &to_host,
            from_host: &from_host,
            woken: &woken,
            now: Now::at(Tick(1000)),
        });
    }
    assert_eq!(pool.in_use(), 0, "an mbuf has leaked");
}

impl Bench<'_, '_> {
    fn arrives(&mut self, frame: &[u8]) {
        self.wire[0].put(self.pool.mbuf(frame).unwrap()).unwrap();
    }

    fn poll(&mut self) -> bool {
        let now = self.now;
        self.worker.poll(|| now)
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        taken(&self.wire[1])
    }

    fn resolve(&mut self, backend: Ipv4Addr) {
        let mac = MacAddress([2, 0, 1, 0, 0, backend.octets()[3]]);
        self.balancer.set_next_hop(NextHop { address: backend.into(), mac }).unwrap();
    }

    fn counted(&self, reason: Reason) -> u64 {
        self.balancer.plane().counters().unwrap().verdicts[reason as usize]
    }

    fn happened(&self, event: Event) -> u64 {
        self.balancer.plane().counters().unwrap().events[event as usize]
    }
}

fn taken(ring: &Ring<'_>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut burst = Burst::new();
        ring.take(&mut burst);
        if burst.is_empty() {
            return all;
        }
        all.extend(burst.iter().map(|packet| packet.to_vec()));
    }
}

/// A client's SYN, from this port.
fn syn(port: u16) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(CLIENT, OURS).ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64).tcp(port, 80, 1, 1024).syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame
}

fn arp_request() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &CLIENT, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([&CLIENT[..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 10]].concat());
    frame
}

#[test]
fn a_poll_says_whether_there_was_anything_to_do() {
    bench(|bench| {
        assert!(!bench.poll());
        bench.arrives(b"x");
        assert!(bench.poll());
        assert!(!bench.poll());
        assert_eq!(bench.counted(Reason::Truncated), 1);
    });
}

#[test]
fn the_first_packets_for_a_backend_wait_for_its_ethernet_address_and_leave_in_their_order() {
    bench(|bench| {
        (0..40).for_each(|port| bench.arrives(&syn(40_000 + port)));
        while bench.poll() {}
        assert_eq!(bench.sent(), [[0_u8; 0]; 0]);
        assert_eq!(bench.happened(Event::HeldForNeighbour), 40);
        assert_eq!(bench.happened(Event::FlowOpened), 0, "nothing is remembered for what has not been sent");

        // Those for the other backend wait on.
        bench.resolve(BACKENDS[0]);
        bench.poll();
        let first = bench.sent();
        assert!(!first.is_empty() && first.iter().all(|frame| frame[..6] == [2, 0, 1, 0, 0, 2]));
        bench.resolve(BACKENDS[1]);
        bench.poll();
        let second = bench.sent();
        assert!(second.iter().all(|frame| frame[..6] == [2, 0, 1, 0, 0, 3]));
        assert_eq!(first.len() + second.len(), 40);
        assert_eq!((bench.counted(Reason::ToBackend), bench.happened(Event::FlowOpened)), (40, 40));
    });
}

#[test]
fn packets_wait_for_a_few_seconds_however_often_they_are_tried() {
    bench(|bench| {
        bench.arrives(&syn(40_000));
        bench.poll();
        for _ in 0..3 {
            bench.now = Now(bench.now.0 + 64);
            // Some other backend's link changes, and the packet is tried in vain.
            bench.resolve(Ipv4Addr::new(10, 0, 0, 99));
            let other = bench.balancer.backend_addresses();
            assert!(!other.is_empty());
            bench.poll();
            assert_eq!(bench.pool.in_use(), 1, "still there");
        }
        bench.now = Now(bench.now.0 + 64);
        bench.poll();
        assert_eq!(bench.pool.in_use(), 0, "given up");
        BACKENDS.into_iter().for_each(|backend| bench.resolve(backend));
        bench.poll();
        assert_eq!(bench.sent(), [[0_u8; 0]; 0]);
    });
}

#[test]
fn a_flood_for_a_backend_that_is_not_there_keeps_few_packets() {
    bench(|bench| {
        for port in 0..400 {
            bench.arrives(&syn(port));
            bench.poll();
        }
        assert_eq!((bench.pool.in_use(), bench.happened(Event::HeldForNeighbour)), (64, 64));
        assert_eq!(bench.counted(Reason::BackendUnresolved), 400);
        BACKENDS.into_iter().for_each(|backend| bench.resolve(backend));
        bench.poll();
        assert_eq!(bench.sent().len(), 64);
    });
}

#[test]
fn arp_reaches_the_host_which_is_woken_and_whatever_else_is_passed_ends_here() {
    bench(|bench| {
        bench.arrives(&arp_request());
        // A broadcast that is not ARP, and IPv6.
        bench.arrives(&[&[0xff; 6][..], &CLIENT, &[8, 0, 0x45]].concat());
        bench.arrives(&[&OURS[..], &CLIENT, &[0x86, 0xdd, 0x60]].concat());
        bench.poll();
        assert_eq!((taken(bench.to_host), bench.woken.load(Relaxed)), (vec![arp_request()], 1));
        assert_eq!(bench.pool.in_use(), 0);
        // More than the host takes at once.
        (0..20).for_each(|_| bench.arrives(&arp_request()));
        bench.poll();
        assert_eq!(taken(bench.to_host).len(), 8);
    });
}

#[test]
fn arp_that_is_about_others_does_not_reach_the_host_once_it_has_said_what_it_listens_for() {
    bench(|bench| {
        let ours = [Ipv4Addr::new(10, 0, 0, 10).into()].into();
        let neighbours = BACKENDS.map(Into::into).into();
        bench.balancer.plane_mut().hear(Heard { ours, neighbours, ..Heard::default() });
        let about = |last: u8| {
            let mut frame = arp_request();
            frame[41] = last;
            frame
        };
        // A network of hosts that look for one another, more of them than the host takes at once.
        for last in (20..220).chain([2, 3]) {
            bench.arrives(&about(last));
            bench.poll();
        }
        bench.arrives(&about(10));
        let mut from_a_backend = about(1);
        from_a_backend[28..32].copy_from_slice(&BACKENDS[0].octets());
        bench.arrives(&from_a_backend);
        // Half an ARP packet.
        bench.arrives(&about(10)[..40]);
        bench.poll();
        assert_eq!(taken(bench.to_host), [about(10), from_a_backend]);
        assert_eq!(bench.woken.load(Relaxed), 2);
    });
}

/// "Who has `target`?", by multicast or to us alone, of IPv6.
fn solicitation(from: Ipv6Addr, target: Ipv6Addr, by_multicast: bool) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let (mac, to) = if by_multicast {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        ([0x33, 0x33, 0xff, a, b, c], group)
    } else {
        (OURS, target)
    };
    let builder = PacketBuilder::ethernet2(CLIENT, mac).ipv6(from.octets(), to.octets(), 255);
    let body = [&target.octets()[..], &[1, 1], &CLIENT].concat();
    let mut frame = Vec::new();
    builder.icmpv6_raw(135, 0, [0; 4]).write(&mut frame, &body).unwrap();
    frame
}

#[test]
fn neighbour_discovery_reaches_the_host_by_group_and_by_address_and_in_vlans() {
    bench(|bench| {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x10);
        let about = |target, by_multicast| solicitation(address(1), target, by_multicast);
        let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        let ours = [address(0x10).into(), link_local.into()].into();
        let neighbours = [address(2).into()].into();
        bench.balancer.plane_mut().hear(Heard { ours, neighbours, ..Heard::default() });
        let wanted = [
            about(address(0x10), true),
            about(address(0x10), false),
            about(link_local, true),
            about(link_local, false),
            tagged(&about(address(0x10), true)),
            // A next hop that looks for somebody else says where it is.
            solicitation(address(2), address(7), true),
        ];
        let unwanted = [
            tagged(&arp_request()),
            about(address(7), true),
            about(address(7), false),
            about(address(0x10), true)[..60].to_vec(),
            syn(1)[..20].to_vec(),
        ];
        for frame in wanted.iter().chain(&unwanted) {
            bench.arrives(frame);
            bench.poll();
        }
        let heard = taken(bench.to_host);
        assert_eq!(heard, wanted);
        // Routers are heard if they are listened to.
        bench.balancer.plane_mut().hear(Heard { routers: true, ..Heard::default() });
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let builder = PacketBuilder::ethernet2(CLIENT, [0x33, 0x33, 0, 0, 0, 1]).ipv6(router.octets(), all, 255);
        let mut advertisement = Vec::new();
        builder.icmpv6_raw(134, 0, [64, 0, 7, 8]).write(&mut advertisement, &[0; 8]).unwrap();
        bench.arrives(&advertisement);
        bench.arrives(&about(address(0x10), true));
        bench.poll();
        assert_eq!(taken(bench.to_host), [advertisement]);
    });
}

#[test]
fn what_the_host_sends_leaves_by_the_port() {
    bench(|bench| {
        bench.from_host.put(bench.pool.mbuf(b"from the host").unwrap()).unwrap();
        assert!(bench.poll());
        assert_eq!(bench.sent(), [b"from the host"]);
    });
}

#[test]
fn the_loop_ends_when_it_is_told_to() {
    bench(|bench| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| stop.store(true, Relaxed));
            bench.worker.run(IdlePolicy::Sleep, &stop);
        });
    });
}

/// Connections are opened while the flow table is exchanged for a larger one, again and again.
#[test]
fn while_the_flow_table_grows_no_connection_is_lost_and_none_is_opened_twice() {
    const PIECE: usize = 20;
    bench(|bench| {
        BACKENDS.into_iter().for_each(|backend| bench.resolve(backend));
        let ports: Vec<u16> = (40_000..42_000).collect();
        let Bench { balancer, worker, pool, wire, now, .. } = bench;
        let (stop, now) = (AtomicBool::new(false), *now);
        let mut round = |grows: bool| {
            let mut frames = Vec::new();
            std::thread::scope(|scope| {
                let (stop, worker) = (&stop, &mut *worker);
                stop.store(false, Relaxed);
                scope.spawn(move || {
                    while !stop.load(Relaxed) {
                        worker.poll(|| now);
                    }
                });
                let end = Stop(stop);
                for (number, piece) in ports.chunks(PIECE).enumerate() {
                    for port in piece {
                        wire[0].put(pool.mbuf(&syn(*port)).unwrap()).unwrap();
                    }
                    if grows && number % 8 == 7 {
                        let sizes = balancer.plane().sizes();
                        let larger = Sizes { flows: 2 * sizes.flows, ..sizes };
                        let timeouts = Timeouts::uniform(IdleTimes::DEFAULT);
                        balancer.plane_mut().provide(Features::ALL, &timeouts, larger).unwrap();
                    }
                    let begun = std::time::Instant::now();
                    while frames.len() < (number + 1) * PIECE {
                        assert!(begun.elapsed().as_secs() < 20, "{} of {}", frames.len(), (number + 1) * PIECE);
                        frames.extend(taken(&wire[1]));
                    }
                }
                drop(end);
            });
            frames.sort();
            frames
        };
        let (first, again) = (round(true), round(false));
        assert_eq!(first.len(), ports.len());
        assert!(first == again, "a client that repeats its SYN has another connection");
        // By the worker's clock, which stands still: the plane's own would have forgotten some.
        let entries = balancer.plane().flow_table().iter().flat_map(|bucket| &bucket.0);
        assert_eq!(entries.filter(|entry| entry.read().is_some()).count(), 2 * ports.len());
        assert_eq!(bench.happened(Event::FlowOpened), ports.len() as u64);
        assert_eq!(bench.counted(Reason::StationMissing), 0);
    });
}

/// Stops a thread, even if the test fails, for whoever waits for it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
