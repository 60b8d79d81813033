//! TCP (RFC 9293, section 3.1).

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

/// The eight control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers: a connection opens.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement field counts.
    pub const ACK: Self = Self(0x10);

    /// Whether any bit of `other` is set.
    #[inline(always)]
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many places in the sequence space the control bits take: one each for SYN and FIN (RFC 9293, section 3.4).
    #[inline(always)]
    pub const fn controls(self) -> u32 {
        (self.0 & 1) as u32 + (self.0 >> 1 & 1) as u32
    }

    /// Both sets together.
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The TCP header without its options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// The sender's port.
    pub source: Port,
    /// The receiver's port.
    pub destination: Port,
    /// Sequence number of the first byte.
    pub sequence: big_endian::U32,
    /// The next byte expected.
    pub acknowledgement: big_endian::U32,
    data_offset: u8,
    /// Control bits.
    pub flags: TcpFlags,
    /// Receive window.
    pub window: big_endian::U16,
    /// Checksum over pseudo-header, header and data; wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Urgent pointer.
    pub urgent: big_endian::U16,
}

impl Tcp {
    /// Length in bytes without options.
    pub const LENGTH: usize = size_of::<Self>();

    /// The header's length with its options, in bytes, as the header says.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }

    /// Says that there are no options.
    #[inline(always)]
    pub fn set_header_length(&mut self) {
        self.data_offset = (Self::LENGTH as u8 / 4) << 4;
    }

    /// The 16-bit word that holds the header's length and the control bits, wire bytes in memory order.
    #[inline(always)]
    pub fn offset_word(&self) -> u16 {
        u16::from_ne_bytes([self.data_offset, self.flags.0])
    }
}

const _: () = assert!(Tcp::LENGTH == 20);
