//! Who is reached directly, and who through a gateway.

use std::net::Ipv4Addr;

/// The network that the port is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Our own address there and the length of the network's prefix, in bits; without it everybody is near.
    own: Option<(Ipv4Addr, u8)>,
    gateway: Option<Ipv4Addr>,
}

impl Network {
    /// The network of `own`, an address and the prefix's length in bits (up to 32), with a way out through `gateway`.
    pub fn new(own: Option<(Ipv4Addr, u8)>, gateway: Option<Ipv4Addr>) -> Self {
        Self { own, gateway }
    }

    /// The host's own address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.own.map(|(address, _)| address)
    }

    /// Whether this address is reached directly.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let Some((own, length)) = self.own else { return true };
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        (u32::from(own) ^ u32::from(address)) & mask == 0
    }

    /// The address to send to for packets to `destination`: its own, or the gateway's.
    pub(super) fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.contains(destination) { Some(destination) } else { self.gateway }
    }
}
