//! What may become of a packet on its way through a balancer that translates addresses.

use crate::end::Mac;
use crate::network::Network;
use crate::packet::Packet;
use crate::transport::Transport;
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Type, IpNumber, TcpHeader, icmpv4};
use std::net::SocketAddr;

/// Everything that a packet's way through the balancer may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new Ethernet destination.
    pub destination_mac: Mac,
    /// The new Ethernet source.
    pub source_mac: Mac,
    /// The new source, of the packet's family.
    pub source: SocketAddr,
    /// The new destination, of the packet's family.
    pub destination: SocketAddr,
    /// The new time to live.
    pub ttl: u8,
}

impl Packet {
    /// The packet after this change. What is around it in a tunnel stays; an echo request becomes the reply.
    pub fn changed(mut self, change: &Change) -> Self {
        (self.ethernet.destination, self.ethernet.source) = (change.destination_mac, change.source_mac);
        self.network.set_addresses(change.source.ip(), change.destination.ip());
        self.network.set_hop_limit(change.ttl);
        let ports = (change.source.port(), change.destination.port());
        match &mut self.transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port) = ports,
            Transport::Udp(udp) => (udp.source_port, udp.destination_port) = ports,
            Transport::Icmp(icmp) => match icmp.icmp_type {
                Icmpv4Type::EchoRequest(echo) => icmp.icmp_type = Icmpv4Type::EchoReply(echo),
                _ => panic!("nothing but an echo request is answered"),
            },
            Transport::Icmpv6(icmp) => match icmp.icmp_type {
                Icmpv6Type::EchoRequest(echo) => icmp.icmp_type = Icmpv6Type::EchoReply(echo),
                _ => panic!("nothing but an echo request is answered"),
            },
            Transport::None => panic!("nothing but TCP, UDP and ICMP is sent"),
        }
        self
    }

    /// The reset that answers a segment of no connection (RFC 9293, section 3.10.7.1). What the segment carried beyond a plain
    /// header is padding.
    pub fn reset(mut self) -> Self {
        let Transport::Tcp(segment) = &self.transport else { panic!("only TCP has resets") };
        assert!(self.envelope.is_none(), "what is behind a packet in a tunnel is not padding");
        assert!(!segment.rst, "a reset is not answered");
        let mut reset = TcpHeader::new(segment.destination_port, segment.source_port, 0, 0);
        reset.rst = true;
        if segment.ack {
            reset.sequence_number = segment.acknowledgment_number;
        } else {
            let taken = self.payload.len() as u32 + u32::from(segment.syn) + u32::from(segment.fin);
            reset.ack = true;
            reset.acknowledgment_number = segment.sequence_number.wrapping_add(taken);
        }
        let segment = [segment.to_bytes().as_slice(), &self.payload].concat();
        self.padding = [&segment[reset.header_len()..], &self.padding].concat();
        self.payload = Vec::new();
        self.transport = Transport::Tcp(reset);
        std::mem::swap(&mut self.ethernet.source, &mut self.ethernet.destination);
        let (source, destination) = (self.network.source(), self.network.destination());
        self.network.set_addresses(destination, source);
        self.network.set_hop_limit(64);
        self
    }

    /// The ICMP message that nobody has the packet's port (RFC 1122, section 3.2.2.1), from where it was to go.
    pub fn unreachable(self) -> Self {
        self.icmp_error(Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port))
    }

    /// The ICMP message that the packet's time to live has ended on the way (RFC 792), from where it was to go.
    pub fn time_exceeded(self) -> Self {
        self.icmp_error(Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit))
    }

    /// A message about the packet, which quotes its IP header and the eight bytes behind it.
    fn icmp_error(mut self, kind: Icmpv4Type) -> Self {
        assert!(self.envelope.is_none(), "what is in a tunnel is somebody else's");
        let mut network = Network::new(self.network.destination(), self.network.source(), IpNumber::ICMP);
        let transport = [self.transport.bytes(&self.network, &self.payload), self.payload].concat();
        let quoted = [self.network.bytes(transport.len()), transport[..8].to_vec()].concat();
        std::mem::swap(&mut self.ethernet.source, &mut self.ethernet.destination);
        // RFC 1812, section 4.3.2.5; RFC 6864, section 4.1.
        network.set_class(0b11_0000, 0);
        network.set_identification(0);
        let transport = Transport::Icmp(Icmpv4Header::new(kind));
        Self {
            ethernet: self.ethernet,
            tags: self.tags,
            envelope: None,
            network,
            transport,
            payload: quoted,
            padding: Vec::new(),
        }
    }
}
