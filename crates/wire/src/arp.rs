//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{EtherType, Ipv4Address, MacAddress};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An ARP operation, big-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ArpOperation(pub [u8; 2]);

impl ArpOperation {
    /// "Who has this address?"
    pub const REQUEST: Self = Self([0, 1]);
    /// "I have."
    pub const REPLY: Self = Self([0, 2]);
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    hardware: [u8; 2],
    protocol: EtherType,
    hardware_length: u8,
    protocol_length: u8,
    /// What it is.
    pub operation: ArpOperation,
    /// Ethernet address of the host that speaks.
    pub sender_mac: MacAddress,
    /// Its IPv4 address; 0.0.0.0 if it only asks whether the other one is taken (RFC 5227, "ARP probe").
    pub sender: Ipv4Address,
    /// Ethernet address of the host that is spoken to; of no meaning in a request.
    pub target_mac: MacAddress,
    /// Its IPv4 address.
    pub target: Ipv4Address,
}

impl Arp {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// A packet for IPv4 over Ethernet.
    pub fn new(
        operation: ArpOperation,
        sender_mac: MacAddress,
        sender: Ipv4Address,
        target_mac: MacAddress,
        target: Ipv4Address,
    ) -> Self {
        Self {
            hardware: [0, 1],
            protocol: EtherType::IPV4,
            hardware_length: 6,
            protocol_length: 4,
            operation,
            sender_mac,
            sender,
            target_mac,
            target,
        }
    }

    /// Whether it is about IPv4 over Ethernet, as the other fields suppose.
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        (self.hardware, self.protocol, self.hardware_length, self.protocol_length) == ([0, 1], EtherType::IPV4, 6, 4)
    }
}

const _: () = assert!(Arp::LENGTH == 28);
