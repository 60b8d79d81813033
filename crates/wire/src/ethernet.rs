//! Ethernet II (IEEE 802.3, clause 3) and VLAN tags (IEEE 802.1Q, clause 9).

use crate::MacAddress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An EtherType, big-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EtherType(pub [u8; 2]);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self([0x08, 0x00]);
    /// ARP (RFC 826).
    pub const ARP: Self = Self([0x08, 0x06]);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self([0x86, 0xdd]);
    /// A customer VLAN tag (802.1Q).
    pub const VLAN: Self = Self([0x81, 0x00]);
    /// A service VLAN tag (802.1ad).
    pub const SERVICE_VLAN: Self = Self([0x88, 0xa8]);

    /// Whether a VLAN tag follows.
    #[inline(always)]
    pub fn is_vlan(self) -> bool {
        self == Self::VLAN || self == Self::SERVICE_VLAN
    }
}

/// The Ethernet header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Where the frame goes.
    pub destination: MacAddress,
    /// Where it came from.
    pub source: MacAddress,
    /// What follows.
    pub ether_type: EtherType,
}

impl Ethernet {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}

/// One VLAN tag, as it stands *after* the EtherType that announced it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// Priority, drop-eligible bit and VLAN identifier.
    pub control: [u8; 2],
    /// What follows the tag.
    pub ether_type: EtherType,
}

impl VlanTag {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}

const _: () = assert!(Ethernet::LENGTH == 14 && VlanTag::LENGTH == 4);
