//! Next hops, from the kernel's routing and neighbour tables.
//!
//! The packet path cannot wait for ARP or neighbour discovery, so every backend's next hop is resolved ahead of need and kept fresh: the kernel is
//! asked to use an entry of its own that is in doubt (`NTF_USE`), which makes it probe, and tells us of every change. What an
//! operator or a routing daemon has entered is used as it is, and never asked about: that would put the kernel's own entry in
//! its place.

mod entry;

use crate::error::XdpError;
use crate::interface::Interface;
use crate::netlink::{ask, ask_for_all, failed};
use entry::Entry;
use evenkeel_control::NextHop;
use evenkeel_wire::MacAddress;
use futures_util::{StreamExt as _, stream};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// How many questions are on their way at once: their answers fit into a socket's buffer.
const AT_ONCE: usize = 64;
/// What does not answer is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// Routes are looked up again after so long also if no change was told: rules by firewall mark and the like are not.
const ROUTES: Duration = Duration::from_secs(60);

/// What is known about the way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The next hop's Ethernet address.
    Known(MacAddress),
    /// The kernel is asking for it, or has got no answer.
    Asking,
    /// The kernel's route does not leave by our interface, so packets from it cannot get there, but by the one with this index.
    Elsewhere(u32),
    /// The address is the host's own.
    Here,
    /// The kernel has no route.
    NoRoute,
}

/// What a refresh has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By backend.
    pub ways: Vec<(IpAddr, Resolution)>,
    /// How many next hops the kernel has refused to ask for because its table is full (net.ipv4.neigh.default.gc_thresh3, and the same of ipv6).
    pub refused: usize,
    /// How many of them are IPv6, whose table is another.
    pub refused_ipv6: usize,
}

/// The next hops of a set of backends behind one interface.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Handle,
    interface: u32,
    /// The VRF that the interface is a port of: routes are those of its table.
    vrf: Option<u32>,
    /// Where packets for backends come from: the first of a backend's family.
    sources: Vec<IpAddr>,
    /// By backend, the address that is resolved: its own, or its router's.
    via: BTreeMap<IpAddr, Result<IpAddr, Resolution>>,
    /// By address that is resolved, the backends.
    behind: HashMap<IpAddr, Vec<IpAddr>>,
    /// When the routes were looked up.
    looked_up: Option<Instant>,
    /// When the kernel was asked for an address that it does not know.
    asked: HashMap<IpAddr, Instant>,
}

impl Neighbours {
    /// Looks for next hops behind this interface, of packets from the first of `sources` that is of a backend's family.
    pub fn new(netlink: Handle, interface: &Interface, sources: &[IpAddr]) -> Self {
        Self {
            netlink,
            interface: interface.index,
            vrf: interface.vrf.as_ref().map(|vrf| vrf.index),
            sources: sources.to_vec(),
            via: BTreeMap::new(),
            behind: HashMap::new(),
            looked_up: None,
            asked: HashMap::new(),
        }
    }

    /// Goes on with another connection.
    pub fn set_netlink(&mut self, netlink: Handle) {
        self.netlink = netlink;
    }

    /// Routes are others now: the next refresh looks them up again.
    pub fn routes_changed(&mut self) {
        self.looked_up = None;
    }

    /// Finds the routes to these backends, asks the kernel to look after next hops that are in doubt, and says what it knows
    /// now. To be called every few seconds; changes in between come by [`Neighbours::change`].
    ///
    /// # Errors
    /// Netlink does not answer.
    pub async fn refresh(&mut self, backends: impl IntoIterator<Item = IpAddr>) -> Result<Found, XdpError> {
        self.look_up(backends).await?;
        let table = self.table().await?;
        let now = Instant::now();
        let in_doubt: Vec<_> = self.behind.keys().filter(|via| self.is_in_doubt(via, &table, now)).copied().collect();
        self.asked.retain(|via, asked| self.behind.contains_key(via) && now < *asked + AGAIN);
        self.asked.extend(in_doubt.iter().map(|&via| (via, now)));
        let refused = self.ask_for(&in_doubt, &table).await?;
        let refused_ipv6 = refused.iter().filter(|address| address.is_ipv6()).count();
        let ways = self.via.iter().map(|(backend, via)| {
            let known = via.map(|via| table.get(&via).and_then(|entry| entry.mac));
            let resolution = match known {
                Ok(Some(mac)) => Resolution::Known(mac),
                Ok(None) => Resolution::Asking,
                Err(hopeless) => hopeless,
            };
            (*backend, resolution)
        });
        Ok(Found { ways: ways.collect(), refused: refused.len(), refused_ipv6 })
    }

    /// The backends whose next hop a message from the kernel gives, and what it is.
    pub fn change(&self, message: &NeighbourMessage) -> Vec<NextHop> {
        let Some((address, Entry { mac: Some(mac), .. })) = entry::read(message, self.interface) else {
            return Vec::new();
        };
        self.behind.get(&address).into_iter().flatten().map(|&address| NextHop { address, mac }).collect()
    }

    /// Makes these the backends whose way is known.
    async fn look_up(&mut self, backends: impl IntoIterator<Item = IpAddr>) -> Result<(), XdpError> {
        let now = Instant::now();
        let is_fresh = self.looked_up.is_some_and(|looked_up| now < looked_up + ROUTES);
        let before = if is_fresh { std::mem::take(&mut self.via) } else { BTreeMap::new() };
        let mut unknown = Vec::new();
        let mut via = BTreeMap::new();
        for backend in backends {
            match before.get(&backend) {
                Some(known) => drop(via.insert(backend, *known)),
                None => unknown.push(backend),
            }
        }
        let (netlink, interfaces, sources) = (&self.netlink, (self.interface, self.vrf), &self.sources);
        let mut answers = stream::iter(unknown)
            .map(|backend| async move {
                let source = sources.iter().find(|source| source.is_ipv6() == backend.is_ipv6()).copied();
                let found = ask("routes", || route(netlink, interfaces, source, backend)).await;
                found.map(|found| (backend, found))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let (backend, found) = answer?;
            via.insert(backend, found);
        }
        drop(answers);
        self.behind.clear();
        for (backend, via) in &via {
            if let Ok(via) = via {
                self.behind.entry(*via).or_default().push(*backend);
            }
        }
        self.via = via;
        if !is_fresh {
            self.looked_up = Some(now);
        }
        Ok(())
    }

    fn is_in_doubt(&self, via: &IpAddr, table: &HashMap<IpAddr, Entry>, now: Instant) -> bool {
        let is_asked = self.asked.get(via).is_some_and(|asked| now < *asked + AGAIN);
        !is_asked && table.get(via).is_none_or(|entry| entry.is_in_doubt)
    }

    /// Makes the kernel resolve these addresses, or check them if they have not been heard of for a while. What it refuses is
    /// asked for again at the next refresh; until then what is known holds. Returns those that did not fit into its table.
    async fn ask_for(&self, addresses: &[IpAddr], table: &HashMap<IpAddr, Entry>) -> Result<Vec<IpAddr>, XdpError> {
        let requests = addresses.iter().map(|&address| (address, table.contains_key(&address)));
        let mut answers = stream::iter(requests)
            .map(|(address, is_there)| async move {
                let fits = ask("neighbours", move || self.use_entry(address, is_there)).await;
                fits.map(|fits| (address, fits))
            })
            .buffer_unordered(AT_ONCE);
        let mut refused = Vec::new();
        while let Some(answer) = answers.next().await {
            let (address, fits) = answer?;
            refused.extend((!fits).then_some(address));
        }
        Ok(refused)
    }

    /// Returns whether there was room.
    async fn use_entry(&self, address: IpAddr, is_there: bool) -> Result<bool, XdpError> {
        let request = self
            .netlink
            .neighbours()
            .add(self.interface, address)
            .flags(NeighbourFlags::Use)
            .state(NeighbourState::None);
        // An entry that somebody has made since we looked is left alone.
        let request = if is_there { request.replace() } else { request };
        match request.execute().await {
            Ok(()) => Ok(true),
            Err(rtnetlink::Error::NetlinkError(error)) => Ok(error.raw_code() != -libc::ENOBUFS),
            Err(error) => Err(failed("neighbours")(error)),
        }
    }

    /// Every entry behind the interface, of the families that are needed.
    async fn table(&self) -> Result<HashMap<IpAddr, Entry>, XdpError> {
        let mut table = HashMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            // Routers of IPv4 routes may have addresses of the other family.
            if family == AddressFamily::Inet || self.behind.keys().any(IpAddr::is_ipv6) {
                let question = || self.netlink.neighbours().get().set_address_family(family).execute();
                let messages = ask_for_all("neighbours", question).await?;
                table.extend(messages.iter().filter_map(|message| entry::read(message, self.interface)));
            }
        }
        Ok(table)
    }
}

/// The address that leads to a backend, if packets for it leave by the interface: those from `source`, where routes depend on
/// that. In a VRF, which is named beside the interface, routes are those of its table; they are asked for in its name and not in
/// the interface's, or the kernel would know of no other interface that they might leave by.
async fn route(
    netlink: &Handle,
    (interface, vrf): (u32, Option<u32>),
    source: Option<IpAddr>,
    backend: IpAddr,
) -> Result<Result<IpAddr, Resolution>, XdpError> {
    // A kernel that does not have the address itself answers nobody who asks from there.
    for source in source.map(Some).into_iter().chain([None]) {
        match pin!(netlink.route().get(question(source, backend, vrf)).execute()).next().await {
            Some(Ok(route)) => return Ok(leads_to(&route, interface).map(|gateway| gateway.unwrap_or(backend))),
            // Netlink answers "no route" with an error.
            Some(Err(rtnetlink::Error::NetlinkError(_))) | None => {}
            Some(Err(error)) => return Err(failed("routes")(error)),
        }
    }
    Ok(Err(Resolution::NoRoute))
}

/// By which way packets from there to the backend go, in the VRF's table if there is one.
fn question(source: Option<IpAddr>, backend: IpAddr, vrf: Option<u32>) -> RouteMessage {
    match backend {
        IpAddr::V4(backend) => {
            let to = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(backend, 32);
            let to = vrf.into_iter().fold(to, RouteMessageBuilder::output_interface);
            match source {
                Some(IpAddr::V4(source)) => to.source_prefix(source, 32).build(),
                _ => to.build(),
            }
        }
        IpAddr::V6(backend) => {
            let to = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(backend, 128);
            let to = vrf.into_iter().fold(to, RouteMessageBuilder::output_interface);
            match source {
                Some(IpAddr::V6(source)) => to.source_prefix(source, 128).build(),
                _ => to.build(),
            }
        }
    }
}

/// The router of a route that leaves by the interface, if it has one: of several paths, the one that the kernel has picked.
fn leads_to(route: &RouteMessage, interface: u32) -> Result<Option<IpAddr>, Resolution> {
    match route.header.kind {
        RouteType::Local => return Err(Resolution::Here),
        // IPv4's are told as errors.
        RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit => return Err(Resolution::NoRoute),
        _ => {}
    }
    let mut via = None;
    let mut leaves_by = 0;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => leaves_by = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) | RouteAttribute::Via(RouteVia::Inet(gateway)) => {
                via = Some(IpAddr::from(*gateway));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) | RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                via = Some(IpAddr::from(*gateway))
            }
            _ => {}
        }
    }
    if leaves_by == interface { Ok(via) } else { Err(Resolution::Elsewhere(leaves_by)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(kind: RouteType, attributes: &[RouteAttribute]) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes.to_vec();
        message
    }

    #[test]
    fn a_route_leads_to_its_router_of_either_family() {
        let (four, six) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let oif = RouteAttribute::Oif(7);
        for (gateway, expected) in [
            (RouteAttribute::Gateway(RouteAddress::Inet(four)), Some(IpAddr::V4(four))),
            (RouteAttribute::Gateway(RouteAddress::Inet6(six)), Some(IpAddr::V6(six))),
            (RouteAttribute::Via(RouteVia::Inet6(six)), Some(IpAddr::V6(six))),
            (RouteAttribute::Priority(1), None),
        ] {
            let route = route(RouteType::Unicast, &[oif.clone(), gateway]);
            assert_eq!(leads_to(&route, 7), Ok(expected));
            assert_eq!(leads_to(&route, 8), Err(Resolution::Elsewhere(7)));
        }
        for (kind, expected) in [
            (RouteType::Local, Resolution::Here),
            (RouteType::Unreachable, Resolution::NoRoute),
            (RouteType::BlackHole, Resolution::NoRoute),
        ] {
            assert_eq!(leads_to(&route(kind, std::slice::from_ref(&oif)), 7), Err(expected), "{kind:?}");
        }
    }

    #[test]
    fn a_backend_is_asked_for_in_its_own_family() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (backend, source, length) in [("10.0.0.2", "10.0.0.10", 32), ("fd00::2", "fd00::10", 128)] {
            let message = question(Some(address(source)), address(backend), None);
            assert_eq!(message.header.destination_prefix_length, length);
            assert_eq!(message.header.source_prefix_length, length);
            assert_eq!(message.header.address_family == AddressFamily::Inet6, length == 128);
            // A source of the other family says nothing.
            let other = if length == 32 { "fd00::10" } else { "10.0.0.10" };
            assert_eq!(question(Some(address(other)), address(backend), None), question(None, address(backend), None));
        }
    }
}
