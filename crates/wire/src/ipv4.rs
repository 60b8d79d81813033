//! IPv4 (RFC 791).

use crate::{Adjustment, Ipv4Address};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
}

/// The IPv4 header without its options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    version_and_length: u8,
    /// DSCP (RFC 2474) and ECN (RFC 3168).
    pub traffic_class: u8,
    /// Header and payload, in bytes.
    pub total_length: big_endian::U16,
    /// Groups the fragments of one datagram.
    pub identification: big_endian::U16,
    flags_and_offset: [u8; 2],
    /// Time to live, in hops.
    pub ttl: u8,
    /// What follows the header.
    pub protocol: IpProtocol,
    /// Header checksum, wire bytes in memory order (see [`crate::checksum`]).
    pub checksum: native_endian::U16,
    /// Where the packet came from.
    pub source: Ipv4Address,
    /// Where it goes.
    pub destination: Ipv4Address,
}

impl Ipv4 {
    /// Length in bytes without options.
    pub const LENGTH: usize = size_of::<Self>();

    /// The header of a packet of our own making, which nobody may cut in pieces, and so has no need of an identification
    /// (RFC 6864, section 4.1). `payload`: its length in bytes.
    #[inline(always)]
    pub fn new(
        protocol: IpProtocol,
        traffic_class: u8,
        ttl: u8,
        payload: u16,
        source: Ipv4Address,
        destination: Ipv4Address,
    ) -> Self {
        let mut header = Self {
            version_and_length: 4 << 4 | (Self::LENGTH / 4) as u8,
            traffic_class,
            total_length: big_endian::U16::new(payload + Self::LENGTH as u16),
            identification: big_endian::U16::ZERO,
            flags_and_offset: [0x40, 0],
            ttl,
            protocol,
            checksum: native_endian::U16::ZERO,
            source,
            destination,
        };
        header.set_checksum();
        header
    }

    /// Computes the checksum of a header without options.
    #[inline(always)]
    fn set_checksum(&mut self) {
        let first = u16::from_ne_bytes([self.version_and_length, self.traffic_class]);
        let sum = Adjustment::of(self.source.bits())
            .and(self.destination.bits())
            .and(u32::from(first))
            .and(u32::from(u16::from_ne_bytes(self.total_length.to_bytes())))
            .and(u32::from(u16::from_ne_bytes(self.identification.to_bytes())))
            .and(u32::from(u16::from_ne_bytes(self.flags_and_offset)))
            .and(u32::from(self.ttl_word()));
        self.checksum.set(sum.checksum());
    }

    /// The version field; 4 in every valid header.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.version_and_length >> 4
    }

    /// The header's length with its options, in bytes: 0 to 60, at least 20 in every valid header.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        usize::from(self.version_and_length & 0xf) * 4
    }

    /// Whether this packet is a part of a larger one: "more fragments" is set or the offset is not zero. Only the
    /// first part has a TCP or UDP header.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.flags_and_offset) & 0x3fff != 0
    }

    /// The 16-bit word that holds TTL and protocol, wire bytes in memory order: what an incremental checksum update
    /// needs when the TTL changes.
    #[inline(always)]
    pub fn ttl_word(&self) -> u16 {
        u16::from_ne_bytes([self.ttl, self.protocol.0])
    }
}

const _: () = assert!(Ipv4::LENGTH == 20);
