//! Packets are of either family. Configurations and tables are of IPv4.

use std::net::{IpAddr, Ipv4Addr};

/// An address as a configuration has it.
pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("there are no tables for {address}"),
    }
}
