//! The host's routes to clients, as the kernel's main table has them, or that of the VRF which the interface is a port of.

use crate::error::XdpError;
use crate::interface::Interface;
use crate::netlink::ask_for_all;
use evenkeel_control::ReplyRoute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Asks the kernel for its routes, for who answers by this interface. Of several with one prefix the one with the lowest metric
/// counts, and of several paths the first. Clients that it reaches by another interface, or not at all, or by a router of IPv6,
/// are answered where their packets come from.
///
/// # Errors
/// Netlink does not answer.
pub async fn reply_routes(netlink: &Handle, interface: &Interface) -> Result<Vec<ReplyRoute>, XdpError> {
    let all = || RouteMessageBuilder::<Ipv4Addr>::new().build();
    let messages = ask_for_all("routes", || netlink.route().get(all()).execute()).await?;
    let table = interface.vrf.as_ref().map_or(u32::from(RouteHeader::RT_TABLE_MAIN), |vrf| vrf.table);
    let mut best = BTreeMap::new();
    for message in &messages {
        let Some((metric, route)) = read(message, interface.index, table) else { continue };
        let key = (route.length, route.network);
        if best.get(&key).is_none_or(|(known, _)| metric < *known) {
            best.insert(key, (metric, route));
        }
    }
    Ok(best.into_values().map(|(_, route)| route).collect())
}

/// The metric and the route; nothing if it is not of this table, or not for everybody.
fn read(message: &RouteMessage, interface: u32, wanted: u32) -> Option<(u32, ReplyRoute)> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut metric, mut network) = (0, Ipv4Addr::UNSPECIFIED);
    // Where it leaves, and the router there.
    let mut path = Path::default();
    let mut first = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => network = *address,
            RouteAttribute::MultiPath(paths) => {
                first = paths.iter().find(|path| path.interface_index == interface).map(|path| {
                    let mut read = Path { interface: path.interface_index, router: None };
                    path.attributes.iter().for_each(|attribute| read.note(attribute));
                    read
                });
            }
            other => path.note(other),
        }
    }
    let is_ours = table == wanted && header.source_prefix_length == 0 && header.tos == 0;
    let Path { interface: leaves, router } = first.unwrap_or(path);
    let router = router.filter(|_| leaves == interface && header.kind == RouteType::Unicast);
    is_ours.then_some((metric, ReplyRoute { network, length: header.destination_prefix_length, router }))
}

/// One way that a route goes.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    interface: u32,
    router: Option<Ipv4Addr>,
}

impl Path {
    fn note(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(router)) | RouteAttribute::Via(RouteVia::Inet(router)) => {
                self.router = Some(*router);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;
    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

    fn message(length: u8, attributes: &[RouteAttribute]) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.header.destination_prefix_length = length;
        message.attributes = attributes.to_vec();
        message
    }

    #[test]
    fn a_router_is_one_where_answers_leave() {
        let gateway = RouteAttribute::Gateway(RouteAddress::Inet(ROUTER));
        let default = |oif| message(0, &[RouteAttribute::Oif(oif), gateway.clone(), RouteAttribute::Priority(7)]);
        let expected = |router| Some((7, ReplyRoute { network: Ipv4Addr::UNSPECIFIED, length: 0, router }));
        assert_eq!(read(&default(3), 3, MAIN), expected(Some(ROUTER)));
        assert_eq!(read(&default(4), 3, MAIN), expected(None), "it leaves elsewhere");
        let mut unreachable = default(3);
        unreachable.header.kind = RouteType::Unreachable;
        assert_eq!(read(&unreachable, 3, MAIN), expected(None));
        let mut local = default(3);
        local.header.table = 255;
        assert_eq!(read(&local, 3, MAIN), None, "another table's");
        let mut vrfs = default(3);
        vrfs.attributes.push(RouteAttribute::Table(1000));
        assert_eq!(read(&vrfs, 3, MAIN), None);
        assert_eq!(read(&vrfs, 3, 1000), expected(Some(ROUTER)), "and a VRF's");
        let network = Ipv4Addr::new(10, 0, 0, 0);
        let destination = RouteAttribute::Destination(RouteAddress::Inet(network));
        let connected = message(24, &[RouteAttribute::Oif(3), destination]);
        assert_eq!(read(&connected, 3, MAIN), Some((0, ReplyRoute { network, length: 24, router: None })));
    }
}
