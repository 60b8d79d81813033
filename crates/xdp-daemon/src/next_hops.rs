//! Where packets for backends go: asked of the kernel, told to the plane.

use crate::announce;
use evenkeel_control::operator::Way;
use evenkeel_control::{BalancerError, NextHop, Operator};
use evenkeel_daemon::{Announcer, Crowd, Services};
use evenkeel_wire::MacAddress;
use evenkeel_xdp::{Found, Neighbours, Resolution, XdpError, XdpPlane, interface_name};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the start waits for backends to answer ARP or neighbour solicitations.
const PATIENCE: Duration = Duration::from_millis(1500);
/// After so long without an answer a next hop that has answered before is held to do so no more. It is well above what a
/// neighbour table that was flushed takes to be filled again.
const DOUBT: Duration = Duration::from_secs(4);
/// And one that was never heard of after so long: on a network answers take a fraction of a millisecond.
const GRACE: Duration = Duration::from_millis(20);
/// Between two questions whether new ones have been heard of.
const GLANCE: Duration = Duration::from_millis(7);

/// Next hops as they were last told to the plane and to the user.
pub(crate) struct NextHops {
    announcer: Announcer,
    known: BTreeMap<IpAddr, (Way, Option<MacAddress>)>,
    /// Since when a next hop does not answer.
    doubtful: BTreeMap<IpAddr, Instant>,
    /// What there is to say once what follows from it is in force.
    unsaid: Vec<(IpAddr, Way, Option<MacAddress>)>,
    /// How much of that was said of late.
    crowd: Crowd,
    /// Whether it was said that the kernel has no room for all of them.
    is_full: bool,
    /// Whether it was said that the kernel does not answer.
    is_unanswered: bool,
}

impl NextHops {
    /// Nothing was told yet.
    pub(crate) fn new(announcer: Announcer) -> Self {
        let (known, doubtful, unsaid) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { announcer, known, doubtful, unsaid, crowd: Crowd::default(), is_full: false, is_unanswered: false }
    }

    /// Who tells the user.
    pub(crate) fn announcer(&self) -> Announcer {
        self.announcer
    }

    /// Waits a moment for every backend to be found.
    pub(crate) async fn resolve(
        &mut self,
        neighbours: &mut Neighbours,
        operator: &mut Operator<XdpPlane>,
    ) -> Result<(), BalancerError<XdpError>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = neighbours.refresh(operator.balancer().next_hop_addresses()).await?;
            let waiting = found.ways.iter().any(|(_, resolution)| *resolution == Resolution::Asking);
            if !waiting || Instant::now() >= deadline {
                // They have had more than a moment.
                let asking = found.ways.iter().filter(|(_, resolution)| *resolution == Resolution::Asking);
                self.doubtful.extend(asking.map(|(address, _)| (*address, deadline - PATIENCE)));
                self.take(operator, found);
                operator.settle()?;
                self.tell(operator);
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks the kernel about backends that are new, and gives them a moment to be heard of, as long as that does not take long.
    /// Returns whether the kernel has answered.
    pub(crate) async fn refresh_new(&mut self, neighbours: &mut Neighbours, operator: &mut Operator<XdpPlane>) -> bool {
        let first = Instant::now();
        loop {
            let begun = Instant::now();
            if !self.refresh(neighbours, operator).await {
                return false;
            }
            let is_slow = begun.elapsed() > GLANCE;
            let is_awaited =
                |(address, since): (&_, &Instant)| *since >= first && !operator.balancer().has_next_hop(*address);
            if is_slow || first.elapsed() > GRACE || !self.doubtful.iter().any(is_awaited) {
                return true;
            }
            sleep(GLANCE).await;
        }
    }

    /// Asks the kernel again. If it does not answer, that is said once, and what is known holds; returns whether it has.
    pub(crate) async fn refresh(&mut self, neighbours: &mut Neighbours, operator: &mut Operator<XdpPlane>) -> bool {
        match neighbours.refresh(operator.balancer().next_hop_addresses()).await {
            Ok(found) => {
                self.answered();
                self.take(operator, found);
                true
            }
            Err(error) => {
                self.unanswered(&error);
                false
            }
        }
    }

    /// The kernel does not answer questions.
    pub(crate) fn unanswered(&mut self, error: &XdpError) {
        if !std::mem::replace(&mut self.is_unanswered, true) {
            self.announcer.say(&format!("warning: {error}; asked again and again, meanwhile what is known holds."));
        }
    }

    /// It does again.
    fn answered(&mut self) {
        if std::mem::take(&mut self.is_unanswered) {
            self.announcer.say("the kernel answers again.");
        }
    }

    fn take(&mut self, operator: &mut Operator<XdpPlane>, found: Found) {
        if found.refused > 0 && !self.is_full {
            announce::full_table(self.announcer, found.ways.len(), found.refused, found.refused_ipv6);
        }
        self.is_full = found.refused > 0;
        let asked: HashSet<_> = found.ways.iter().map(|(address, _)| *address).collect();
        self.doubtful.retain(|address, _| asked.contains(address));
        for (backend, resolution) in found.ways {
            self.note(operator, backend, resolution);
        }
    }

    /// Tells the plane of a next hop, and the operator whether there is a way. A next hop that stops answering keeps its address:
    /// it may only be slow, and nothing better is known. The user is told by [`NextHops::tell`].
    pub(crate) fn note(&mut self, operator: &mut Operator<XdpPlane>, address: IpAddr, resolution: Resolution) {
        if resolution != Resolution::Asking {
            self.doubtful.remove(&address);
        }
        let (way, mac) = match resolution {
            Resolution::Known(mac) => {
                if let Err(error) = operator.balancer_mut().set_next_hop(NextHop { address, mac }) {
                    operator.failed(&error);
                }
                (Way::Known, Some(mac))
            }
            Resolution::Asking => {
                let since = self.doubtful.entry(address).or_insert_with(Instant::now).elapsed();
                match operator.balancer().has_next_hop(address) {
                    true if since >= DOUBT => (Way::Lost, None),
                    false if since >= GRACE => (Way::Silent, None),
                    _ => return,
                }
            }
            Resolution::Elsewhere(index) => (Way::Elsewhere(interface_name(index)), None),
            Resolution::Here => (Way::Here, None),
            Resolution::NoRoute => (Way::NoRoute, None),
        };
        operator.note_way(address, way.clone());
        let news = (way, mac);
        if self.known.get(&address) != Some(&news) {
            self.known.insert(address, news.clone());
            self.unsaid.push((address, news.0, news.1));
        }
    }

    /// Tells the user what is new, unless what follows from it is yet to be put in force: who reads that a backend was found
    /// may rely on it.
    pub(crate) fn tell(&mut self, operator: &Operator<XdpPlane>) {
        let now = std::time::Instant::now();
        if let Some(unsaid) = self.crowd.unsaid(now) {
            self.announcer.many_hops(unsaid);
        }
        if self.unsaid.is_empty() || operator.is_unsettled() {
            return;
        }
        let services = Services::of(operator.config());
        let crowd = &mut self.crowd;
        for (address, way, mac) in self.unsaid.drain(..).filter(|_| crowd.admits(now)) {
            let role = operator.balancer().role(address);
            announce::next_hop(self.announcer, role, address, &way, mac, &services.behind(address));
        }
    }
}
