//! One interface to all planes.

use super::dpdk::DpdkUnderTest;
use super::outcome::Passage;
use super::table;
use super::xdp;
use evenkeel_control::{Contents, FlowView, FlowWalk, Plane, Sizes};
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{Bucket, Now, Timeouts, WideBucket};
use evenkeel_core::{Counters, Features, Service, ServiceKey, Settings, Standing, Traffic, hop};
use evenkeel_dpdk::PlaneError;
use evenkeel_wire::IpProtocol;
use evenkeel_xdp::{XdpError, XdpPlane};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A plane that packets can be sent through.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
#[expect(clippy::large_enum_variant, reason = "there are few")]
pub enum PlaneUnderTest<'a, 'p> {
    /// The BPF object in the kernel.
    Xdp(XdpPlane),
    /// Workers over rings.
    Dpdk(DpdkUnderTest<'a, 'p>),
}

/// Why a table could not be changed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Refused {
    Xdp(#[from] XdpError),
    Dpdk(#[from] PlaneError),
}

/// The same call for each plane.
macro_rules! each {
    ($self:ident, $plane:ident => $call:expr) => {
        match $self {
            Self::Xdp($plane) => Ok($call?),
            Self::Dpdk(DpdkUnderTest { plane: $plane, .. }) => Ok($call?),
        }
    };
}

impl PlaneUnderTest<'_, '_> {
    /// A packet that arrives at this queue. Queues of XDP are CPUs: there it is the calling thread's that counts.
    #[track_caller]
    pub fn run(&self, queue: usize, packet: &[u8]) -> Passage {
        match self {
            Self::Xdp(plane) => xdp::run(plane, packet),
            Self::Dpdk(dpdk) => dpdk.run(queue, packet),
        }
    }

    /// Now, by the clock that flows are stamped with.
    pub fn now(&self) -> Now {
        match self {
            Self::Xdp(plane) => plane.now().expect("the clock runs"),
            Self::Dpdk(dpdk) => dpdk.clock().now(),
        }
    }

    /// The table of IPv6 flows.
    pub fn wide_flow_table(&self) -> &[WideBucket<AtomicU64>] {
        match self {
            Self::Xdp(plane) => plane.wide_flow_table(),
            Self::Dpdk(dpdk) => dpdk.plane.wide_flow_table(),
        }
    }

    /// The table of IPv4 flows.
    pub fn flow_table(&self) -> &[Bucket<AtomicU64>] {
        match self {
            Self::Xdp(plane) => plane.flow_table(),
            Self::Dpdk(dpdk) => dpdk.plane.flow_table(),
        }
    }

    /// The hops towards clients.
    pub fn hops(&self) -> &[AtomicU64] {
        match self {
            Self::Xdp(plane) => plane.hops(),
            Self::Dpdk(dpdk) => dpdk.plane.tables().hops(),
        }
    }

    /// Forgets every connection and every client's neighbour, and how often it has answered, as a fresh plane would.
    pub fn forget(&self) {
        table::clear(self.flow_table(), self.wide_flow_table());
        self.hops().iter().for_each(|hop| hop.store(0, Relaxed));
        let allowance = match self {
            Self::Xdp(plane) => plane.allowance(),
            Self::Dpdk(dpdk) => dpdk.plane.tables().allowance(),
        };
        // As many as can be saved up.
        allowance.store(u64::from(self.now().0) << 32 | (50 * 256), Relaxed);
    }

    /// What the plane was started with.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::Xdp(plane) => plane.settings(),
            Self::Dpdk(dpdk) => dpdk.plane.tables().settings(),
        }
    }
}

impl Plane for PlaneUnderTest<'_, '_> {
    type Error = Refused;

    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Refused> {
        each!(self, plane => plane.set_our_addresses(addresses))
    }

    fn kept_hops(&self) -> &[AtomicU64] {
        hop::kept(self.hops())
    }

    fn sizes(&self) -> Sizes {
        match self {
            Self::Xdp(plane) => plane.sizes(),
            Self::Dpdk(dpdk) => dpdk.plane.sizes(),
        }
    }

    fn contents(&self) -> Result<Contents, Refused> {
        each!(self, plane => plane.contents())
    }

    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), Refused> {
        each!(self, plane => plane.set_backend(index, target, service, protocol))
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), Refused> {
        each!(self, plane => plane.set_link(index, link))
    }

    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), Refused> {
        each!(self, plane => plane.set_standing(index, standing))
    }

    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), Refused> {
        each!(self, plane => plane.set_maglev(tables))
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), Refused> {
        each!(self, plane => plane.set_service(key, service))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Refused> {
        each!(self, plane => plane.remove_service(key))
    }

    fn provide(&mut self, features: Features, timeouts: &Timeouts, room: Sizes) -> Result<(), Refused> {
        each!(self, plane => plane.provide(features, timeouts, room))
    }

    fn counters(&self) -> Result<Counters, Refused> {
        each!(self, plane => plane.counters())
    }

    fn traffic(&self, index: u16) -> Result<Traffic, Refused> {
        each!(self, plane => plane.traffic(index))
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        match self {
            Self::Xdp(plane) => plane.flow_walk(),
            Self::Dpdk(dpdk) => dpdk.plane.flow_walk(),
        }
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Refused> {
        each!(self, plane => plane.visit_flows(visit))
    }

    fn sweep_flows(&self) -> Result<(), Refused> {
        each!(self, plane => plane.sweep_flows())
    }
}
