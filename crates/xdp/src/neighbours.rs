//! Next hops, from the kernel's routing and neighbour tables.
//!
//! The packet path cannot wait for ARP, so every backend's next hop is resolved ahead of need and kept fresh: the
//! kernel is asked to use the entry (`NTF_USE`), which makes it probe whenever it is not sure, and tells us of every
//! change.

use crate::error::XdpError;
use crate::interface::Interface;
use evenkeel_control::NextHop;
use evenkeel_wire::MacAddress;
use futures_util::StreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;

/// What is known about the way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The next hop's Ethernet address.
    Known(MacAddress),
    /// The kernel is asking for it, or has got no answer.
    Asking,
    /// The kernel's route does not leave by our interface, so packets from it cannot get there.
    Elsewhere,
    /// The kernel has no route.
    NoRoute,
}

/// The next hops of a set of backends behind one interface.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Handle,
    interface: u32,
    /// By backend, the address that is resolved: its own, or its router's.
    via: BTreeMap<Ipv4Addr, Result<Ipv4Addr, Resolution>>,
}

impl Neighbours {
    /// Looks for next hops behind this interface.
    pub fn new(netlink: Handle, interface: &Interface) -> Self {
        Self { netlink, interface: interface.index, via: BTreeMap::new() }
    }

    /// Finds the routes to these backends, asks the kernel to keep their next hops fresh, and says what it knows now.
    /// To be called every few seconds; changes in between come by [`Neighbours::change`].
    ///
    /// # Errors
    /// Netlink does not answer.
    pub async fn refresh(
        &mut self,
        backends: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Result<Vec<(Ipv4Addr, Resolution)>, XdpError> {
        self.via.clear();
        for backend in backends {
            let via = self.route(backend).await?;
            if let Ok(via) = via {
                self.ask(via).await?;
            }
            self.via.insert(backend, via);
        }
        let table = self.table().await?;
        Ok(self
            .via
            .iter()
            .map(|(backend, via)| {
                let known = via.map(|via| table.get(&via).copied());
                let resolution = match known {
                    Ok(Some(mac)) => Resolution::Known(mac),
                    Ok(None) => Resolution::Asking,
                    Err(hopeless) => hopeless,
                };
                (*backend, resolution)
            })
            .collect())
    }

    /// The backends whose next hop a message from the kernel gives, and what it is.
    pub fn change(&self, message: &NeighbourMessage) -> Vec<NextHop> {
        let Some((changed, mac)) = self.read(message) else { return Vec::new() };
        self.via.iter().filter(|(_, via)| **via == Ok(changed)).map(|(&address, _)| NextHop { address, mac }).collect()
    }

    async fn route(&self, backend: Ipv4Addr) -> Result<Result<Ipv4Addr, Resolution>, XdpError> {
        let request = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(backend, 32).build();
        let route = match pin!(self.netlink.route().get(request).execute()).next().await {
            Some(Ok(route)) => route,
            // Netlink answers "no route" with an error.
            Some(Err(rtnetlink::Error::NetlinkError(_))) | None => return Ok(Err(Resolution::NoRoute)),
            Some(Err(error)) => return Err(unanswered("routes")(error)),
        };
        let mut via = backend;
        let mut leaves_here = false;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => leaves_here = *index == self.interface,
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => via = *gateway,
                _ => {}
            }
        }
        Ok(if leaves_here { Ok(via) } else { Err(Resolution::Elsewhere) })
    }

    /// Makes the kernel resolve the address, or check it if it has not been heard of for a while. A kernel that refuses, since
    /// its table is full for instance, is asked again at the next refresh; until then what is known holds.
    async fn ask(&self, address: Ipv4Addr) -> Result<(), XdpError> {
        let request = self
            .netlink
            .neighbours()
            .add(self.interface, IpAddr::V4(address))
            .flags(NeighbourFlags::Use)
            .state(NeighbourState::None)
            .replace();
        match request.execute().await {
            Ok(()) | Err(rtnetlink::Error::NetlinkError(_)) => Ok(()),
            Err(error) => Err(unanswered("neighbours")(error)),
        }
    }

    async fn table(&self) -> Result<BTreeMap<Ipv4Addr, MacAddress>, XdpError> {
        let mut table = BTreeMap::new();
        let mut entries = pin!(self.netlink.neighbours().get().set_address_family(AddressFamily::Inet).execute());
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(unanswered("neighbours"))?;
            table.extend(self.read(&entry));
        }
        Ok(table)
    }

    /// Address and Ethernet address of an entry that can be used.
    fn read(&self, message: &NeighbourMessage) -> Option<(Ipv4Addr, MacAddress)> {
        use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
        let usable = matches!(message.header.state, Reachable | Stale | Delay | Probe | Permanent);
        if !usable || message.header.ifindex != self.interface {
            return None;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(destination)) => address = Some(*destination),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok().map(MacAddress);
                }
                _ => {}
            }
        }
        Some((address?, mac?))
    }
}

fn unanswered(what: &'static str) -> impl Fn(rtnetlink::Error) -> XdpError {
    move |error| XdpError::Netlink { what, reason: error.to_string() }
}
