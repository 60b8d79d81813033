//! On a TAP device, with one lcore.

use super::{Inbox, Live};
use crate::testbed::{connect_tap, until};
use evenkeel_control::{Balancer, Config, NextHop, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_dpdk::host::{Host, Network, News, Outcome, Resolution};
use evenkeel_dpdk::{
    Burst, DpdkPlane, Eal, HostLink, IdlePolicy, Pool, Port, PortInfo, Ring, Tables, Worker, captured,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// More than a queue of each kind holds.
const MBUFS: u32 = 8192;
const HOST_FRAMES: u32 = 256;

pub(super) fn balance(arguments: &[String], config: &Config, inbox: Inbox) {
    let (eal, log) = Eal::start("test", arguments);
    let eal = eal.unwrap_or_else(|error| panic!("{error}"));
    let info = PortInfo::only(&eal, &log).unwrap_or_else(|error| panic!("{error}"));
    let secrets = Secrets::random().expect("random numbers");
    let sizes = Sizes::for_flows(config.dataplane.max_flows);
    let settings = sizes.settings(config, &secrets, info.mac(), IdleTimes::DEFAULT);
    let tables = Arc::new(Tables::new(sizes, settings, &config.nat.addresses, 1).expect("there is memory"));
    let pool = Pool::new(&eal, MBUFS).expect("EAL has memory");
    let ring = || Ring::new(&eal, HOST_FRAMES).expect("EAL has memory");
    let (to_host, from_host) = (ring(), ring());
    let (port, _) = captured(|| Port::start(&eal, info.clone(), 1, &pool)).expect("there are descriptors");
    let mut port = port.unwrap_or_else(|error| panic!("{error}"));
    connect_tap();
    let link = HostLink { to_host: &to_host, from_host: Some(&from_host), wake: &|| {} };
    let mut worker = Worker::new(port.queues().remove(0), &tables, 0, Some(link));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Also when this thread fails: the lcore must not work on for ever.
            let _stop = Stop(&stop);
            let mut live = LiveDpdk {
                balancer: Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &secrets),
                host: Host::new(info.mac(), Network::default()),
                found: BTreeSet::new(),
                pool: &pool,
                to_host: &to_host,
                from_host: &from_host,
                begun: Instant::now(),
            };
            live.apply(config);
            live.obey(inbox);
        });
        eal.run(vec![Box::new(|| worker.run(IdlePolicy::Sleep, &stop))]);
    });
}

/// Tells the lcore to stop.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct LiveDpdk<'a, 'p> {
    balancer: Balancer<DpdkPlane>,
    host: Host,
    /// Backends that have answered.
    found: BTreeSet<Ipv4Addr>,
    pool: &'p Pool<'p>,
    to_host: &'a Ring<'p>,
    from_host: &'a Ring<'p>,
    begun: Instant,
}

impl LiveDpdk<'_, '_> {
    fn act(&mut self, outcome: Outcome) {
        for frame in &outcome.frames {
            if let Some(mbuf) = self.pool.mbuf(frame) {
                let _ = self.from_host.put(mbuf);
            }
        }
        for news in outcome.news {
            if let News::Backend(address, Resolution::Known(mac)) = news {
                self.balancer.set_next_hop(NextHop { address, mac }).expect("it has a place");
                self.found.insert(address);
            }
        }
    }
}

impl Live for LiveDpdk<'_, '_> {
    type Plane = DpdkPlane;

    fn balancer(&mut self) -> &mut Balancer<DpdkPlane> {
        &mut self.balancer
    }

    fn resolve(&mut self) {
        self.host.set_addresses(self.balancer.our_addresses().iter().copied(), self.begun.elapsed());
        let news = self.host.set_backends(self.balancer.backend_addresses());
        self.act(Outcome { frames: Vec::new(), news });
        until("every backend answers ARP", || {
            self.attend();
            self.balancer.backend_addresses().iter().all(|backend| self.found.contains(backend)).then_some(())
        });
    }

    fn attend(&mut self) {
        let now = self.begun.elapsed();
        let mut frames = Burst::new();
        self.to_host.take(&mut frames);
        for frame in frames.drain(..) {
            let outcome = self.host.receive(frame.first_segment(), now);
            self.act(outcome);
        }
        let outcome = self.host.tick(now);
        self.act(outcome);
    }
}
