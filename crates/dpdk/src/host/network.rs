//! Who is reached directly, and who through a gateway.

use super::routers::Routers;
use evenkeel_control::config::{Dataplane, HostAddress, HostAddress6};
use evenkeel_wire::Ipv6Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that the port is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Our own address there; without one everybody is near.
    pub address: Option<HostAddress>,
    /// The way to who is not.
    pub gateway: Option<Ipv4Addr>,
    /// The same of IPv6; without one, everybody whom no router says anything else of.
    pub address6: Option<HostAddress6>,
    /// The way to who is not; without one, what routers say.
    pub gateway6: Option<Ipv6Addr>,
    /// The VLAN that it is, in frames with that tag; without one, in those without.
    pub vlan: Option<u16>,
}

impl From<&Dataplane> for Network {
    fn from(dataplane: &Dataplane) -> Self {
        let Dataplane { address, gateway, address6, gateway6, vlan, .. } = *dataplane;
        Self { address, gateway, address6, gateway6, vlan }
    }
}

impl Network {
    /// The host's own addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let four = self.address.map(|own| own.address.into());
        let six = self.address6.map(|own| own.address.into());
        four.into_iter().chain(six)
    }

    /// Whether this address is reached directly.
    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.address.is_none_or(|own| own.has_near(address))
    }

    /// The address to send to for packets to `destination`: its own, or that of a router.
    pub(super) fn next_hop(&self, destination: IpAddr, routers: &Routers) -> Option<IpAddr> {
        match destination {
            IpAddr::V4(address) if self.contains(address) => Some(destination),
            IpAddr::V4(_) => self.gateway.map(IpAddr::from),
            IpAddr::V6(address) => {
                let is_near = Ipv6Address::from(address).is_link_local()
                    || self.address6.is_some_and(|own| own.has_near(address))
                    || routers.have_near(address)
                    || (self.address6.is_none() && routers.are_unknown());
                if is_near { Some(destination) } else { self.gateway6.or(routers.best()).map(IpAddr::from) }
            }
        }
    }
}
