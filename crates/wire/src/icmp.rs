//! ICMP (RFC 792): echo, and what tells a sender that its packet went no further.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, native_endian};

/// An ICMP message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcmpType(pub u8);

impl IcmpType {
    /// The answer to an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// A packet's destination cannot be reached.
    pub const UNREACHABLE: Self = Self(3);
    /// "Are you there?"
    pub const ECHO_REQUEST: Self = Self(8);
    /// A packet's time to live has ended.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// [`IcmpType::UNREACHABLE`] of ICMPv6 (RFC 4443), whose types are others.
    pub const V6_UNREACHABLE: Self = Self(1);
    /// [`IcmpType::TIME_EXCEEDED`] of ICMPv6: the hop limit has been reached.
    pub const V6_TIME_EXCEEDED: Self = Self(3);
    /// [`IcmpType::ECHO_REQUEST`] of ICMPv6.
    pub const V6_ECHO_REQUEST: Self = Self(128);
    /// [`IcmpType::ECHO_REPLY`] of ICMPv6.
    pub const V6_ECHO_REPLY: Self = Self(129);
    /// The first of the types of neighbour discovery (RFC 4861), 133 to 137.
    pub const V6_ROUTER_SOLICITATION: Self = Self(133);
    /// The last of them.
    pub const V6_REDIRECT: Self = Self(137);
}

/// The header of echo request and echo reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcmpEcho {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0 in an echo message.
    pub code: u8,
    /// Checksum over the whole message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Chosen by the sender, returned as it came.
    pub identifier: [u8; 2],
    /// Chosen by the sender, returned as it came.
    pub sequence: [u8; 2],
}

impl IcmpEcho {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// The 16-bit word that holds type and code, wire bytes in memory order.
    #[inline(always)]
    pub fn type_word(&self) -> u16 {
        u16::from_ne_bytes([self.kind.0, self.code])
    }
}

/// The header of "destination unreachable" and "time exceeded". Behind it stands the beginning of the packet that it is about.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcmpError {
    /// Message type.
    pub kind: IcmpType,
    /// Which case of it.
    pub code: u8,
    /// Checksum over the whole message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Always 0.
    pub unused: [u8; 4],
}

impl IcmpError {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
    /// Of [`IcmpType::UNREACHABLE`]: nobody has the port.
    pub const PORT_UNREACHABLE: u8 = 3;
    /// Of [`IcmpType::V6_UNREACHABLE`]: nobody has the port.
    pub const V6_PORT_UNREACHABLE: u8 = 4;
    /// Of [`IcmpType::TIME_EXCEEDED`] of either family: on the way.
    pub const IN_TRANSIT: u8 = 0;

    /// The 16-bit word that holds type and code, wire bytes in memory order.
    #[inline(always)]
    pub fn type_word(&self) -> u16 {
        u16::from_ne_bytes([self.kind.0, self.code])
    }
}

const _: () = assert!(IcmpEcho::LENGTH == 8 && IcmpError::LENGTH == 8);
