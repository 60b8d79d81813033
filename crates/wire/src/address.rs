//! Addresses and ports as they stand on the wire.
//!
//! `bits()` gives the wire bytes as one integer *in memory order*: two values are equal exactly when their bytes are,
//! Internet checksums may be computed over them directly (RFC 1071, section 2 (B): the sum does not depend on byte
//! order), and no byte is swapped on the packet path. Numbers for people come from [`Port::number`] and `Display`.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Every host.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The six bytes in the low 48 bits, first byte lowest.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The inverse of [`MacAddress::bits`]; the upper 16 bits are ignored.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = bits.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Whether this is 00:00:00:00:00:00, which no host has.
    #[inline(always)]
    pub fn is_zero(self) -> bool {
        self.bits() == 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// An IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Address(pub [u8; 4]);

impl Ipv4Address {
    /// The wire bytes as one integer in memory order.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }

    /// Whether a single host of a network may have this address: not "this network" (0.0.0.0/8), loopback (127.0.0.0/8),
    /// multicast, reserved or broadcast (224.0.0.0 and up); RFC 1122, section 3.2.1.3.
    #[inline(always)]
    pub fn is_host(self) -> bool {
        let [first, ..] = self.0;
        first != 0 && first != 127 && first < 224
    }

    /// The inverse of [`Ipv4Address::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits.to_ne_bytes())
    }
}

impl fmt::Display for Ipv4Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(out, "{a}.{b}.{c}.{d}")
    }
}

impl fmt::Debug for Ipv4Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<core::net::Ipv4Addr> for Ipv4Address {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ipv4Address> for core::net::Ipv4Addr {
    fn from(address: Ipv4Address) -> Self {
        Self::from(address.0)
    }
}

/// A TCP or UDP port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Port(pub [u8; 2]);

impl Port {
    /// The port as people write it, in host byte order.
    #[inline(always)]
    pub fn number(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The port with this number (host byte order).
    #[inline(always)]
    pub fn from_number(number: u16) -> Self {
        Self(number.to_be_bytes())
    }

    /// The wire bytes as one integer in memory order.
    #[inline(always)]
    pub fn bits(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }

    /// The inverse of [`Port::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits.to_ne_bytes())
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;

    #[test]
    fn addresses_read_as_people_write_them() {
        assert_eq!(format!("{}", MacAddress([0xde, 0xad, 0xbe, 0xef, 0, 0x10])), "de:ad:be:ef:00:10");
        assert_eq!(format!("{}", Ipv4Address([10, 0, 0, 10])), "10.0.0.10");
        assert_eq!(Port([0x1f, 0x90]).number(), 8080);
    }

    #[test]
    fn hosts_are_told_from_groups() {
        for (first, is_host) in
            [(0, false), (1, true), (126, true), (127, false), (128, true), (223, true), (224, false), (255, false)]
        {
            assert_eq!(Ipv4Address([first, 0, 0, 1]).is_host(), is_host, "{first}.0.0.1");
        }
    }

    #[test]
    fn bits_keep_every_byte() {
        let mac = MacAddress([1, 2, 3, 4, 5, 6]);
        assert_eq!(MacAddress::from_bits(mac.bits()), mac);
        assert_eq!(mac.bits() >> 48, 0);
        let address = Ipv4Address([192, 0, 2, 1]);
        assert_eq!(Ipv4Address::from_bits(address.bits()), address);
        assert_eq!(Port::from_bits(Port::from_number(443).bits()).number(), 443);
    }
}
