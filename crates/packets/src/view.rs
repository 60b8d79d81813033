//! What a packet says, in the eyes of etherparse.

use crate::end::Mac;
use crate::packet::Packet;
use std::net::SocketAddr;

/// What a packet says, in the eyes of etherparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Where it comes from; port 0 if there are none.
    pub from: SocketAddr,
    /// Where it goes; port 0 if there are none.
    pub to: SocketAddr,
    /// The Ethernet address that it comes from.
    pub source_mac: Mac,
    /// The Ethernet address that it goes to.
    pub destination_mac: Mac,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// TCP's control bits; 0 for anything else.
    pub flags: u8,
    /// The transport's checksum as it stands in the packet.
    pub checksum: u16,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl View {
    /// Takes a packet apart, and fails the test unless it has a transport and all its checksums are right.
    #[track_caller]
    pub fn of(bytes: &[u8]) -> Self {
        let packet = Packet::of(bytes).expect("a well-formed packet");
        assert_eq!(bytes, packet.clone().bytes(), "checksums and lengths as they are, and (right) as they should be");
        let checksum = packet.transport.checksum().expect("a transport that is balanced");
        Self {
            from: packet.source(),
            to: packet.destination(),
            source_mac: packet.ethernet.source,
            destination_mac: packet.ethernet.destination,
            ttl: packet.network.hop_limit(),
            dscp: packet.network.dscp(),
            flags: packet.transport.flags(),
            checksum,
            payload: packet.payload,
        }
    }
}
