//! UDP (RFC 768).

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

/// The UDP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// The sender's port.
    pub source: Port,
    /// The receiver's port.
    pub destination: Port,
    /// Header and data, in bytes.
    pub length: big_endian::U16,
    /// Checksum over pseudo-header, header and data, wire bytes in memory order; 0 means "none was computed".
    pub checksum: native_endian::U16,
}

impl Udp {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}

const _: () = assert!(Udp::LENGTH == 8);
