//! What connections are told apart by: 5-tuples, their ends, and the two directions.

use crate::hash;
use crate::settings::Settings;
use core::fmt::Debug;
use evenkeel_wire::{IpProtocol, Ipv4Address, Ipv6Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A 5-tuple of either family.
pub trait Key: Copy + Debug + PartialEq {
    /// An address of the family.
    type Address: Copy + Debug + PartialEq;

    /// The key of packets from `source` to `destination`.
    fn new(source: Peer<Self::Address>, destination: Peer<Self::Address>, protocol: IpProtocol) -> Self;

    /// Where the packets come from.
    fn source(&self) -> Peer<Self::Address>;

    /// Where the packets go.
    fn destination(&self) -> Peer<Self::Address>;

    /// TCP or UDP.
    fn protocol(&self) -> IpProtocol;

    /// Where the flow is kept: see [`crate::hash`].
    fn place(&self, settings: &Settings) -> u64;
}

/// An IPv6 address as [`Ipv6Address::bits`]. A pair, not an array, so that compilers keep it in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct WideAddress(pub u64, pub u64);

impl WideAddress {
    /// The two words.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        [self.0, self.1]
    }
}

impl From<[u64; 2]> for WideAddress {
    #[inline(always)]
    fn from([first, second]: [u64; 2]) -> Self {
        Self(first, second)
    }
}

impl From<Ipv6Address> for WideAddress {
    #[inline(always)]
    fn from(address: Ipv6Address) -> Self {
        address.bits().into()
    }
}

/// A 5-tuple of IPv4 as a packet carries it, in the two words that a narrow entry keeps it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address in the low half, destination address in the high half.
    pub addresses: u64,
    /// Source port, destination port and protocol, from the low end; 37 bits.
    pub ports: u64,
}

impl FlowKey {
    /// The bits of an entry's word that are the key's. TCP and UDP are numbers below 32.
    pub(crate) const PORTS_MASK: u64 = (1 << 37) - 1;
}

impl Key for FlowKey {
    type Address = Ipv4Address;

    #[inline(always)]
    fn new(source: Peer, destination: Peer, protocol: IpProtocol) -> Self {
        Self {
            addresses: u64::from(source.address.bits()) | u64::from(destination.address.bits()) << 32,
            ports: ports(source.port, destination.port, protocol),
        }
    }

    #[inline(always)]
    fn source(&self) -> Peer {
        Peer { address: Ipv4Address::from_bits(self.addresses as u32), port: source_port(self.ports) }
    }

    #[inline(always)]
    fn destination(&self) -> Peer {
        Peer { address: Ipv4Address::from_bits((self.addresses >> 32) as u32), port: destination_port(self.ports) }
    }

    #[inline(always)]
    fn protocol(&self) -> IpProtocol {
        protocol(self.ports)
    }

    #[inline(always)]
    fn place(&self, settings: &Settings) -> u64 {
        hash::place(*self, &settings.flow_secret)
    }
}

/// A 5-tuple of which an end is IPv6, in the five words that a wide entry keeps it in. An IPv4 address in it is mapped
/// (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct WideKey {
    /// Source address, as wire bytes in memory order.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// As [`FlowKey::ports`].
    pub ports: u64,
}

impl PartialEq for WideKey {
    /// Without a branch for each word: BPF's verifier would walk on from all of them.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let differ = |one: [u64; 2], other: [u64; 2]| (one[0] ^ other[0]) | (one[1] ^ other[1]);
        let ends = differ(self.source, other.source) | differ(self.destination, other.destination);
        ends | (self.ports ^ other.ports) == 0
    }
}

impl Key for WideKey {
    type Address = WideAddress;

    #[inline(always)]
    fn new(source: Peer<WideAddress>, destination: Peer<WideAddress>, protocol: IpProtocol) -> Self {
        Self {
            source: source.address.words(),
            destination: destination.address.words(),
            ports: ports(source.port, destination.port, protocol),
        }
    }

    #[inline(always)]
    fn source(&self) -> Peer<WideAddress> {
        Peer { address: self.source.into(), port: source_port(self.ports) }
    }

    #[inline(always)]
    fn destination(&self) -> Peer<WideAddress> {
        Peer { address: self.destination.into(), port: destination_port(self.ports) }
    }

    #[inline(always)]
    fn protocol(&self) -> IpProtocol {
        protocol(self.ports)
    }

    #[inline(always)]
    fn place(&self, settings: &Settings) -> u64 {
        hash::wide_place(self, &settings.flow_secret, &settings.wide_secret)
    }
}

#[inline(always)]
fn ports(source: Port, destination: Port, protocol: IpProtocol) -> u64 {
    u64::from(source.bits()) | u64::from(destination.bits()) << 16 | u64::from(protocol.0) << 32
}

#[inline(always)]
fn source_port(ports: u64) -> Port {
    Port::from_bits(ports as u16)
}

#[inline(always)]
fn destination_port(ports: u64) -> Port {
    Port::from_bits((ports >> 16) as u16)
}

#[inline(always)]
fn protocol(ports: u64) -> IpProtocol {
    IpProtocol((ports >> 32) as u8)
}

/// Which of the known next hops towards clients: see [`crate::hop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HopNumber(pub u16);

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Peer<A = Ipv4Address> {
    /// The address.
    pub address: A,
    /// The port.
    pub port: Port,
}

/// The way in which an entry's packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From a client to a service.
    Client,
    /// From a backend to a NAT address.
    Backend,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_they_were_made_of() {
        let source = Peer { address: Ipv4Address([10, 0, 0, 1]), port: Port::from_number(40000) };
        let destination = Peer { address: Ipv4Address([10, 0, 0, 10]), port: Port::from_number(8080) };
        let key = FlowKey::new(source, destination, IpProtocol::UDP);
        assert_eq!((key.source(), key.destination(), key.protocol()), (source, destination, IpProtocol::UDP));
    }
}
