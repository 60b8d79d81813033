//! Who speaks to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The balancer's.
pub const OUR_MAC: Mac = [0x02, 0, 0, 0, 0, 0x10];
/// Every client's, unless a test says otherwise: they come through one router.
pub const CLIENT_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];

/// An IPv4 address and a port.
pub const fn end(address: [u8; 4], port: u16) -> SocketAddr {
    let [a, b, c, d] = address;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

/// An IPv6 address and a port.
pub const fn end6(address: [u16; 8], port: u16) -> SocketAddr {
    let [a, b, c, d, e, f, g, h] = address;
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), port)
}

/// A port of this address.
pub fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}
