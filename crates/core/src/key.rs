//! What connections are told apart by: 5-tuples, their ends, and the two directions.

use evenkeel_wire::{IpProtocol, Ipv4Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

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

    /// The key of packets from `source` to `destination`.
    #[inline(always)]
    pub fn new(source: Peer, destination: Peer, protocol: IpProtocol) -> Self {
        Self {
            addresses: u64::from(source.address.bits()) | u64::from(destination.address.bits()) << 32,
            ports: ports(source.port, destination.port, protocol),
        }
    }

    /// Where the packets come from.
    #[inline(always)]
    pub fn source(self) -> Peer {
        Peer { address: Ipv4Address::from_bits(self.addresses as u32), port: Port::from_bits(self.ports as u16) }
    }

    /// Where the packets go.
    #[inline(always)]
    pub fn destination(self) -> Peer {
        Peer {
            address: Ipv4Address::from_bits((self.addresses >> 32) as u32),
            port: Port::from_bits((self.ports >> 16) as u16),
        }
    }

    /// TCP or UDP.
    #[inline(always)]
    pub fn protocol(self) -> IpProtocol {
        IpProtocol((self.ports >> 32) as u8)
    }
}

/// A 5-tuple of which an end is IPv6, in the five words that a wide entry keeps it in. An IPv4 address in it is mapped
/// (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct WideKey {
    /// Source address, as wire bytes in memory order.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// As [`FlowKey::ports`].
    pub ports: u64,
}

impl WideKey {
    /// The key of packets between these addresses and ports.
    #[inline(always)]
    pub fn new(source: ([u64; 2], Port), destination: ([u64; 2], Port), protocol: IpProtocol) -> Self {
        Self { source: source.0, destination: destination.0, ports: ports(source.1, destination.1, protocol) }
    }

    /// TCP or UDP.
    #[inline(always)]
    pub fn protocol(self) -> IpProtocol {
        IpProtocol((self.ports >> 32) as u8)
    }
}

#[inline(always)]
fn ports(source: Port, destination: Port, protocol: IpProtocol) -> u64 {
    u64::from(source.bits()) | u64::from(destination.bits()) << 16 | u64::from(protocol.0) << 32
}

/// Which of the known next hops towards clients: see [`crate::hop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HopNumber(pub u16);

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Peer {
    /// The address.
    pub address: Ipv4Address,
    /// The port.
    pub port: Port,
}

impl Peer {
    /// The address in the low 32 bits, then the port, both as wire bytes in memory order.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        u64::from(self.address.bits()) | u64::from(self.port.bits()) << 32
    }

    /// The inverse of [`Peer::bits`]; the upper 16 bits are ignored.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self { address: Ipv4Address::from_bits(bits as u32), port: Port::from_bits((bits >> 32) as u16) }
    }
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
