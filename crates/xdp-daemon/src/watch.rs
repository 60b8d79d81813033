//! The balancer at work: what comes is attended to, one thing after the other.

use crate::announce;
use crate::next_hops::NextHops;
use crate::replies::Replies;
use evenkeel_control::daemon::{Daemon, every};
use evenkeel_daemon::Stop;
use evenkeel_wire::MacAddress;
use evenkeel_xdp::netlink::{self, News, Told};
use evenkeel_xdp::{Attachment, HostAddresses, Neighbours, Resolution, XdpError, XdpPlane, reply_routes};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::Handle;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::{Interval, sleep};

/// How often next hops are asked for again.
const REFRESH: Duration = Duration::from_secs(5);
/// Until it is tried again what has panicked.
const AFTER_A_PANIC: Duration = Duration::from_millis(100);

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
    /// Backends and routers whose next hops were asked for.
    known: HashSet<Ipv4Addr>,
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
        let (refresh, replies) = (every(REFRESH), Replies::default());
        Self { netlink, news, attachment, hops, neighbours, host, daemon, refresh, known, replies }
    }

    /// Keeps next hops and the flow table in order until there is a reason to end. Being told to stop comes before all
    /// else, whatever is under way. What cannot be done is said, and tried again: nothing of it is such a reason.
    pub(crate) async fn until_stopped(&mut self, stop: &mut Stop) -> End {
        tokio::select! {
            biased;
            () = stop.asked() => End::Asked,
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
                turn = self.daemon.turn() => {
                    self.hops.announcer().turn(&turn);
                    self.look_for_routes().await;
                    // New backends do not wait for the next refresh.
                    let backends = self.daemon.operator().balancer().next_hop_addresses();
                    if !backends.is_subset(&self.known) {
                        self.refresh_hops().await;
                    }
                    self.known = backends;
                    None
                }
                told = self.news.next() => self.hear(told).await,
            };
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
    Asked,
    Detached,
    InterfaceGone(String),
    /// And the program cannot be exchanged for one that knows the new one.
    MacChanged(String),
}
