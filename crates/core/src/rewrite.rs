//! Translation: addresses, ports, TTL, checksums. Nothing else in the packet changes.

use crate::frame::Frame;
use crate::key::{Peer, Side};
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, IpProtocol, Ipv4, MacAddress, Tcp, Udp};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where a packet of a connection goes, and as what. Words without padding, so that it can cross a call that a plane
/// makes (see [`crate::Tables::settle`]).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Route {
    source: u64,
    destination: u64,
    mac: u64,
    backend: u32,
    from_backend: u32,
}

impl Route {
    /// To a backend, from the NAT address and port `nat`.
    #[inline(always)]
    pub(crate) fn to_backend(backend: u16, mac: MacAddress, nat: Peer, target: Peer) -> Self {
        Self {
            source: nat.bits(),
            destination: target.bits(),
            mac: mac.bits(),
            backend: u32::from(backend),
            from_backend: 0,
        }
    }

    /// To a client, from the service that it knows.
    #[inline(always)]
    pub(crate) fn to_client(backend: u16, mac: MacAddress, service: Peer, client: Peer) -> Self {
        Self {
            source: service.bits(),
            destination: client.bits(),
            mac: mac.bits(),
            backend: u32::from(backend),
            from_backend: 1,
        }
    }

    /// The connection's backend, for its counters.
    #[inline(always)]
    pub(crate) fn backend(&self) -> u16 {
        self.backend as u16
    }

    /// Which side the packet came from.
    #[inline(always)]
    pub(crate) fn from(&self) -> Side {
        if self.from_backend == 0 { Side::Client } else { Side::Backend }
    }
}

/// Makes the packet what the route says.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(frame: &mut F, packet: &Packet, route: &Route, mac: MacAddress) -> Result<(), Reason> {
    let (old_source, old_destination) = (packet.key.source(), packet.key.destination());
    let (source, destination) = (Peer::from_bits(route.source), Peer::from_bits(route.destination));
    // Both the IPv4 header and, by the pseudo-header (RFC 9293, section 3.1; RFC 768), the transport's checksum cover
    // the addresses.
    let addresses = Adjustment::NONE
        .replace_u32(old_source.address.bits(), source.address.bits())
        .replace_u32(old_destination.address.bits(), destination.address.bits());
    let ports = addresses
        .replace_u16(old_source.port.bits(), source.port.bits())
        .replace_u16(old_destination.port.bits(), destination.port.bits());

    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    ethernet.destination = MacAddress::from_bits(route.mac);
    ethernet.source = mac;

    let ip = frame.header::<Ipv4>(usize::from(packet.ip_offset)).ok_or(Reason::Truncated)?;
    let old_ttl = ip.ttl_word();
    ip.ttl = ip.ttl.wrapping_sub(1);
    ip.checksum.set(addresses.replace_u16(old_ttl, ip.ttl_word()).apply(ip.checksum.get()));
    ip.source = source.address;
    ip.destination = destination.address;

    if packet.key.protocol() == IpProtocol::TCP {
        let tcp = frame.header::<Tcp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
        tcp.source = source.port;
        tcp.destination = destination.port;
        tcp.checksum.set(ports.apply(tcp.checksum.get()));
    } else {
        let udp = frame.header::<Udp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
        udp.source = source.port;
        udp.destination = destination.port;
        udp.checksum.set(ports.apply_udp(udp.checksum.get()));
    }
    Ok(())
}
