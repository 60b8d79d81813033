//! Translation: addresses, ports, TTL, checksums. Nothing else in the packet changes.

use crate::frame::Frame;
use crate::key::{Peer, Side};
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Adjustment, Ethernet, IpProtocol, Ipv4, MacAddress, Tcp, Udp};

/// Where a packet of a connection goes, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The connection's backend, for its counters.
    pub(crate) backend: u16,
    /// Which side the packet came from.
    pub(crate) from: Side,
    /// The next hop's Ethernet address in the low 48 bits; the others mean nothing.
    pub(crate) mac: u64,
    /// What the packet then says that it comes from.
    pub(crate) source: Peer,
    /// What it is sent to.
    pub(crate) destination: Peer,
}

impl Route {
    /// The verdict on a packet that goes there.
    #[inline(always)]
    pub(crate) fn reason(&self) -> Reason {
        match self.from {
            Side::Client => Reason::ToBackend,
            Side::Backend => Reason::ToClient,
        }
    }
}

/// Makes the packet what the route says.
#[inline(always)]
pub(crate) fn send<F: Frame>(frame: &mut F, packet: &Packet, route: &Route, mac: MacAddress) -> Result<(), Reason> {
    let (old_source, old_destination) = (packet.key.source(), packet.key.destination());
    let Route { source, destination, .. } = *route;
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
