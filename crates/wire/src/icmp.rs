//! ICMP echo (RFC 792, page 14).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, native_endian};

/// An ICMP message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcmpType(pub u8);

impl IcmpType {
    /// The answer to an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// "Are you there?"
    pub const ECHO_REQUEST: Self = Self(8);
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

const _: () = assert!(IcmpEcho::LENGTH == 8);
