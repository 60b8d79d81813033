//! The balancer in the foreground, on XDP.

use crate::announce;
use crate::error::RunError;
use evenkeel_control::config::{Config, XdpMode};
use evenkeel_control::daemon::{Daemon, every};
use evenkeel_control::{Balancer, NextHop, Operator, Plane, Secrets};
use evenkeel_daemon::{Announcer, SetupError, Stop};
use evenkeel_xdp::{Attachment, Claim, Interface, Memory, Neighbours, Resolution, Start, Started, XdpPlane};
use futures_util::{Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often next hops are asked for again.
const REFRESH: Duration = Duration::from_secs(5);
/// How long the start waits for backends to answer ARP.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What shall be done.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The object that `crates/ebpf` builds.
    pub object: &'a [u8],
    /// What is balanced.
    pub config: Config,
    /// The network interface.
    pub interface: String,
    /// Where the program runs.
    pub mode: XdpMode,
    /// Where the configuration was read from, to be read again; without it, there is no reload.
    pub file: Option<PathBuf>,
    /// Where questions are answered, if anywhere.
    pub socket: Option<PathBuf>,
    /// Where the tables come from.
    pub memory: Memory,
    /// Whether program and tables stay at work at the end.
    pub keep: bool,
    /// Who says what happens.
    pub announcer: Announcer,
}

/// Balances until Ctrl-C, SIGTERM or somebody else's taking the program away. To be called outside of a runtime.
///
/// # Errors
/// The balancer cannot begin; or something went away under it, and it has cleared away what was left.
pub fn run(run: &Run<'_>) -> Result<(), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    runtime.block_on(balance(run))
}

async fn balance(run: &Run<'_>) -> Result<(), RunError> {
    let Run { object, config, interface, mode, file, socket, memory, keep, announcer } = run;
    let announcer = *announcer;
    let mut stop = Stop::new().map_err(SetupError::of("signals"))?;
    let groups = [MulticastGroup::Link, MulticastGroup::Neigh];
    let (connection, netlink, mut news) =
        rtnetlink::new_multicast_connection(&groups).map_err(SetupError::of("netlink"))?;
    tokio::spawn(connection);

    let claim = Claim::take(Interface::find(&netlink, interface).await?)?;
    let interface = claim.interface();
    let secrets = Secrets::random().map_err(SetupError::of("random secrets"))?;
    let start = Start { object, config, secrets, memory: *memory };
    let Started { balancer, inherited, unnamed } = evenkeel_xdp::start(&claim, start)?;
    match unnamed {
        Some(reason) if *keep => return Err(reason.into()),
        Some(reason) => announcer.say(&format!("warning: {reason}")),
        None => {}
    }
    let mut operator = Operator::new(balancer, "xdp", config.clone(), file.clone())?;
    announcer.services(config);

    let mut neighbours = Neighbours::new(netlink.clone(), interface);
    let mut hops = NextHops { announcer, known: BTreeMap::new() };
    tokio::select! {
        resolved = hops.resolve(&mut neighbours, operator.balancer_mut()) => resolved?,
        () = stop.asked() => {
            if !keep {
                claim.give_up(&netlink).await?;
            }
            return Ok(());
        }
    }
    let mut daemon = Daemon::begin(operator, socket.as_deref()).await?;
    let attachment = claim.attach(&netlink, *mode, daemon.operator().balancer().plane()).await?;
    announce::veth_traps(announcer, attachment.interface(), attachment.mode());
    announce::ready(announcer, &attachment, inherited);
    daemon.is_ready();

    let ended = watch(&mut stop, &netlink, &mut news, &attachment, &mut hops, &mut neighbours, &mut daemon).await;
    let counters = daemon.operator().balancer().plane().counters();
    match ended {
        // With another Ethernet address the program would only lose what is sent to it.
        Err(failure) if *keep && !matches!(failure, RunError::MacChanged(_)) => {
            attachment.leave();
            return Err(failure);
        }
        Err(failure) => {
            attachment.detach(&netlink).await?;
            return Err(failure);
        }
        Ok(End::Asked) if *keep => {
            attachment.leave();
            announcer.say("stopped; program and connections are left at work, for the next evenkeel to take over.");
        }
        Ok(End::Asked) => {
            attachment.detach(&netlink).await?;
            announcer.say("stopped; the program is detached.");
        }
        Ok(End::Detached) => {
            attachment.lost()?;
            announcer.say("the program was detached by somebody else; stopped.");
        }
        Ok(End::InterfaceGone(name)) => {
            attachment.lost()?;
            return Err(RunError::InterfaceGone(name));
        }
    }
    announcer.totals(&counters?);
    Ok(())
}

/// Keeps next hops and the flow table in order until there is a reason to end. `news` is what the kernel tells without
/// being asked.
async fn watch<A>(
    stop: &mut Stop,
    netlink: &Handle,
    news: &mut (impl Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, A)> + Unpin),
    attachment: &Attachment,
    hops: &mut NextHops,
    neighbours: &mut Neighbours,
    daemon: &mut Daemon<XdpPlane>,
) -> Result<End, RunError> {
    let mut refresh = every(REFRESH);
    let mut known = daemon.operator().balancer().backend_addresses();
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(End::Asked),
            _ = refresh.tick() => {
                // Messages can be lost when many come at once, so the program's place is looked at as well.
                if !attachment.is_in_place(netlink).await {
                    return Ok(gone(netlink, attachment).await);
                }
                hops.refresh(neighbours, daemon.operator_mut().balancer_mut()).await?;
            }
            turn = daemon.turn() => {
                hops.announcer.turn(&turn?);
                // New backends do not wait for the next refresh.
                let backends = daemon.operator().balancer().backend_addresses();
                if !backends.is_subset(&known) {
                    hops.refresh(neighbours, daemon.operator_mut().balancer_mut()).await?;
                }
                known = backends;
            }
            message = news.next() => match message.map(|(message, _)| message.payload) {
                Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message))) => {
                    for hop in neighbours.change(&message) {
                        hops.note(daemon.operator_mut().balancer_mut(), hop.address, Resolution::Known(hop.mac))?;
                    }
                }
                Some(NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message),
                )) if !attachment.is_in(&message) && !attachment.is_in_place(netlink).await => {
                    return Ok(gone(netlink, attachment).await);
                }
                Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)))
                    if !attachment.interface().has_mac(&message) =>
                {
                    return Err(RunError::MacChanged(attachment.interface().name.clone()));
                }
                Some(_) => {}
                None => return Err(SetupError::of("netlink")("the kernel closed the connection").into()),
            },
        }
    }
}

enum End {
    Asked,
    Detached,
    InterfaceGone(String),
}

async fn gone(netlink: &Handle, attachment: &Attachment) -> End {
    let interface = attachment.interface();
    if interface.exists(netlink).await { End::Detached } else { End::InterfaceGone(interface.name.clone()) }
}

/// Next hops as they were last told to the plane and to the user.
struct NextHops {
    announcer: Announcer,
    known: BTreeMap<Ipv4Addr, Resolution>,
}

impl NextHops {
    /// Waits a moment for every backend to be found.
    async fn resolve(
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

    async fn refresh(
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
    fn note(
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
