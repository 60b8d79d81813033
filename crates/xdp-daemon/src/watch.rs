//! The balancer at work: what comes is attended to, one thing after the other.

use crate::error::RunError;
use crate::next_hops::NextHops;
use evenkeel_control::daemon::{Daemon, every};
use evenkeel_daemon::{SetupError, Stop};
use evenkeel_xdp::{Attachment, Neighbours, Resolution, XdpPlane};
use futures_util::{Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;
use std::time::Duration;

/// How often next hops are asked for again.
const REFRESH: Duration = Duration::from_secs(5);

/// Keeps next hops and the flow table in order until there is a reason to end. `news` is what the kernel tells without
/// being asked.
pub(crate) async fn watch<A>(
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
                hops.announcer().turn(&turn?);
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

/// Why there is nothing more to watch over.
pub(crate) enum End {
    Asked,
    Detached,
    InterfaceGone(String),
}

async fn gone(netlink: &Handle, attachment: &Attachment) -> End {
    let interface = attachment.interface();
    if interface.exists(netlink).await { End::Detached } else { End::InterfaceGone(interface.name.clone()) }
}
