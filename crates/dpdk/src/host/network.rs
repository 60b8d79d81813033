//! Who is reached directly, and who through a gateway.

use evenkeel_control::config::HostAddress;
use std::net::Ipv4Addr;

/// The network that the port is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Our own address there; without one everybody is near.
    own: Option<HostAddress>,
    gateway: Option<Ipv4Addr>,
}

impl Network {
    /// The network of `own`, with a way out through `gateway`.
    pub fn new(own: Option<HostAddress>, gateway: Option<Ipv4Addr>) -> Self {
        Self { own, gateway }
    }

    /// The host's own address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.own.map(|own| own.address)
    }

    /// Whether this address is reached directly.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.own.is_none_or(|own| own.has_near(address))
    }

    /// The address to send to for packets to `destination`: its own, or the gateway's.
    pub(super) fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.contains(destination) { Some(destination) } else { self.gateway }
    }
}
