//! Where packets for backends go: asked of the kernel, told to the plane.

use crate::announce;
use crate::error::RunError;
use evenkeel_control::{Balancer, NextHop};
use evenkeel_daemon::Announcer;
use evenkeel_xdp::{Neighbours, Resolution, XdpPlane};
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
}

impl NextHops {
    /// Nothing was told yet.
    pub(crate) fn new(announcer: Announcer) -> Self {
        Self { announcer, known: BTreeMap::new() }
    }

    /// Who tells the user.
    pub(crate) fn announcer(&self) -> Announcer {
        self.announcer
    }

    /// Waits a moment for every backend to be found.
    pub(crate) async fn resolve(
        &mut self,
        neighbours: &mut Neighbours,
        balancer: &mut Balancer<XdpPlane>,
    ) -> Result<(), RunError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = neighbours.refresh(balancer.backend_addresses()).await?;
            let waiting = found.iter().any(|(_, resolution)| *resolution == Resolution::Asking);
            if !waiting || Instant::now() >= deadline {
                for (backend, resolution) in found {
                    self.note(balancer, backend, resolution)?;
                }
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn refresh(
        &mut self,
        neighbours: &mut Neighbours,
        balancer: &mut Balancer<XdpPlane>,
    ) -> Result<(), RunError> {
        for (backend, resolution) in neighbours.refresh(balancer.backend_addresses()).await? {
            self.note(balancer, backend, resolution)?;
        }
        Ok(())
    }

    /// Tells the plane of a next hop, and the user of a change. A next hop that stops answering keeps its address:
    /// it may only be slow, and nothing better is known.
    pub(crate) fn note(
        &mut self,
        balancer: &mut Balancer<XdpPlane>,
        address: Ipv4Addr,
        resolution: Resolution,
    ) -> Result<(), RunError> {
        if let Resolution::Known(mac) = resolution {
            balancer.set_next_hop(NextHop { address, mac })?;
        }
        if self.known.insert(address, resolution) != Some(resolution) {
            announce::next_hop(self.announcer, address, resolution);
        }
        Ok(())
    }
}
