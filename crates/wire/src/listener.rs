//! Multicast listener discovery for IPv6 (RFC 3810 and, before it, RFC 2710): how hosts tell switches and routers of the groups that
//! they are in. A switch that listens to this (RFC 4541) hands a group's frames to no one else.

use crate::{IcmpType, IpProtocol, Ipv6Address};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

impl IcmpType {
    /// "Who is in which group?" (RFC 3810, section 5.1)
    pub const V6_LISTENER_QUERY: Self = Self(130);
    /// "I am in this group", in version 1 (RFC 2710, section 3).
    pub const V6_LISTENER_REPORT_1: Self = Self(131);
    /// "I am in these groups", in version 2 (RFC 3810, section 5.2).
    pub const V6_LISTENER_REPORT_2: Self = Self(143);
}

/// The hop limit of every message (RFC 3810, section 5).
pub const LISTENER_HOP_LIMIT: u8 = 1;

impl Ipv6Address {
    /// Every router that knows version 2 (RFC 3810, section 5.2.14).
    pub const LISTENER_ROUTERS: Self = Self::link_group(0x16);
}

/// What every message has in front: hop-by-hop options that have routers look at it (RFC 2711).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterAlert {
    /// What follows.
    pub next_header: IpProtocol,
    length: u8,
    options: [u8; 6],
}

impl RouterAlert {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// In front of a message.
    pub const fn new() -> Self {
        // Router alert (5), of two bytes, for multicast listener discovery (0); then PadN (1) of none.
        Self { next_header: IpProtocol::ICMPV6, length: 0, options: [5, 2, 0, 0, 1, 0] }
    }
}

impl Default for RouterAlert {
    fn default() -> Self {
        Self::new()
    }
}

/// A query of either version, as far as both have it, or a report of version 1.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ListenerMessage {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0.
    pub code: u8,
    /// Checksum over pseudo-header and message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Of a query: within what time it is to be answered; coded, in version 2.
    pub response_time: big_endian::U16,
    /// Always 0.
    pub reserved: [u8; 2],
    /// The group; in a query, nothing if it is about all.
    pub group: Ipv6Address,
}

impl ListenerMessage {
    /// Length in bytes: that of a query of version 1. One of version 2 is longer (RFC 3810, section 8.1).
    pub const LENGTH: usize = size_of::<Self>();

    /// A report of version 1 without its checksum.
    pub const fn report(group: Ipv6Address) -> Self {
        Self {
            kind: IcmpType::V6_LISTENER_REPORT_1,
            code: 0,
            checksum: native_endian::U16::ZERO,
            response_time: big_endian::U16::ZERO,
            reserved: [0; 2],
            group,
        }
    }
}

/// The beginning of a report of version 2; [`GroupRecord`]s follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ListenerReport {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0.
    pub code: u8,
    /// Checksum over pseudo-header and message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    reserved: [u8; 2],
    /// How many records follow.
    pub records: big_endian::U16,
}

impl ListenerReport {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// A report of so many records without its checksum.
    pub const fn new(records: u16) -> Self {
        Self {
            kind: IcmpType::V6_LISTENER_REPORT_2,
            code: 0,
            checksum: native_endian::U16::ZERO,
            reserved: [0; 2],
            records: big_endian::U16::new(records),
        }
    }
}

/// That a host is in a group, whoever sends to it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GroupRecord {
    kind: u8,
    auxiliary: u8,
    sources: [u8; 2],
    group: Ipv6Address,
}

impl GroupRecord {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// A record of a group. `joins`: it was not in it before (CHANGE_TO_EXCLUDE_MODE, RFC 3810, section 5.2.12).
    pub const fn new(group: Ipv6Address, joins: bool) -> Self {
        Self { kind: if joins { 4 } else { 2 }, auxiliary: 0, sources: [0; 2], group }
    }
}

const _: () = assert!(ListenerMessage::LENGTH == 24 && ListenerReport::LENGTH == 8 && GroupRecord::LENGTH == 20);
const _: () = assert!(RouterAlert::LENGTH == 8);
