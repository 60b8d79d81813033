//! Next hops, from the kernel's routing and neighbour tables.
//!
//! The packet path cannot wait for ARP, so every backend's next hop is resolved ahead of need and kept fresh: the kernel is
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
use std::net::{IpAddr, Ipv4Addr};
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
    pub ways: Vec<(Ipv4Addr, Resolution)>,
    /// How many next hops the kernel has refused to ask for because its table is full (net.ipv4.neigh.default.gc_thresh3).
    pub refused: usize,
}

/// The next hops of a set of backends behind one interface.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Handle,
    interface: u32,
    /// The VRF that the interface is a port of: routes are those of its table.
    vrf: Option<u32>,
    /// Where packets for backends come from.
    source: Option<Ipv4Addr>,
    /// By backend, the address that is resolved: its own, or its router's.
    via: BTreeMap<Ipv4Addr, Result<IpAddr, Resolution>>,
    /// By address that is resolved, the backends.
    behind: HashMap<IpAddr, Vec<Ipv4Addr>>,
    /// When the routes were looked up.
    looked_up: Option<Instant>,
    /// When the kernel was asked for an address that it does not know.
    asked: HashMap<IpAddr, Instant>,
}

impl Neighbours {
    /// Looks for next hops behind this interface, of packets from `source`.
    pub fn new(netlink: Handle, interface: &Interface, source: Option<Ipv4Addr>) -> Self {
        Self {
            netlink,
            interface: interface.index,
            vrf: interface.vrf.as_ref().map(|vrf| vrf.index),
            source,
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
    pub async fn refresh(&mut self, backends: impl IntoIterator<Item = Ipv4Addr>) -> Result<Found, XdpError> {
        self.look_up(backends).await?;
        let table = self.table().await?;
        let now = Instant::now();
        let in_doubt: Vec<_> = self.behind.keys().filter(|via| self.is_in_doubt(via, &table, now)).copied().collect();
        self.asked.retain(|via, asked| self.behind.contains_key(via) && now < *asked + AGAIN);
        self.asked.extend(in_doubt.iter().map(|&via| (via, now)));
        let refused = self.ask_for(&in_doubt, &table).await?;
        let ways = self.via.iter().map(|(backend, via)| {
            let known = via.map(|via| table.get(&via).and_then(|entry| entry.mac));
            let resolution = match known {
                Ok(Some(mac)) => Resolution::Known(mac),
                Ok(None) => Resolution::Asking,
                Err(hopeless) => hopeless,
            };
            (*backend, resolution)
        });
        Ok(Found { ways: ways.collect(), refused })
    }

    /// The backends whose next hop a message from the kernel gives, and what it is.
    pub fn change(&self, message: &NeighbourMessage) -> Vec<NextHop> {
        let Some((address, Entry { mac: Some(mac), .. })) = entry::read(message, self.interface) else {
            return Vec::new();
        };
        self.behind.get(&address).into_iter().flatten().map(|&address| NextHop { address, mac }).collect()
    }

    /// Makes these the backends whose way is known.
    async fn look_up(&mut self, backends: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), XdpError> {
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
        let (netlink, interfaces, source) = (&self.netlink, (self.interface, self.vrf), self.source);
        let mut answers = stream::iter(unknown)
            .map(|backend| async move {
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
    /// asked for again at the next refresh; until then what is known holds. Returns how many did not fit into its table.
    async fn ask_for(&self, addresses: &[IpAddr], table: &HashMap<IpAddr, Entry>) -> Result<usize, XdpError> {
        let requests = addresses.iter().map(|&address| (address, table.contains_key(&address)));
        let mut answers = stream::iter(requests)
            .map(|(address, is_there)| ask("neighbours", move || self.use_entry(address, is_there)))
            .buffer_unordered(AT_ONCE);
        let mut refused = 0;
        while let Some(answer) = answers.next().await {
            refused += usize::from(!answer?);
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
    source: Option<Ipv4Addr>,
    backend: Ipv4Addr,
) -> Result<Result<IpAddr, Resolution>, XdpError> {
    // A kernel that does not have the address itself answers nobody who asks from there.
    for source in source.map(Some).into_iter().chain([None]) {
        let to = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(backend, 32);
        let to = vrf.into_iter().fold(to, RouteMessageBuilder::output_interface);
        let request = source.into_iter().fold(to, |to, source| to.source_prefix(source, 32)).build();
        match pin!(netlink.route().get(request).execute()).next().await {
            Some(Ok(route)) => return Ok(leads_to(&route, interface).map(|gateway| gateway.unwrap_or(backend.into()))),
            // Netlink answers "no route" with an error.
            Some(Err(rtnetlink::Error::NetlinkError(_))) | None => {}
            Some(Err(error)) => return Err(failed("routes")(error)),
        }
    }
    Ok(Err(Resolution::NoRoute))
}

/// The router of a route that leaves by the interface, if it has one: of several paths, the one that the kernel has picked.
fn leads_to(route: &RouteMessage, interface: u32) -> Result<Option<IpAddr>, Resolution> {
    if route.header.kind == RouteType::Local {
        return Err(Resolution::Here);
    }
    let mut via = None;
    let mut leaves_by = 0;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => leaves_by = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) | RouteAttribute::Via(RouteVia::Inet(gateway)) => {
                via = Some(IpAddr::from(*gateway));
            }
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => via = Some(IpAddr::from(*gateway)),
            _ => {}
        }
    }
    if leaves_by == interface { Ok(via) } else { Err(Resolution::Elsewhere(leaves_by)) }
}
