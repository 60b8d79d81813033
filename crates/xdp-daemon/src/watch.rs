//! The balancer at work: what comes is attended to, one thing after the other.

use crate::announce;
use crate::next_hops::NextHops;
use crate::replies::Replies;
use evenkeel_control::daemon::{Daemon, every};
use evenkeel_daemon::{Services, Stop};
use evenkeel_wire::MacAddress;
use evenkeel_xdp::netlink::{self, News, Told};
use evenkeel_xdp::{Attachment, HostAddresses, Neighbours, Resolution, XdpError, XdpPlane, reply_routes};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::Handle;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, Interval, sleep, sleep_until};

/// How often next hops are asked for again.
const REFRESH: Duration = Duration::from_secs(5);
/// Until it is tried again what has panicked.
const AFTER_A_PANIC: Duration = Duration::from_millis(100);
/// How long after routes have changed, as a rule many at once, next hops are asked for out of turn.
const SOON: Duration = Duration::from_millis(200);
/// How many times as long as it took is waited before that is done again, however often routes change.
const REST: u32 = 10;

/// What is watched over.
pub(crate) struct Watch<'a> {
    netlink: Handle,
    news: News,
    attachment: &'a Attachment,
    hops: NextHops,
    neighbours: Neighbours,
    host: HostAddresses,
    daemon: &'a mut Daemon<XdpPlane>,
    refresh: Interval,
    /// When to ask out of turn, since routes have changed.
    soon: Option<Instant>,
    /// Before that there is no asking out of turn.
    rest: Instant,
    /// Addresses of ours that nobody answers ARP for, of which that was said.
    unanswered: BTreeSet<IpAddr>,
    /// Backends and routers whose next hops were asked for.
    known: HashSet<IpAddr>,
    /// The way for answers.
    replies: Replies,
}

impl<'a> Watch<'a> {
    /// Begins. What the kernel tells must have been listened to since before the program was attached.
    pub(crate) fn new(
        netlink: Handle,
        news: News,
        attachment: &'a Attachment,
        hops: NextHops,
        neighbours: Neighbours,
        host: HostAddresses,
        daemon: &'a mut Daemon<XdpPlane>,
    ) -> Self {
        let known = daemon.operator().balancer().next_hop_addresses();
        let mut watch = Self {
            netlink,
            news,
            attachment,
            hops,
            neighbours,
            host,
            daemon,
            refresh: every(REFRESH),
            soon: None,
            rest: Instant::now(),
            unanswered: BTreeSet::new(),
            known,
            replies: Replies::default(),
        };
        watch.look_who_answers();
        watch
    }

    /// Keeps next hops and the flow table in order until there is a reason to end. Being told to stop comes before all
    /// else, whatever is under way. What cannot be done is said, and tried again: nothing of it is such a reason.
    pub(crate) async fn until_stopped(&mut self, stop: &mut Stop) -> End {
        tokio::select! {
            biased;
            signal = stop.asked() => End::Asked(signal),
            end = self.until_ended() => end,
        }
    }

    async fn until_ended(&mut self) -> End {
        let troubles = self.daemon.operator().share_troubles();
        loop {
            if let Some(end) = troubles.guard("the control side", self.work()).await {
                return end;
            }
            sleep(AFTER_A_PANIC).await;
        }
    }

    async fn work(&mut self) -> End {
        loop {
            let end = tokio::select! {
                _ = self.refresh.tick() => self.look_around().await,
                () = sleep_until(self.soon.unwrap_or(self.rest)), if self.soon.is_some() => {
                    let begun = Instant::now();
                    self.refresh_hops().await;
                    let end = Instant::now();
                    (self.soon, self.rest) = (None, end + (end - begun) * REST);
                    None
                }
                turn = self.daemon.turn() => {
                    self.hops.announcer().turn(&turn);
                    let notes = self.daemon.take_notes();
                    self.hops.announcer().notes(&notes);
                    self.look_for_routes().await;
                    // New backends do not wait for the next refresh.
                    let backends = self.daemon.operator().balancer().next_hop_addresses();
                    if !backends.is_subset(&self.known)
                        && !self.hops.refresh_new(&mut self.neighbours, self.daemon.operator_mut()).await
                    {
                        self.connect_again();
                    }
                    if self.known != backends {
                        self.look_who_answers();
                    }
                    self.known = backends;
                    None
                }
                told = self.news.next() => self.hear(told).await,
            };
            self.hops.tell(self.daemon.operator());
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Asks for everything that is also told, since messages can be lost when many come at once.
    async fn look_around(&mut self) -> Option<End> {
        let end = self.look_at_place().await;
        if end.is_none() {
            self.look_for_routes().await;
            self.refresh_hops().await;
            self.look_at_host().await;
        }
        end
    }

    async fn hear(&mut self, told: Told) -> Option<End> {
        let message = match told {
            Told::Message(message) => message,
            Told::Overrun => {
                self.routes_changed();
                return self.look_around().await;
            }
        };
        match message {
            RouteNetlinkMessage::NewNeighbour(message) => {
                for hop in self.neighbours.change(&message) {
                    self.hops.note(self.daemon.operator_mut(), hop.address, Resolution::Known(hop.mac));
                }
            }
            RouteNetlinkMessage::NewAddress(message) => {
                self.host.change(&message, true);
                self.tell_of_host();
            }
            RouteNetlinkMessage::DelAddress(message) => {
                self.host.change(&message, false);
                self.tell_of_host();
            }
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewRule(_)
            | RouteNetlinkMessage::DelRule(_) => {
                self.routes_changed();
                self.look_for_routes().await;
            }
            RouteNetlinkMessage::NewLink(message) => return self.hear_of_link(&message, true).await,
            RouteNetlinkMessage::DelLink(message) => return self.hear_of_link(&message, false).await,
            _ => {}
        }
        None
    }

    async fn hear_of_link(&mut self, message: &LinkMessage, is_there: bool) -> Option<End> {
        // A route goes with the interface that it leaves by, without a word of its own.
        self.routes_changed();
        if !self.attachment.is_in(message)
            && let Some(end) = self.look_at_place().await
        {
            return Some(end);
        }
        let mac = self.attachment.interface().mac_in(message).filter(|_| is_there);
        mac.and_then(|mac| self.follow_mac(mac))
    }

    /// Why to end, if the program is not where it was put. As long as the kernel does not answer it is taken to be.
    async fn look_at_place(&mut self) -> Option<End> {
        let (attachment, netlink) = (self.attachment, &self.netlink);
        let looked = async {
            let Some(message) = attachment.interface().message(netlink).await? else {
                return Ok(Err(End::InterfaceGone(attachment.interface().name.clone())));
            };
            let is_in_place = attachment.is_in(&message);
            Ok(if is_in_place { Ok(attachment.interface().mac_in(&message)) } else { Err(End::Detached) })
        };
        let looked: Result<Result<_, _>, XdpError> = looked.await;
        match looked {
            Ok(Ok(mac)) => mac.and_then(|mac| self.follow_mac(mac)),
            Ok(Err(end)) => Some(end),
            Err(error) => {
                self.hops.unanswered(&error);
                self.connect_again();
                None
            }
        }
    }

    /// Has the program go by the Ethernet address that the interface has now. A program that cannot be exchanged ends; if only
    /// this attempt fails, the next look around makes another.
    fn follow_mac(&mut self, mac: MacAddress) -> Option<End> {
        let operator = self.daemon.operator_mut();
        let plane = operator.balancer_mut().plane_mut();
        if plane.settings().mac == mac {
            return None;
        }
        let name = &self.attachment.interface().name;
        match plane.set_mac(mac) {
            Ok(()) => {
                self.hops
                    .announcer()
                    .say(&format!("{name} has another Ethernet address now, {mac}; connections go on."));
                None
            }
            Err(_) if !plane.can_be_exchanged() => Some(End::MacChanged(name.clone())),
            Err(error) => {
                operator.failed(&error);
                None
            }
        }
    }

    fn routes_changed(&mut self) {
        self.neighbours.routes_changed();
        self.replies.routes_changed();
        self.soon.get_or_insert_with(|| self.rest.max(Instant::now() + SOON));
    }

    /// Tells the plane of routes to clients, if that may be news to it, and looks for routers that it leads to.
    async fn look_for_routes(&mut self) {
        let operator = self.daemon.operator_mut();
        if !self.replies.are_due(operator.config()) {
            return;
        }
        match reply_routes(&self.netlink, self.attachment.interface()).await {
            Ok(routes) => {
                self.replies.are_known();
                let left_out = operator.balancer_mut().set_reply_routes(routes);
                if left_out > 0 && self.replies.is_more(left_out) {
                    announce::many_routes(self.hops.announcer(), left_out);
                }
                if !operator.balancer().next_hop_addresses().is_subset(&self.known) {
                    self.known = operator.balancer().next_hop_addresses();
                    self.refresh_hops().await;
                }
            }
            Err(error) => {
                self.hops.unanswered(&error);
                self.connect_again();
            }
        }
    }

    async fn refresh_hops(&mut self) {
        if !self.hops.refresh(&mut self.neighbours, self.daemon.operator_mut()).await {
            self.connect_again();
        }
    }

    /// Asks the kernel for the host's addresses again. If it does not answer, what is known holds.
    async fn look_at_host(&mut self) {
        match HostAddresses::find(&self.netlink).await {
            Ok(host) => {
                self.host = host;
                self.tell_of_host();
            }
            Err(error) => {
                self.hops.unanswered(&error);
                self.connect_again();
            }
        }
    }

    /// Tells the plane of the host's addresses. If that fails, the next look at the host tries it again.
    fn tell_of_host(&mut self) {
        let operator = self.daemon.operator_mut();
        if let Err(error) = operator.balancer_mut().plane_mut().set_host_addresses(self.host.all()) {
            operator.failed(&error);
        }
        self.look_who_answers();
    }

    /// Tells the user of addresses that clients and backends ask for in vain, once each.
    fn look_who_answers(&mut self) {
        let ours = self.daemon.operator().balancer().our_addresses();
        let answered = self.host.all();
        let unanswered: BTreeSet<_> = ours.iter().filter(|address| !answered.contains(address)).copied().collect();
        let news: Vec<_> = unanswered.difference(&self.unanswered).copied().collect();
        let services = Services::of(self.daemon.operator().config());
        announce::unanswered(self.hops.announcer(), &news, &self.attachment.interface().name, &services);
        self.unanswered = unanswered;
    }

    /// A connection that has failed once may be of no use any more.
    fn connect_again(&mut self) {
        if let Ok(netlink) = netlink::connect() {
            self.neighbours.set_netlink(netlink.clone());
            self.netlink = netlink;
        }
    }
}

/// Why there is nothing more to watch over.
pub(crate) enum End {
    /// By this signal.
    Asked(&'static str),
    Detached,
    InterfaceGone(String),
    /// And the program cannot be exchanged for one that knows the new one.
    MacChanged(String),
}
