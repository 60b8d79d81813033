//! Neighbour discovery for IPv6 (RFC 4861): how hosts of a link find each other and its routers.

use crate::{IcmpType, Ipv6Address, MacAddress};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

impl IcmpType {
    /// A router says that it is there, and what is near (RFC 4861, section 4.2).
    pub const V6_ROUTER_ADVERTISEMENT: Self = Self(134);
    /// "Who has this address?" (section 4.3)
    pub const V6_NEIGHBOUR_SOLICITATION: Self = Self(135);
    /// "I have." (section 4.4)
    pub const V6_NEIGHBOUR_ADVERTISEMENT: Self = Self(136);
}

/// The hop limit of every message: one that a router has forwarded has less, and is nobody's neighbour's (RFC 4861, section 3.1).
pub const DISCOVERY_HOP_LIMIT: u8 = 255;

impl Ipv6Address {
    /// No address: of a host that has none yet (RFC 4291, section 2.5.2).
    pub const UNSPECIFIED: Self = Self([0; 16]);
    /// Every host of a link (RFC 4291, section 2.7.1).
    pub const ALL_NODES: Self = Self::link_group(1);
    /// Every router of a link.
    pub const ALL_ROUTERS: Self = Self::link_group(2);

    /// ff02::`last`: a group that is known everywhere, on this link.
    pub const fn link_group(last: u8) -> Self {
        Self([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
    }

    /// The group in which a host with this address is asked for it (RFC 4291, section 2.7.1, "solicited-node").
    pub const fn solicited_node(self) -> Self {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, n, o, p] = self.0;
        Self([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, n, o, p])
    }

    /// The link-local address that a port makes from its Ethernet address (RFC 4291, appendix A; RFC 2464, section 5).
    pub const fn link_local(mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl MacAddress {
    /// Where frames for a group of IPv6 hosts are sent (RFC 2464, section 7).
    pub const fn of_group(group: Ipv6Address) -> Self {
        let [_, _, _, _, _, _, _, _, _, _, _, _, m, n, o, p] = group.0;
        Self([0x33, 0x33, m, n, o, p])
    }

    /// Whether it is a group's, or everybody's (IEEE 802, "I/G bit").
    pub const fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }
}

/// A neighbour solicitation or advertisement (RFC 4861, sections 4.3 and 4.4); options follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NeighbourMessage {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0.
    pub code: u8,
    /// Checksum over pseudo-header and message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Of an advertisement: the flags below.
    pub flags: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// The address that it is about.
    pub target: Ipv6Address,
}

impl NeighbourMessage {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
    /// Who speaks is a router.
    pub const ROUTER: u8 = 0x80;
    /// It has been asked.
    pub const SOLICITED: u8 = 0x40;
    /// What it says counts for more than what was known.
    pub const OVERRIDE: u8 = 0x20;

    /// A message without its checksum.
    pub const fn new(kind: IcmpType, flags: u8, target: Ipv6Address) -> Self {
        Self { kind, code: 0, checksum: native_endian::U16::ZERO, flags, reserved: [0; 3], target }
    }
}

/// "Which routers are there?" (RFC 4861, section 4.1); options follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterSolicitation {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0.
    pub code: u8,
    /// Checksum over pseudo-header and message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// Always 0.
    pub reserved: [u8; 4],
}

impl RouterSolicitation {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// A message without its checksum.
    pub const fn new() -> Self {
        Self { kind: IcmpType::V6_ROUTER_SOLICITATION, code: 0, checksum: native_endian::U16::ZERO, reserved: [0; 4] }
    }
}

impl Default for RouterSolicitation {
    fn default() -> Self {
        Self::new()
    }
}

/// A router's word (RFC 4861, section 4.2); options follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterAdvertisement {
    /// Message type.
    pub kind: IcmpType,
    /// Always 0.
    pub code: u8,
    /// Checksum over pseudo-header and message, wire bytes in memory order.
    pub checksum: native_endian::U16,
    /// The hop limit that hosts should send with; 0: it does not say.
    pub hop_limit: u8,
    /// Whether addresses are to be had elsewhere, and in bits 3 and 4 how much it is to be preferred.
    pub flags: u8,
    /// For how long it is a way out, in seconds; 0: it is none.
    pub lifetime: big_endian::U16,
    /// For how long a neighbour is believed to be where it was, in milliseconds; 0: it does not say.
    pub reachable_time: big_endian::U32,
    /// How far apart solicitations should be, in milliseconds; 0: it does not say.
    pub retransmit_timer: big_endian::U32,
}

impl RouterAdvertisement {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// How much it is to be preferred: -1, 0 or 1; what is reserved is as if it did not say (RFC 4191, section 2.1).
    pub const fn preference(&self) -> i8 {
        match self.flags >> 3 & 3 {
            1 => 1,
            3 => -1,
            _ => 0,
        }
    }
}

/// What an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiscoveryOption(pub u8);

impl DiscoveryOption {
    /// The Ethernet address of who speaks (RFC 4861, section 4.6.1).
    pub const SOURCE_ADDRESS: Self = Self(1);
    /// The Ethernet address of whom an advertisement is about.
    pub const TARGET_ADDRESS: Self = Self(2);
    /// A network (section 4.6.2).
    pub const PREFIX: Self = Self(3);
}

/// The option that holds an Ethernet address (RFC 2464, section 6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LinkAddressOption {
    kind: DiscoveryOption,
    length: u8,
    /// The Ethernet address.
    pub address: MacAddress,
}

impl LinkAddressOption {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// An option of this kind.
    pub const fn new(kind: DiscoveryOption, address: MacAddress) -> Self {
        Self { kind, length: (Self::LENGTH / 8) as u8, address }
    }
}

/// The option that tells of a network (RFC 4861, section 4.6.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PrefixInformation {
    kind: DiscoveryOption,
    length: u8,
    /// Bits that the network's addresses have in common.
    pub prefix_length: u8,
    /// [`PrefixInformation::ON_LINK`], and others.
    pub flags: u8,
    /// For how long this is so, in seconds; all ones: for ever.
    pub valid_lifetime: big_endian::U32,
    /// For how long addresses that hosts have made from it are as good as others, in seconds.
    pub preferred_lifetime: big_endian::U32,
    reserved: [u8; 4],
    /// The network.
    pub prefix: Ipv6Address,
}

impl PrefixInformation {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
    /// Who has an address of the network is on this link.
    pub const ON_LINK: u8 = 0x80;
}

/// The options behind a message, each a number and its bytes, the two at its beginning among them.
#[derive(Clone, Copy, Debug)]
pub struct DiscoveryOptions<'a>(&'a [u8]);

impl<'a> DiscoveryOptions<'a> {
    /// The options in these bytes; nothing if those are not whole options, or one is of no length: then the whole message is to be
    /// ignored (RFC 4861, section 4.6).
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split(rest)?;
        }
        Some(Self(bytes))
    }

    /// The first option of this kind that is as long as it must be.
    pub fn find<T: FromBytes + KnownLayout + Immutable + Unaligned>(self, kind: DiscoveryOption) -> Option<&'a T> {
        self.filter(move |&(of, _)| of == kind).find_map(|(_, bytes)| T::ref_from_bytes(bytes).ok())
    }
}

impl<'a> Iterator for DiscoveryOptions<'a> {
    type Item = (DiscoveryOption, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (option, rest) = split(self.0)?;
        self.0 = rest;
        Some((DiscoveryOption(*option.first()?), option))
    }
}

/// The first option, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = 8 * usize::from(*bytes.get(1)?);
    if length == 0 { None } else { bytes.split_at_checked(length) }
}

const _: () = assert!(NeighbourMessage::LENGTH == 24 && RouterSolicitation::LENGTH == 8);
const _: () = assert!(RouterAdvertisement::LENGTH == 16 && PrefixInformation::LENGTH == 32);
const _: () = assert!(LinkAddressOption::LENGTH == 8);

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;
    use std::vec::Vec;

    fn address(text: &str) -> Ipv6Address {
        text.parse::<core::net::Ipv6Addr>().expect("an address").into()
    }

    #[test]
    fn addresses_are_made_as_the_rfcs_say() {
        // RFC 4291, section 2.7.1, has this very example.
        let group = address("4037::01:800:200e:8c6c").solicited_node();
        assert_eq!(group, address("ff02::1:ff0e:8c6c"));
        assert_eq!(format!("{}", MacAddress::of_group(group)), "33:33:ff:0e:8c:6c");
        // RFC 2464, section 4: 34-56-78-9A-BC-DE makes 36-56-78-FF-FE-9A-BC-DE.
        let mac = MacAddress([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(Ipv6Address::link_local(mac), address("fe80::3656:78ff:fe9a:bcde"));
        assert_eq!((Ipv6Address::ALL_NODES, Ipv6Address::ALL_ROUTERS), (address("ff02::1"), address("ff02::2")));
    }

    #[test]
    fn options_are_whole_or_the_message_is_ignored() {
        let mac = LinkAddressOption::new(DiscoveryOption::SOURCE_ADDRESS, MacAddress([2, 0, 0, 0, 0, 1]));
        let other = [14, 1, 9, 9, 9, 9, 9, 9];
        let both: Vec<u8> = [&other[..], mac.as_bytes()].concat();
        let options = DiscoveryOptions::read(&both).expect("they are whole");
        let found = options.find::<LinkAddressOption>(DiscoveryOption::SOURCE_ADDRESS);
        assert_eq!(found.map(|found| found.address), Some(mac.address));
        assert!(options.find::<LinkAddressOption>(DiscoveryOption::TARGET_ADDRESS).is_none());
        // Of the right kind, but not as long as a prefix is.
        assert!(options.find::<PrefixInformation>(DiscoveryOption::SOURCE_ADDRESS).is_none());
        assert!(DiscoveryOptions::read(&[]).is_some());
        for wrong in [&both[..15], &both[..9], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0]] {
            assert!(DiscoveryOptions::read(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn preferences_are_told_apart() {
        let preference = |flags| {
            let mut bytes = [0; RouterAdvertisement::LENGTH];
            bytes[5] = flags;
            RouterAdvertisement::read_from_bytes(&bytes).expect("sixteen bytes").preference()
        };
        assert_eq!([0, 0x08, 0x10, 0x18, 0xc0].map(preference), [0, 1, 0, -1, 0]);
    }
}
