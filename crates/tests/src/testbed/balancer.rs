//! A balancer inside the test, whose configuration the test changes while it works.
//!
//! The same libraries as the program, in a thread that lives in lb.

use super::peers::enter;
use super::repository;
use evenkeel_control::{Balancer, Config, FlowView, NextHop, Plane as _, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_xdp::{Claim, Interface, Neighbours, Resolution, XdpPlane};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A balancer on veth6, as long as this lives.
#[derive(Debug)]
pub struct LiveBalancer {
    orders: UnboundedSender<Order>,
    thread: Option<thread::JoinHandle<()>>,
}

enum Order {
    Apply(Box<Config>, Sender<()>),
    Tidy(Sender<()>),
    Flows(Sender<Vec<FlowView>>),
    Stop,
}

impl LiveBalancer {
    /// Starts with a configuration; returns when it is in force.
    pub fn start(config: Config) -> Self {
        let (orders, inbox) = unbounded_channel();
        let (ready, is_ready) = channel();
        let thread = thread::spawn(move || {
            enter("lb");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(balance(config, inbox, ready));
        });
        is_ready.recv().expect("the balancer starts");
        Self { orders, thread: Some(thread) }
    }

    /// Puts another configuration in force.
    pub fn apply(&self, config: Config) {
        self.ask(|done| Order::Apply(Box::new(config), done));
    }

    /// What the daemon does every minute.
    pub fn tidy(&self) {
        self.ask(Order::Tidy);
    }

    /// Every flow that is alive.
    pub fn flows(&self) -> Vec<FlowView> {
        self.ask(Order::Flows)
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> T {
        let (done, is_done) = channel();
        self.orders.send(order(done)).expect("the balancer is there");
        is_done.recv().expect("the balancer does as it is told")
    }
}

impl Drop for LiveBalancer {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn balance(config: Config, mut orders: UnboundedReceiver<Order>, ready: Sender<()>) {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink");
    tokio::spawn(connection);
    let interface = Interface::find(&netlink, "veth6").await.expect("the testbed has veth6");
    let secrets = Secrets::random().expect("random numbers");
    let sizes = Sizes::for_flows(config.dataplane.max_flows);
    let settings = sizes.settings(&config, &secrets, interface.mac, IdleTimes::DEFAULT);
    let object = std::fs::read(repository().join("build/evenkeel.bpf.o")).expect("`make` builds the object");
    let plane = XdpPlane::load(&object, sizes, settings, &config.nat.addresses).expect("the object loads");
    let mut balancer = Balancer::new(plane, &secrets);
    let mut neighbours = Neighbours::new(netlink.clone(), &interface);
    // Next hops first, as for a backend that is already known when it is added.
    balancer.apply(&config).expect("the configuration fits");
    resolve(&mut neighbours, &mut balancer).await;
    let mode = config.dataplane.xdp_mode;
    let claim = Claim::take(interface).expect("nobody is there");
    let attachment = claim.attach(&netlink, mode, balancer.plane()).await.expect("veth6 can do it");
    let _ = ready.send(());
    while let Some(order) = orders.recv().await {
        match order {
            Order::Apply(config, done) => {
                balancer.apply(&config).expect("the configuration fits");
                resolve(&mut neighbours, &mut balancer).await;
                let _ = done.send(());
            }
            Order::Tidy(done) => {
                balancer.tidy().expect("the tables can be changed");
                let _ = done.send(());
            }
            Order::Flows(done) => {
                let mut flows = Vec::new();
                balancer.plane().visit_flows(&mut |flow| flows.push(flow)).expect("the table can be read");
                let _ = done.send(flows);
            }
            Order::Stop => break,
        }
    }
    attachment.detach(&netlink).await.expect("it is ours to detach");
}

/// Waits until the next hop of every backend is known.
async fn resolve(neighbours: &mut Neighbours, balancer: &mut Balancer<XdpPlane>) {
    for _ in 0..200 {
        let found = neighbours.refresh(balancer.backend_addresses()).await.expect("netlink answers");
        let mut missing = false;
        for (address, resolution) in found {
            match resolution {
                Resolution::Known(mac) => balancer.set_next_hop(NextHop { address, mac }).expect("it has a place"),
                _ => missing = true,
            }
        }
        if !missing {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a backend does not answer ARP");
}
