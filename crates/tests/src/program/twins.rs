//! Same in, same out: both planes in the same state, held against each other.

use super::dpdk::{self, RING};
use super::outcome::{Outcome, since};
use super::plane::PlaneUnderTest;
use super::scenes::backend_mac;
use super::setup::{SECRETS, Setup};
use super::{table, xdp};
use evenkeel_control::{Balancer, Config, NextHop, Plane};
use evenkeel_core::flow::Now;
use evenkeel_core::{Counters, Traffic, Verdict};
use evenkeel_wire::MacAddress;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

/// In what the planes are not alike.
pub type Difference = String;

/// XDP and DPDK with the same tables, secrets and time.
#[expect(missing_debug_implementations, reason = "the planes have none")]
pub struct Twins<'a, 'p> {
    xdp: Balancer<PlaneUnderTest<'a, 'p>>,
    dpdk: Balancer<PlaneUnderTest<'a, 'p>>,
    config: Config,
    applied: Config,
    unresolved: Vec<IpAddr>,
    /// So many packets arrive at DPDK's worker at once.
    burst: usize,
    /// What XDP has had and DPDK has not.
    waiting: Vec<Vec<u8>>,
    /// What XDP has sent of them.
    sent: Vec<Vec<u8>>,
    /// What both had counted and carried when the script began.
    before: [(Counters, Vec<Traffic>); 2],
}

/// Gives a test both planes with this configuration; nothing without the privileges that XDP needs.
pub fn with_twins(setup: &Setup, test: impl FnOnce(&mut Twins)) {
    let setup = &Setup { is_timeless: true, ..setup.clone() };
    let Some(xdp) = xdp::load(setup) else { return };
    dpdk::with_port(dpdk::eal(), setup, |dpdk| {
        let mut twins = Twins {
            xdp: Balancer::new(PlaneUnderTest::Xdp(xdp), &SECRETS),
            dpdk: Balancer::new(PlaneUnderTest::Dpdk(dpdk), &SECRETS),
            config: setup.config.clone(),
            applied: setup.config.clone(),
            unresolved: setup.unresolved.clone(),
            burst: 1,
            waiting: Vec::new(),
            sent: Vec::new(),
            before: [const { (Counters::ZERO, Vec::new()) }; 2],
        };
        twins.apply(&setup.config).expect("nothing is waiting");
        test(&mut twins);
    });
}

impl<'a, 'p> Twins<'a, 'p> {
    /// Plays a script on planes that know no connection and have the configuration they were made with, then compares
    /// all that is left of it: the flow tables word by word, and what the backends have carried. To DPDK go so many
    /// packets at once where XDP gets them one after the other.
    ///
    /// # Errors
    /// The planes are not alike.
    pub fn play<T>(
        &mut self,
        burst: usize,
        script: impl Fn(&mut Self) -> Result<T, Difference>,
    ) -> Result<T, Difference> {
        self.burst = burst.clamp(1, RING);
        self.forget();
        self.set_clock(self.xdp.plane().now());
        let found = script(self)?;
        self.catch_up()?;
        self.compare_tables()?;
        Ok(found)
    }

    fn both(&mut self) -> [&mut Balancer<PlaneUnderTest<'a, 'p>>; 2] {
        [&mut self.xdp, &mut self.dpdk]
    }

    fn planes(&self) -> [&PlaneUnderTest<'a, 'p>; 2] {
        [self.xdp.plane(), self.dpdk.plane()]
    }

    fn set_clock(&self, now: Now) {
        if let PlaneUnderTest::Dpdk(dpdk) = self.dpdk.plane() {
            dpdk.clock().set(now);
        }
    }

    /// As if nothing had ever been sent.
    fn forget(&mut self) {
        self.waiting.clear();
        self.sent.clear();
        self.planes().iter().for_each(|plane| plane.forget());
        let (config, unresolved) = (self.config.clone(), self.unresolved.clone());
        if self.applied != config {
            self.apply(&config).expect("nothing is waiting");
        }
        for address in self.dpdk.backend_addresses() {
            let mac = if unresolved.contains(&address) { [0; 6] } else { backend_mac(address) };
            self.set_next_hop(address, mac).expect("nothing is waiting");
        }
        self.tidy().expect("nothing is waiting");
        self.before = self.planes().map(counted);
    }

    /// Puts a configuration in force, with every backend's Ethernet address known.
    ///
    /// # Errors
    /// The planes were not alike before.
    pub fn apply(&mut self, config: &Config) -> Result<(), Difference> {
        self.catch_up()?;
        self.both().into_iter().for_each(|balancer| balancer.apply(config).expect("the tables are large enough"));
        self.applied = config.clone();
        for address in self.dpdk.backend_addresses() {
            if !self.unresolved.contains(&address) {
                self.set_next_hop(address, backend_mac(address))?;
            }
        }
        Ok(())
    }

    /// Tells where packets for this backend must be sent.
    ///
    /// # Errors
    /// The planes were not alike before.
    pub fn set_next_hop(&mut self, address: IpAddr, mac: [u8; 6]) -> Result<(), Difference> {
        self.catch_up()?;
        let hop = NextHop { address, mac: MacAddress(mac) };
        self.both().into_iter().for_each(|balancer| balancer.set_next_hop(hop).expect("a link can be written"));
        Ok(())
    }

    /// The control side's housekeeping.
    ///
    /// # Errors
    /// The planes were not alike before.
    pub fn tidy(&mut self) -> Result<(), Difference> {
        self.catch_up()?;
        self.both().into_iter().for_each(|balancer| balancer.tidy().expect("the tables can be changed"));
        Ok(())
    }

    /// Time goes by.
    ///
    /// # Errors
    /// The planes were not alike before.
    pub fn wait(&mut self, ticks: u16) -> Result<(), Difference> {
        self.catch_up()?;
        for plane in self.planes() {
            table::age(plane.flow_table(), ticks);
            table::age(plane.wide_flow_table(), ticks);
        }
        Ok(())
    }

    /// A packet through both: through XDP now, through DPDK when a burst is full. What became of it on XDP.
    ///
    /// # Errors
    /// The planes are not alike.
    pub fn send(&mut self, packet: &[u8]) -> Result<Outcome, Difference> {
        let outcome = Outcome::of(self.xdp.plane(), packet);
        self.waiting.push(packet.to_vec());
        if outcome.reason.verdict() == Verdict::Transmit {
            self.sent.push(outcome.sent.clone());
        }
        if self.waiting.len() == self.burst {
            self.catch_up()?;
        }
        Ok(outcome)
    }

    /// Lets DPDK have what XDP has had, and compares what both have sent and counted.
    fn catch_up(&mut self) -> Result<(), Difference> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (waiting, by_xdp) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.sent));
        let PlaneUnderTest::Dpdk(dpdk) = self.dpdk.plane() else { unreachable!("made as DPDK") };
        let by_dpdk = dpdk.burst(0, &waiting);
        if by_xdp != by_dpdk {
            return Err(format!(
                "of {waiting:02x?}, XDP sent {} packets, DPDK {}: {by_xdp:02x?} is not {by_dpdk:02x?}",
                by_xdp.len(),
                by_dpdk.len()
            ));
        }
        let [xdp, dpdk] = [0, 1].map(|twin| {
            since(&self.planes()[twin].counters().expect("the counters can be read"), &self.before[twin].0)
        });
        if xdp != dpdk {
            return Err(format!("after {waiting:02x?}, XDP has counted {xdp:?}, DPDK {dpdk:?}"));
        }
        Ok(())
    }

    fn compare_tables(&self) -> Result<(), Difference> {
        let [xdp, dpdk] = self.planes().map(|plane| table::words(plane.flow_table()));
        if let Some(place) = (0..xdp.len().max(dpdk.len())).find(|&place| xdp.get(place) != dpdk.get(place)) {
            let [xdp, dpdk] = [xdp.get(place), dpdk.get(place)];
            return Err(format!("entry {place} of the flow table is {xdp:x?} on XDP, {dpdk:x?} on DPDK"));
        }
        let [xdp, dpdk] = self.planes().map(|plane| table::wide_words(plane.wide_flow_table()));
        if let Some(place) = (0..xdp.len().max(dpdk.len())).find(|&place| xdp.get(place) != dpdk.get(place)) {
            let [xdp, dpdk] = [xdp.get(place), dpdk.get(place)];
            return Err(format!("entry {place} of the table of IPv6 flows is {xdp:x?} on XDP, {dpdk:x?} on DPDK"));
        }
        let hops = |plane: &PlaneUnderTest| plane.hops().iter().map(|hop| hop.load(Relaxed)).collect::<Vec<_>>();
        let [xdp, dpdk] = self.planes().map(hops);
        if let Some(number) = (0..xdp.len()).find(|&number| xdp[number] != dpdk[number]) {
            return Err(format!("hop {number} is {:x} on XDP, {:x} on DPDK", xdp[number], dpdk[number]));
        }
        let carried = [0, 1].map(|twin| {
            let (_, after) = counted(self.planes()[twin]);
            after.iter().zip(&self.before[twin].1).map(|(after, before)| carried_since(after, before)).collect()
        });
        let [xdp, dpdk]: [Vec<_>; 2] = carried;
        if xdp != dpdk {
            return Err(format!("the backends have carried {xdp:?} on XDP, {dpdk:?} on DPDK"));
        }
        Ok(())
    }

    /// What XDP has counted in all scripts together.
    pub fn counters(&self) -> Counters {
        self.xdp.plane().counters().expect("the counters can be read")
    }
}

/// Backends whose traffic is compared: more than a configuration here has.
const BACKENDS: u16 = 16;

fn counted(plane: &PlaneUnderTest) -> (Counters, Vec<Traffic>) {
    let traffic = (0..BACKENDS).map(|index| plane.traffic(index).expect("the backend has a place"));
    (plane.counters().expect("the counters can be read"), traffic.collect())
}

fn carried_since(after: &Traffic, before: &Traffic) -> [u64; 4] {
    [
        after.client_packets - before.client_packets,
        after.client_bytes - before.client_bytes,
        after.backend_packets - before.backend_packets,
        after.backend_bytes - before.backend_bytes,
    ]
}
