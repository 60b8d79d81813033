//! A packet that is being thought up.

use crate::end::{CLIENT_MAC, Mac, OUR_MAC};
use crate::network::Network;
use crate::packet::Packet;
use crate::transport::Transport;
use crate::tunnel::Envelope;
use etherparse::{EtherType, Ethernet2Header, IpNumber, SingleVlanHeader, VlanId};
use std::net::{IpAddr, SocketAddr};

/// The EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// The EtherType of a tag around others, a service provider's (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Tcp(u8),
    Udp { with_checksum: bool },
    Icmp(Icmp),
    Other(u8),
}

/// What an ICMP message is about, in either family's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    /// An echo request with this identifier.
    Request(u16),
    /// An echo reply.
    Reply,
    /// "Port unreachable".
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    Ipip(IpAddr, IpAddr),
    Gue { from: SocketAddr, to: SocketAddr, with_checksum: bool },
}

/// A packet that is being thought up. Its family is that of its ends.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where it comes from.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    content: Content,
    source_mac: Mac,
    destination_mac: Mac,
    tags: Vec<(u16, u16)>,
    tunnel: Option<Tunnel>,
    ttl: u8,
    dscp: u8,
    ecn: u8,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    tcp_options: Vec<u8>,
    numbers: Option<(u32, u32)>,
    fragment: (u16, bool),
    payload: Vec<u8>,
    padding: usize,
}

/// A TCP segment with these control bits.
pub fn tcp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, flags: u8) -> Draft {
    Draft {
        from: from.into(),
        to: to.into(),
        content: Content::Tcp(flags),
        source_mac: CLIENT_MAC,
        destination_mac: OUR_MAC,
        tags: Vec::new(),
        tunnel: None,
        ttl: 64,
        dscp: 0,
        ecn: 0,
        options: Vec::new(),
        extensions: Vec::new(),
        tcp_options: Vec::new(),
        numbers: None,
        fragment: (0, false),
        payload: b"evenkeel".to_vec(),
        padding: 0,
    }
}

/// A UDP datagram.
pub fn udp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Draft {
    Draft { content: Content::Udp { with_checksum: true }, ..tcp(from, to, 0) }
}

/// An ICMP message.
pub fn icmp(from: impl Into<IpAddr>, to: impl Into<IpAddr>, message: Icmp) -> Draft {
    Draft { content: Content::Icmp(message), ..tcp((from.into(), 0), (to.into(), 0), 0) }
}

/// An ICMP echo request.
pub fn echo(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Draft {
    icmp(from, to, Icmp::Request(7))
}

impl Draft {
    /// Another protocol, with the payload only.
    pub fn protocol(self, number: u8) -> Self {
        Self { content: Content::Other(number), ..self }
    }

    /// UDP without a checksum.
    pub fn without_checksum(self) -> Self {
        Self { content: Content::Udp { with_checksum: false }, ..self }
    }

    /// From another Ethernet address.
    pub fn source_mac(self, source_mac: Mac) -> Self {
        Self { source_mac, ..self }
    }

    /// To another Ethernet address.
    pub fn destination_mac(self, destination_mac: Mac) -> Self {
        Self { destination_mac, ..self }
    }

    /// One more VLAN tag, inside those that are there, announced by this EtherType.
    pub fn tag(mut self, ether_type: u16, id: u16) -> Self {
        self.tags.push((ether_type, id));
        self
    }

    /// In a tunnel between these addresses, of either family: IP in IP (RFC 2003, RFC 2473, RFC 4213).
    pub fn ipip(self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Self {
        Self { tunnel: Some(Tunnel::Ipip(from.into(), to.into())), ..self }
    }

    /// In a tunnel between these ends, of either family: GUE's variant 1, which is IP directly over UDP
    /// (draft-ietf-intarea-gue-09, section 4).
    pub fn gue(self, from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Self {
        self.gue_in_udp(from.into(), to.into(), true)
    }

    /// The same with no checksum in the tunnel's UDP header, which IPv6 allows for tunnels only (RFC 6935).
    pub fn gue_without_checksum(self, from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Self {
        self.gue_in_udp(from.into(), to.into(), false)
    }

    fn gue_in_udp(self, from: SocketAddr, to: SocketAddr, with_checksum: bool) -> Self {
        Self { tunnel: Some(Tunnel::Gue { from, to, with_checksum }), ..self }
    }

    /// Time to live, or hop limit.
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// DSCP and ECN.
    pub fn traffic_class(self, dscp: u8, ecn: u8) -> Self {
        Self { dscp, ecn, ..self }
    }

    /// IPv4 options; a multiple of four bytes.
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// One more IPv6 extension header with this number, behind those that are there: hop-by-hop options (0), routing
    /// (43) or destination options (60). What is in it is six bytes and a multiple of eight.
    pub fn extension(mut self, number: u8, content: &[u8]) -> Self {
        self.extensions.push((number, content.to_vec()));
        self
    }

    /// TCP's sequence number and acknowledgement. Without them the packet is one of a connection whose two sides have both
    /// begun with [`crate::FIRST_NUMBER`]: a SYN, a SYN-ACK, and after that whatever fits.
    pub fn numbers(self, sequence: u32, acknowledgement: u32) -> Self {
        Self { numbers: Some((sequence, acknowledgement)), ..self }
    }

    /// TCP options; a multiple of four bytes.
    pub fn tcp_options(self, options: &[u8]) -> Self {
        Self { tcp_options: options.to_vec(), ..self }
    }

    /// A part of a larger packet: offset in units of eight bytes, and whether more parts follow. With IPv6 that is the last
    /// of the extension headers.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        Self { fragment: (offset, more), ..self }
    }

    /// What the packet carries.
    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// Bytes behind the IP packet, as short Ethernet frames have them.
    pub fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        self.packet().bytes()
    }

    /// The frame in its parts. Lengths and checksums are not right before it is put together.
    pub fn packet(&self) -> Packet {
        let (protocol, transport) = self.transport();
        let network = self.network(protocol);
        let envelope = self.tunnel.map(|tunnel| match tunnel {
            Tunnel::Ipip(from, to) => Envelope::ipip(from, to, &network),
            Tunnel::Gue { from, to, with_checksum } => Envelope::gue(from, to, with_checksum),
        });
        let announced = envelope.as_ref().map_or(&network, |envelope| &envelope.network).ether_type();
        let types: Vec<_> = self.tags.iter().map(|&(ether_type, _)| EtherType(ether_type)).chain([announced]).collect();
        let tags = self.tags.iter().zip(&types[1..]).map(|(&(_, id), &ether_type)| SingleVlanHeader {
            vlan_id: VlanId::try_new(id).expect("twelve bits"),
            ether_type,
            ..Default::default()
        });
        Packet {
            ethernet: Ethernet2Header {
                source: self.source_mac,
                destination: self.destination_mac,
                ether_type: types[0],
            },
            tags: tags.collect(),
            envelope,
            network,
            transport,
            payload: self.payload.clone(),
            padding: vec![0; self.padding],
        }
    }

    fn transport(&self) -> (IpNumber, Transport) {
        let (from, to) = (self.from.port(), self.to.port());
        match self.content {
            Content::Tcp(flags) => (IpNumber::TCP, Transport::tcp(from, to, flags, self.numbers, &self.tcp_options)),
            Content::Udp { with_checksum } => {
                (IpNumber::UDP, Transport::udp(from, to, self.payload.len(), with_checksum))
            }
            Content::Icmp(message) if self.from.is_ipv4() => (IpNumber::ICMP, Transport::icmp(message)),
            Content::Icmp(message) => (IpNumber::IPV6_ICMP, Transport::icmpv6(message)),
            Content::Other(number) => (IpNumber(number), Transport::None),
        }
    }

    fn network(&self, protocol: IpNumber) -> Network {
        let mut network = Network::new(self.from.ip(), self.to.ip(), protocol);
        network.set_hop_limit(self.ttl);
        network.set_class(self.dscp, self.ecn);
        if !self.options.is_empty() {
            network.set_options(&self.options);
        }
        for (number, content) in &self.extensions {
            network.extend(*number, content);
        }
        if self.fragment != (0, false) {
            network.set_fragment(self.fragment.0, self.fragment.1);
        }
        network
    }
}
