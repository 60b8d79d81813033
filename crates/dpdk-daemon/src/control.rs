//! The control side at work: what the host has to say and to hear, and the flow table's housekeeping.

use crate::announce;
use crate::error::RunError;
use evenkeel_control::config::Dataplane;
use evenkeel_control::daemon::{Daemon, every};
use evenkeel_control::operator::Way;
use evenkeel_control::{NextHop, Plane, ReplyRoute};
use evenkeel_core::Counters;
use evenkeel_daemon::{Announcer, Crowd, Services, Stop};
use evenkeel_dpdk::host::{Host, Network, News, Outcome, Resolution};
use evenkeel_dpdk::{Bell, Burst, DpdkPlane, Pool, PortInfo, Reception, Ring};
use evenkeel_wire::MacAddress;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

/// How often the host looks what is due.
const HOST_TICK: Duration = Duration::from_millis(250);
/// And when more is due than is done at one time.
const HOST_HURRY: Duration = Duration::from_millis(20);
/// Until it is tried again what has panicked.
const AFTER_A_PANIC: Duration = Duration::from_millis(100);

/// What the control side works with.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a, 'p> {
    pub(crate) announcer: Announcer,
    pub(crate) port: &'a PortInfo,
    pub(crate) pool: &'p Pool<'p>,
    pub(crate) to_host: &'a Ring<'p>,
    pub(crate) from_host: &'a Ring<'p>,
    /// Rung by lcores that have put something into `to_host`.
    pub(crate) doorbell: &'a Notify,
    /// Calls lcores that wait.
    pub(crate) bell: &'a Bell,
}

pub(crate) struct Control<'a, 'p> {
    surroundings: Surroundings<'a, 'p>,
    daemon: Daemon<DpdkPlane>,
    host: Host,
    reception: Reception,
    /// Groups that the port was told to receive.
    groups: Vec<MacAddress>,
    /// That could not be done, which was said, and is tried again.
    is_deaf: bool,
    /// Addresses and backends that the host knows of.
    told: Option<(BTreeSet<IpAddr>, HashSet<IpAddr>)>,
    begun: Instant,
    is_connected: bool,
    /// Whether answers of some service go by routes.
    is_routed: bool,
    /// What there is to say once what follows from it is in force.
    unsaid: Vec<News>,
    /// How much of that was said of late.
    crowd: Crowd,
    /// When the host goes on, if it has more to do than it does at one time.
    hurries: Option<tokio::time::Instant>,
}

impl<'a, 'p> Control<'a, 'p> {
    pub(crate) fn new(surroundings: Surroundings<'a, 'p>, daemon: Daemon<DpdkPlane>, dataplane: &Dataplane) -> Self {
        let host = Host::new(surroundings.port.mac(), Network::from(dataplane));
        let reception = Reception::of(surroundings.port);
        let is_connected = !announce::unconnected(surroundings.announcer, surroundings.port);
        Self {
            surroundings,
            daemon,
            host,
            reception,
            groups: Vec::new(),
            is_deaf: false,
            told: None,
            begun: Instant::now(),
            is_connected,
            is_routed: false,
            unsaid: Vec::new(),
            crowd: Crowd::default(),
            hurries: None,
        }
    }

    /// Works until told to stop, and says by which signal, or until there is nothing left to work on. What cannot be done is said,
    /// and tried again.
    pub(crate) async fn run(&mut self, mut stop: Stop) -> Result<&'static str, RunError> {
        let troubles = self.daemon.operator().share_troubles();
        loop {
            if let Some(ended) = troubles.guard("the control side", self.work(&mut stop)).await {
                return ended;
            }
            sleep(AFTER_A_PANIC).await;
        }
    }

    async fn work(&mut self, stop: &mut Stop) -> Result<&'static str, RunError> {
        self.tell_host();
        let mut host = every(HOST_TICK);
        loop {
            tokio::select! {
                signal = stop.asked() => return Ok(signal),
                _ = host.tick() => self.tick()?,
                () = sleep_until(self.hurries.unwrap_or_else(tokio::time::Instant::now)), if self.hurries.is_some() => self.tick()?,
                turn = self.daemon.turn() => {
                    self.surroundings.announcer.turn(&turn);
                    self.tell_notes();
                    self.tell_host();
                }
                () = self.surroundings.doorbell.notified() => self.receive(),
            }
            self.tell_news();
        }
    }

    /// Tells the user what has happened.
    fn tell_notes(&mut self) {
        let notes = self.daemon.take_notes();
        self.surroundings.announcer.notes(&notes);
    }

    /// Tells the user what the host has found out, unless what follows from it is yet to be put in force: who reads that a backend
    /// was found may rely on it.
    fn tell_news(&mut self) {
        if let Some(unsaid) = self.crowd.unsaid(Instant::now()) {
            self.surroundings.announcer.many_hops(unsaid);
        }
        if self.unsaid.is_empty() || self.daemon.operator().is_unsettled() {
            return;
        }
        let services = Services::of(self.daemon.operator().config());
        let role = |address| self.daemon.operator().balancer().role(address);
        let crowd = &mut self.crowd;
        for news in self.unsaid.drain(..).filter(|_| crowd.admits(Instant::now())) {
            announce::news(self.surroundings.announcer, self.surroundings.port, role, &news, &services);
        }
    }

    /// What lcores have counted.
    pub(crate) fn counters(&self) -> Result<Counters, RunError> {
        self.daemon.operator().balancer().plane().counters().map_err(|error| RunError::Balancer(error.into()))
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What the host answers for and whom it must find.
    fn tell_host(&mut self) {
        self.tell_of_routes();
        let balancer = self.daemon.operator().balancer();
        let wanted = (balancer.our_addresses().clone(), balancer.next_hop_addresses());
        if self.told.as_ref() == Some(&wanted) {
            return;
        }
        self.host.set_addresses(wanted.0.iter().copied(), self.begun.elapsed());
        let news = self.host.set_backends(wanted.1.iter().copied());
        self.told = Some(wanted);
        self.receive_groups();
        self.act(Outcome { news, listens_anew: true, ..Outcome::default() });
    }

    /// Has the port receive frames for groups in which others ask for our addresses of IPv6.
    fn receive_groups(&mut self) {
        let groups = self.host.groups();
        if groups != self.groups {
            match self.reception.set(&groups) {
                Ok(()) => (self.groups, self.is_deaf) = (groups, false),
                // It is tried again with the next tick.
                Err(error) => {
                    if !std::mem::replace(&mut self.is_deaf, true) {
                        announce::deaf(self.surroundings.announcer, &error);
                    }
                }
            }
        }
    }

    /// Tells the plane of the way to clients, if some service asks for it; its connections go by that to their end.
    fn tell_of_routes(&mut self) {
        let operator = self.daemon.operator_mut();
        if !self.is_routed && operator.config().follows_routes() {
            self.is_routed = true;
            let routes = reply_routes(&operator.config().dataplane);
            if routes.is_empty() {
                announce::no_routes(self.surroundings.announcer);
            }
            operator.balancer_mut().set_reply_routes(routes);
        }
    }

    fn tick(&mut self) -> Result<(), RunError> {
        let port = self.surroundings.port;
        if port.has_lost_its_interface() {
            return Err(RunError::Gone(port.name.clone()));
        }
        if self.is_deaf {
            self.receive_groups();
        }
        let port = self.surroundings.port;
        let is_connected = port.is_up() && announce::unconnected_tap(port).is_none();
        if is_connected && !self.is_connected {
            self.host.link_came_up(self.now());
        }
        self.is_connected = is_connected;
        let outcome = self.host.tick(self.now());
        self.hurries = outcome.has_more.then(|| tokio::time::Instant::now() + HOST_HURRY);
        self.act(outcome);
        Ok(())
    }

    /// Takes a burst of what lcores have for the host. More of it waits for its next turn: whoever floods the host with ARP
    /// does not keep us from everything else.
    fn receive(&mut self) {
        let mut frames = Burst::new();
        self.surroundings.to_host.take(&mut frames);
        if !frames.is_empty() {
            self.surroundings.doorbell.notify_one();
        }
        for frame in frames.drain(..) {
            let outcome = self.host.receive(frame.first_segment(), self.now());
            self.act(outcome);
        }
    }

    fn act(&mut self, outcome: Outcome) {
        if outcome.listens_anew {
            self.daemon.operator_mut().balancer_mut().plane_mut().hear(self.host.heard());
        }
        for frame in &outcome.frames {
            // Without an mbuf, or with too many frames under way, it is lost; whoever waits for it asks again.
            if let Some(mbuf) = self.surroundings.pool.mbuf(frame) {
                let _ = self.surroundings.from_host.put(mbuf);
            }
        }
        for news in outcome.news {
            let operator = self.daemon.operator_mut();
            if let News::Backend(address, resolution) = news {
                if let Resolution::Known(mac) = resolution
                    && let Err(error) = operator.balancer_mut().set_next_hop(NextHop { address, mac })
                {
                    operator.failed(&error);
                }
                operator.note_way(address, way(resolution));
            }
            self.unsaid.push(news);
        }
        if !outcome.frames.is_empty() {
            self.surroundings.bell.ring();
        }
    }
}

/// The way to clients: those in our network are reached directly, all others through the gateway.
fn reply_routes(dataplane: &Dataplane) -> Vec<ReplyRoute> {
    let (Some(own), Some(gateway)) = (dataplane.address, dataplane.gateway) else { return Vec::new() };
    vec![
        ReplyRoute { network: own.address, length: own.prefix, router: None },
        ReplyRoute { network: Ipv4Addr::UNSPECIFIED, length: 0, router: Some(gateway) },
    ]
}

fn way(resolution: Resolution) -> Way {
    match resolution {
        Resolution::Known(_) => Way::Known,
        Resolution::Silent => Way::Silent,
        Resolution::Lost => Way::Lost,
        Resolution::NoRoute => Way::NoRoute,
    }
}
