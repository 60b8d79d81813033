//! Translation: addresses, ports, TTL or hop limit, checksums. Nothing else in the packet changes.

use crate::family::{Family, V4};
use crate::frame::Frame;
use crate::key::{Key as _, Peer, Side};
use crate::network::Network as _;
use crate::parse::Packet;
use crate::verdict::Reason;
use evenkeel_wire::{Ethernet, IpProtocol, MacAddress, Port, Tcp, Udp};

/// Where a packet of a connection goes, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<A: Family = V4> {
    /// The connection's backend, for its counters.
    pub(crate) backend: u16,
    /// Which side the packet came from.
    pub(crate) from: Side,
    /// The next hop's Ethernet address in the low 48 bits; the others mean nothing.
    pub(crate) mac: u64,
    /// What the packet then says that it comes from.
    pub(crate) source: Peer<A::Address>,
    /// What it is sent to.
    pub(crate) destination: Peer<A::Address>,
}

impl<A: Family> Route<A> {
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
pub(crate) fn send<A: Family, F: Frame>(
    frame: &mut F,
    packet: &Packet<A>,
    route: &Route<A>,
    mac: MacAddress,
) -> Result<(), Reason> {
    let Route { source, destination, .. } = *route;
    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    ethernet.destination = MacAddress::from_bits(route.mac);
    ethernet.source = mac;

    let ip_offset = usize::from(packet.ip_offset);
    let addresses = A::Network::forward(frame, ip_offset, source.address, destination.address);
    // Both the IPv4 header and, by the pseudo-header (RFC 9293, section 3.1; RFC 768; RFC 8200, section 8.1), the transport's
    // checksum cover the addresses.
    let addresses = addresses.ok_or(Reason::Truncated)?;
    let ports = |old_source: Port, old_destination: Port| {
        addresses
            .replace_u16(old_source.bits(), source.port.bits())
            .replace_u16(old_destination.bits(), destination.port.bits())
    };

    if packet.key.protocol() == IpProtocol::TCP {
        let tcp = frame.header::<Tcp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
        tcp.checksum.set(ports(tcp.source, tcp.destination).apply(tcp.checksum.get()));
        tcp.source = source.port;
        tcp.destination = destination.port;
    } else {
        let udp = frame.header::<Udp>(usize::from(packet.transport_offset)).ok_or(Reason::Malformed)?;
        udp.checksum.set(ports(udp.source, udp.destination).apply_udp(udp.checksum.get()));
        udp.source = source.port;
        udp.destination = destination.port;
    }
    Ok(())
}
