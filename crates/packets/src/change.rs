//! What may become of a packet on its way through a balancer that translates addresses.

use crate::end::Mac;
use crate::packet::Packet;
use crate::transport::Transport;
use etherparse::{Icmpv4Type, Icmpv6Type, TcpHeader};
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

    /// The reset that refuses a SYN (RFC 9293, section 3.10.7.1). What the SYN carried beyond a plain header is padding.
    pub fn refused(mut self) -> Self {
        let Transport::Tcp(syn) = &self.transport else { panic!("only TCP is refused") };
        assert!(self.envelope.is_none(), "what is behind a packet in a tunnel is not padding");
        let mut reset = TcpHeader::new(syn.destination_port, syn.source_port, 0, 0);
        (reset.rst, reset.ack) = (true, true);
        reset.acknowledgment_number = syn.sequence_number.wrapping_add(1).wrapping_add(self.payload.len() as u32);
        let segment = [syn.to_bytes().as_slice(), &self.payload].concat();
        self.padding = [&segment[reset.header_len()..], &self.padding].concat();
        self.payload = Vec::new();
        self.transport = Transport::Tcp(reset);
        std::mem::swap(&mut self.ethernet.source, &mut self.ethernet.destination);
        let (source, destination) = (self.network.source(), self.network.destination());
        self.network.set_addresses(destination, source);
        self.network.set_hop_limit(64);
        self
    }
}
