//! Network headers as plain data.
//!
//! Every header is a `#[repr(C)]`, unaligned struct of byte arrays and big-endian integers: any bytes are a valid
//! value, so a header can be laid over packet memory without a copy and without `unsafe`. The *place* of a header is
//! checked once, by whoever owns the packet (the `Frame` trait of `evenkeel-core`); after that its getters cannot fail.
//!
//! What may live here: layouts, addresses, checksum arithmetic. What may not: anything that knows what a balancer is.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod arp;
pub mod checksum;
mod discovery;
mod ethernet;
mod icmp;
mod ipv4;
mod ipv6;
mod listener;
mod tcp;
mod udp;

pub use address::{Ipv4Address, Ipv6Address, MacAddress, Port};
pub use arp::{Arp, ArpOperation};
pub use checksum::Adjustment;
pub use discovery::{
    DISCOVERY_HOP_LIMIT, DiscoveryOption, DiscoveryOptions, LinkAddressOption, NeighbourMessage, PrefixInformation,
    RouterAdvertisement, RouterSolicitation,
};
pub use ethernet::{EtherType, Ethernet, VlanTag};
pub use icmp::{IcmpEcho, IcmpError, IcmpType};
pub use ipv4::{IpProtocol, Ipv4};
pub use ipv6::{Ipv6, Ipv6Extension, Ipv6Fragment};
pub use listener::{GroupRecord, LISTENER_HOP_LIMIT, ListenerMessage, ListenerReport, RouterAlert};
pub use tcp::{Tcp, TcpFlags};
pub use udp::Udp;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A fixed-size header that may stand at any byte of a packet.
pub trait Header: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned> Header for T {}
