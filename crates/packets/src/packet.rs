//! A packet in its parts.

use crate::network::Network;
use crate::transport::Transport;
use crate::tunnel::Envelope;
use etherparse::{EtherType, Ethernet2Header, SingleVlanHeader};
use std::net::SocketAddr;

/// A packet in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Ethernet header.
    pub ethernet: Ethernet2Header,
    /// VLAN tags, the outer one first.
    pub tags: Vec<SingleVlanHeader>,
    /// What is around the rest, if that is in a tunnel.
    pub envelope: Option<Envelope>,
    /// IP header.
    pub network: Network,
    /// TCP, UDP or ICMP header.
    pub transport: Transport,
    /// What it carries.
    pub payload: Vec<u8>,
    /// What is behind it in the frame.
    pub padding: Vec<u8>,
}

impl Packet {
    /// Takes a well-formed packet apart.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (ethernet, mut rest) = Ethernet2Header::from_slice(bytes).ok()?;
        let mut tags: Vec<SingleVlanHeader> = Vec::new();
        let mut ether_type = ethernet.ether_type;
        while matches!(ether_type, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            let (tag, after) = SingleVlanHeader::from_slice(rest).ok()?;
            (ether_type, rest) = (tag.ether_type, after);
            tags.push(tag);
        }
        let (network, segment, padding) = Network::of(ether_type, rest)?;
        let (envelope, (network, transport, payload)) = match tunnelled(&network, segment) {
            Some((envelope, inner)) => (Some(envelope), inner),
            None => (None, with_transport(network, segment)?),
        };
        Some(Self {
            ethernet,
            tags,
            envelope,
            network,
            transport,
            payload: payload.to_vec(),
            padding: padding.to_vec(),
        })
    }

    /// Where the packet comes from; port 0 if there are none.
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.network.source(), self.transport.ports().0)
    }

    /// Where the packet goes; port 0 if there are none.
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.network.destination(), self.transport.ports().1)
    }

    /// The packet put together again, IP's lengths and every checksum computed anew; a UDP checksum of zero stays.
    pub fn bytes(self) -> Vec<u8> {
        let transport = self.transport.bytes(&self.network, &self.payload);
        let network = self.network.bytes(transport.len() + self.payload.len());
        let mut packet = [network, transport, self.payload].concat();
        if let Some(envelope) = self.envelope {
            packet = envelope.bytes(&packet);
        }
        let mut bytes = self.ethernet.to_bytes().to_vec();
        self.tags.iter().for_each(|tag| bytes.extend(tag.to_bytes()));
        bytes.extend(packet);
        bytes.extend(self.padding);
        bytes
    }
}

type Inner<'a> = (Network, Transport, &'a [u8]);

/// What only looks like a tunnel, because there is no packet in it, is none.
fn tunnelled<'a>(outer: &Network, segment: &'a [u8]) -> Option<(Envelope, Inner<'a>)> {
    let (envelope, ether_type, inner) = Envelope::of(outer, segment)?;
    let (network, segment, behind) = Network::of(ether_type, inner)?;
    behind.is_empty().then_some((envelope, with_transport(network, segment)?))
}

fn with_transport(network: Network, segment: &[u8]) -> Option<Inner<'_>> {
    let (transport, payload) = Transport::of(network.protocol(), segment)?;
    Some((network, transport, payload))
}
