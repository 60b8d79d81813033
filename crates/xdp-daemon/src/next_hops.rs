//! Where packets for backends go: asked of the kernel, told to the plane.

use crate::announce;
use evenkeel_control::{NextHop, Operator};
use evenkeel_daemon::Announcer;
use evenkeel_xdp::{Found, Neighbours, Resolution, XdpError, XdpPlane};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the start waits for backends to answer ARP.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Next hops as they were last told to the plane and to the user.
pub(crate) struct NextHops {
    announcer: Announcer,
    known: BTreeMap<Ipv4Addr, Resolution>,
    /// Whether it was said that the kernel has no room for all of them.
    is_full: bool,
    /// Whether it was said that the kernel does not answer.
    is_unanswered: bool,
}

impl NextHops {
    /// Nothing was told yet.
    pub(crate) fn new(announcer: Announcer) -> Self {
        Self { announcer, known: BTreeMap::new(), is_full: false, is_unanswered: false }
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
    ) -> Result<(), XdpError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = neighbours.refresh(operator.balancer().next_hop_addresses()).await?;
            let waiting = found.ways.iter().any(|(_, resolution)| *resolution == Resolution::Asking);
            if !waiting || Instant::now() >= deadline {
                self.take(operator, found);
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
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
            announce::full_table(self.announcer, found.ways.len(), found.refused);
        }
        self.is_full = found.refused > 0;
        for (backend, resolution) in found.ways {
            self.note(operator, backend, resolution);
        }
    }

    /// Tells the plane of a next hop, and the user of a change. A next hop that stops answering keeps its address:
    /// it may only be slow, and nothing better is known.
    pub(crate) fn note(&mut self, operator: &mut Operator<XdpPlane>, address: Ipv4Addr, resolution: Resolution) {
        if let Resolution::Known(mac) = resolution
            && let Err(error) = operator.balancer_mut().set_next_hop(NextHop { address, mac })
        {
            operator.failed(&error);
        }
        if self.known.insert(address, resolution) != Some(resolution) {
            announce::next_hop(self.announcer, operator.balancer().role(address), address, resolution);
        }
    }
}
