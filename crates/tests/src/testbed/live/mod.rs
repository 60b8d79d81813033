//! A balancer inside the test, whose configuration the test changes while it works: the same libraries as the program, in
//! a thread of their own.

mod dpdk;
mod xdp;

use super::{Plane, Testbed};
use evenkeel_control::{Balancer, Config, FlowView};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// A balancer in its place in the testbed, as long as this lives.
#[derive(Debug)]
pub struct LiveBalancer {
    /// Closed to stop it.
    orders: Option<Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

enum Order {
    Apply(Box<Config>, Sender<()>),
    Tidy(Sender<()>),
    Flows(Sender<Vec<FlowView>>),
}

/// Where orders come from.
struct Inbox {
    orders: Receiver<Order>,
    /// Told when the balancer balances.
    ready: Sender<()>,
}

impl LiveBalancer {
    /// Starts with a configuration; returns when it is in force. On DPDK once in a process: EAL cannot do it again.
    pub fn start(bed: &Testbed, config: Config) -> Self {
        let (orders, inbox) = channel();
        let (ready, is_ready) = channel();
        let inbox = Inbox { orders: inbox, ready };
        let (plane, eal) = (bed.plane, bed.eal(super::TAP));
        let thread = thread::spawn(move || match plane {
            Plane::Dpdk => dpdk::balance(&eal, &config, inbox),
            _ => xdp::balance(plane.xdp_mode(), &config, inbox),
        });
        is_ready.recv().expect("the balancer starts");
        Self { orders: Some(orders), thread: Some(thread) }
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
        let orders = self.orders.as_ref().expect("it is not stopped yet");
        orders.send(order(done)).expect("the balancer is there");
        is_done.recv().expect("the balancer does as it is told")
    }
}

impl Drop for LiveBalancer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What differs between planes.
trait Live {
    type Plane: evenkeel_control::Plane;

    fn balancer(&mut self) -> &mut Balancer<Self::Plane>;

    /// Waits until the next hop of every backend is known.
    fn resolve(&mut self);

    /// What has to be done a few times a second.
    fn attend(&mut self) {}

    fn apply(&mut self, config: &Config) {
        self.balancer().apply(config).expect("the configuration fits");
        self.resolve();
    }

    /// Carries out orders until nobody has any more.
    fn obey(&mut self, inbox: Inbox) {
        let _ = inbox.ready.send(());
        loop {
            match inbox.orders.recv_timeout(Duration::from_millis(20)) {
                Ok(Order::Apply(config, done)) => {
                    self.apply(&config);
                    let _ = done.send(());
                }
                Ok(Order::Tidy(done)) => {
                    self.balancer().tidy().expect("the tables can be changed");
                    let _ = done.send(());
                }
                Ok(Order::Flows(done)) => {
                    let _ = done.send(flows(self.balancer().plane()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.attend();
        }
    }
}

fn flows(plane: &impl evenkeel_control::Plane) -> Vec<FlowView> {
    let mut flows = Vec::new();
    plane.visit_flows(&mut |flow| flows.push(flow)).expect("the table can be read");
    flows
}
