//! What is around a packet in a tunnel.

use crate::network::Network;
use crate::transport::udp_checksum;
use etherparse::{EtherType, IpNumber, UdpHeader};
use std::net::{IpAddr, SocketAddr};

/// The port that says GUE.
pub const GUE_PORT: u16 = 6080;

/// What is around a packet in a tunnel: IP in IP, or GUE's variant 1, which is IP directly over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The outer header.
    pub network: Network,
    /// Of GUE.
    pub udp: Option<UdpHeader>,
}

impl Envelope {
    pub(crate) fn ipip(from: IpAddr, to: IpAddr, inner: &Network) -> Self {
        Self { network: Network::new(from, to, inner.number()), udp: None }
    }

    pub(crate) fn gue(from: SocketAddr, to: SocketAddr, with_checksum: bool) -> Self {
        let udp = UdpHeader {
            source_port: from.port(),
            destination_port: to.port(),
            length: 0,
            // Any number but zero asks for one.
            checksum: with_checksum.into(),
        };
        Self { network: Network::new(from.ip(), to.ip(), IpNumber::UDP), udp: Some(udp) }
    }

    /// Takes an envelope apart that has this outer header: it, how Ethernet would announce what is in it, and that.
    pub(crate) fn of<'a>(network: &Network, segment: &'a [u8]) -> Option<(Self, EtherType, &'a [u8])> {
        let (udp, inner) = match network.protocol() {
            IpNumber::IPV4 | IpNumber::IPV6 => (None, segment),
            IpNumber::UDP => {
                let (udp, inner) = UdpHeader::from_slice(segment).ok()?;
                (udp.destination_port == GUE_PORT).then_some((Some(udp), inner))?
            }
            _ => return None,
        };
        // The variant is in the two bits that IP's versions, 4 and 6, have in common.
        let ether_type = match inner.first()? >> 4 {
            4 => EtherType::IPV4,
            6 => EtherType::IPV6,
            _ => return None,
        };
        Some((Self { network: network.clone(), udp }, ether_type, inner))
    }

    /// The envelope around a packet.
    pub(crate) fn bytes(self, inner: &[u8]) -> Vec<u8> {
        let udp = self.udp.map(|mut udp| {
            udp.length = u16::try_from(UdpHeader::LEN + inner.len()).expect("fits a datagram");
            if udp.checksum != 0 {
                udp.checksum = udp_checksum(&udp, (self.network.source(), self.network.destination()), inner);
            }
            udp.to_bytes()
        });
        let segment = [udp.as_ref().map_or(&[][..], |udp| udp), inner].concat();
        [self.network.bytes(segment.len()), segment].concat()
    }
}
