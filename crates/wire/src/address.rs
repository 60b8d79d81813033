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

impl From<Ipv4Address> for core::net::IpAddr {
    fn from(address: Ipv4Address) -> Self {
        Self::V4(address.into())
    }
}

/// An IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Address(pub [u8; 16]);

impl Ipv6Address {
    /// The wire bytes as two integers in memory order.
    #[inline(always)]
    pub fn bits(self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
    }

    /// The inverse of [`Ipv6Address::bits`].
    #[inline(always)]
    pub fn from_bits([first, second]: [u64; 2]) -> Self {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (first.to_ne_bytes(), second.to_ne_bytes());
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// An IPv4 address among those of IPv6: ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2).
    #[inline(always)]
    pub fn mapped(address: Ipv4Address) -> Self {
        let [a, b, c, d] = address.0;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The IPv4 address that this one stands for, if it is a mapped one.
    #[inline(always)]
    pub fn unmapped(self) -> Option<Ipv4Address> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some(Ipv4Address([a, b, c, d])),
            _ => None,
        }
    }

    /// A group of hosts (RFC 4291, section 2.7).
    #[inline(always)]
    pub fn is_multicast(self) -> bool {
        self.0[0] == 0xff
    }

    /// An address that means something on one link only (RFC 4291, section 2.5.6).
    #[inline(always)]
    pub fn is_link_local(self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// Whether a single host of a network may have this address: not what begins with 64 zero bits, as the unspecified and the
    /// loopback address and IPv4's among those of IPv6 do (RFC 4291, sections 2.5.2 to 2.5.5), and no group's.
    #[inline(always)]
    pub fn is_host(self) -> bool {
        let [first, _] = self.bits();
        first != 0 && !self.is_multicast()
    }
}

impl fmt::Display for Ipv6Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&core::net::Ipv6Addr::from(*self), out)
    }
}

impl fmt::Debug for Ipv6Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<core::net::Ipv6Addr> for Ipv6Address {
    fn from(address: core::net::Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ipv6Address> for core::net::Ipv6Addr {
    fn from(address: Ipv6Address) -> Self {
        Self::from(address.0)
    }
}

/// An address of either family, as one of IPv6; IPv4 is mapped.
impl From<core::net::IpAddr> for Ipv6Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(address) => Self::mapped(address.into()),
            core::net::IpAddr::V6(address) => address.into(),
        }
    }
}

/// The inverse: what is mapped is IPv4.
impl From<Ipv6Address> for core::net::IpAddr {
    fn from(address: Ipv6Address) -> Self {
        match address.unmapped() {
            Some(address) => Self::V4(address.into()),
            None => Self::V6(address.into()),
        }
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
    fn hosts_are_told_from_groups_in_ipv6_too() {
        let told = ["::", "::1", "::ffff:10.0.0.1", "ff02::1", "fe80::1", "2001:db8::1", "fd00::1"].map(|text| {
            let address = Ipv6Address::from(text.parse::<core::net::Ipv6Addr>().expect("an address"));
            (text, address.is_host(), address.is_link_local())
        });
        let expected = [false, false, false, false, true, true, true];
        assert_eq!(told.map(|(_, is_host, _)| is_host), expected);
        assert!(told.iter().all(|(text, _, is_link_local)| *is_link_local == text.starts_with("fe80")));
    }

    #[test]
    fn either_family_is_found_again_in_an_ipv6_address() {
        for text in ["10.0.0.1", "2001:db8::1", "::ffff:0:10.0.0.1"] {
            let address: core::net::IpAddr = text.parse().expect("an address");
            assert_eq!(core::net::IpAddr::from(Ipv6Address::from(address)), address);
        }
    }

    #[test]
    fn bits_keep_every_byte() {
        let mac = MacAddress([1, 2, 3, 4, 5, 6]);
        assert_eq!(MacAddress::from_bits(mac.bits()), mac);
        assert_eq!(mac.bits() >> 48, 0);
        let address = Ipv4Address([192, 0, 2, 1]);
        assert_eq!(Ipv4Address::from_bits(address.bits()), address);
        let address = Ipv6Address(core::array::from_fn(|index| index as u8));
        assert_eq!(Ipv6Address::from_bits(address.bits()), address);
        assert_eq!(Port::from_bits(Port::from_number(443).bits()).number(), 443);
    }
}
