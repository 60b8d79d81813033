//! On veth6, in lb.

use super::{Inbox, Live};
use crate::testbed::peers::enter;
use crate::testbed::{Plane, repository, until};
use evenkeel_control::config::XdpMode;
use evenkeel_control::{Balancer, Config, NextHop, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_xdp::{Claim, Interface, Neighbours, Resolution, XdpPlane};
use tokio::runtime::{Builder, Runtime};

pub(super) fn balance(mode: XdpMode, config: &Config, inbox: Inbox) {
    enter(Plane::NativeXdp.namespace());
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (connection, netlink, _) = runtime.block_on(async { rtnetlink::new_connection() }).expect("netlink");
    runtime.spawn(connection);
    let interface = runtime.block_on(Interface::find(&netlink, "veth6")).expect("the testbed has veth6");
    let secrets = Secrets::random().expect("random numbers");
    let sizes = Sizes::for_flows(config.dataplane.max_flows);
    let settings = sizes.settings(config, &secrets, interface.mac, IdleTimes::DEFAULT);
    let object = std::fs::read(repository().join("build/evenkeel.bpf.o")).expect("`make` builds the object");
    let plane = XdpPlane::load(&object, sizes, settings, &config.nat.addresses, evenkeel_core::Features::ALL)
        .expect("the object loads");
    let neighbours = Neighbours::new(netlink.clone(), &interface);
    let mut live = LiveXdp { runtime: &runtime, balancer: Balancer::new(plane, &secrets), neighbours };
    // Next hops first, as for a backend that is already known when it is added.
    live.apply(config);
    let claim = Claim::take(interface).expect("nobody is there");
    let attachment = runtime.block_on(claim.attach(&netlink, mode, live.balancer.plane())).expect("veth6 can do it");
    live.obey(inbox);
    runtime.block_on(attachment.detach(&netlink)).expect("it is ours to detach");
}

struct LiveXdp<'r> {
    runtime: &'r Runtime,
    balancer: Balancer<XdpPlane>,
    neighbours: Neighbours,
}

impl Live for LiveXdp<'_> {
    type Plane = XdpPlane;

    fn balancer(&mut self) -> &mut Balancer<XdpPlane> {
        &mut self.balancer
    }

    fn resolve(&mut self) {
        until("every backend answers ARP", || {
            let found = self.neighbours.refresh(self.balancer.backend_addresses());
            let mut missing = false;
            for (address, resolution) in self.runtime.block_on(found).expect("netlink answers") {
                match resolution {
                    Resolution::Known(mac) => {
                        self.balancer.set_next_hop(NextHop { address, mac }).expect("it has a place");
                    }
                    _ => missing = true,
                }
            }
            (!missing).then_some(())
        });
    }
}
