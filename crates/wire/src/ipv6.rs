//! IPv6 (RFC 8200).

use crate::{IpProtocol, Ipv6Address};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, native_endian};

impl IpProtocol {
    /// Hop-by-hop options (RFC 8200, section 4.3), an extension header.
    pub const HOP_BY_HOP: Self = Self(0);
    /// Routing (RFC 8200, section 4.4), an extension header.
    pub const ROUTING: Self = Self(43);
    /// Fragment (RFC 8200, section 4.5), an extension header.
    pub const FRAGMENT: Self = Self(44);
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// No next header (RFC 8200, section 4.7): nothing follows that anybody reads.
    pub const NOTHING: Self = Self(59);
    /// Destination options (RFC 8200, section 4.6), an extension header.
    pub const DESTINATION_OPTIONS: Self = Self(60);
}

/// The IPv6 header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8) and flow label (20), from the high end.
    version_class_and_label: big_endian::U32,
    /// What follows this header, extension headers included, in bytes.
    pub payload_length: big_endian::U16,
    /// What follows this header: an extension header or a protocol.
    pub next_header: IpProtocol,
    /// How far the packet may travel yet, in hops.
    pub hop_limit: u8,
    /// Where the packet came from. Words, because sixteen single bytes make compilers move each of them by itself.
    source: [native_endian::U64; 2],
    /// Where it goes.
    destination: [native_endian::U64; 2],
}

impl Ipv6 {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// The header of a packet of our own making, in no flow that routers would have to know (flow label 0; RFC 6437, section 2).
    /// `payload`: its length in bytes.
    #[inline(always)]
    pub fn new(
        next_header: IpProtocol,
        traffic_class: u8,
        hop_limit: u8,
        payload: u16,
        source: Ipv6Address,
        destination: Ipv6Address,
    ) -> Self {
        Self {
            version_class_and_label: big_endian::U32::new(6 << 28 | (traffic_class as u32) << 20),
            payload_length: big_endian::U16::new(payload),
            next_header,
            hop_limit,
            source: source.bits().map(native_endian::U64::new),
            destination: destination.bits().map(native_endian::U64::new),
        }
    }

    /// Where the packet came from.
    #[inline(always)]
    pub fn source(&self) -> Ipv6Address {
        Ipv6Address::from_bits(self.source_bits())
    }

    /// Where it goes.
    #[inline(always)]
    pub fn destination(&self) -> Ipv6Address {
        Ipv6Address::from_bits(self.destination_bits())
    }

    /// [`Ipv6::source`] as [`Ipv6Address::bits`].
    #[inline(always)]
    pub fn source_bits(&self) -> [u64; 2] {
        let [first, second] = self.source;
        [first.get(), second.get()]
    }

    /// [`Ipv6::destination`] as [`Ipv6Address::bits`].
    #[inline(always)]
    pub fn destination_bits(&self) -> [u64; 2] {
        let [first, second] = self.destination;
        [first.get(), second.get()]
    }

    /// Changes both addresses, given as [`Ipv6Address::bits`].
    #[inline(always)]
    pub fn set_addresses(&mut self, source: [u64; 2], destination: [u64; 2]) {
        let [first, second] = source;
        self.source = [native_endian::U64::new(first), native_endian::U64::new(second)];
        let [first, second] = destination;
        self.destination = [native_endian::U64::new(first), native_endian::U64::new(second)];
    }

    /// The IP version; 6 in every valid header.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.version_class_and_label.get() >> 28) as u8
    }

    /// DSCP (RFC 2474) and ECN (RFC 3168).
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_and_label.get() >> 20) as u8
    }

    /// The flow label (RFC 6437), 20 bits.
    #[inline(always)]
    pub fn flow_label(&self) -> u32 {
        self.version_class_and_label.get() & 0xf_ffff
    }
}

/// What every extension header begins with that may be skipped: hop-by-hop and destination options, routing.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Extension {
    /// What follows it.
    pub next_header: IpProtocol,
    /// Its length in units of eight bytes, the first eight not counted.
    extra: u8,
    /// In a routing header: which kind.
    pub kind: u8,
    /// In a routing header: how many addresses the packet is to visit yet.
    pub segments_left: u8,
}

impl Ipv6Extension {
    /// The header's length, in bytes.
    #[inline(always)]
    pub fn length(&self) -> usize {
        (self.extra as usize + 1) * 8
    }
}

/// The fragment header (RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Fragment {
    /// What follows it, in the first fragment.
    pub next_header: IpProtocol,
    reserved: u8,
    offset_and_more: big_endian::U16,
    /// Groups the fragments of one datagram.
    pub identification: big_endian::U32,
}

impl Ipv6Fragment {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// Whether the packet is a part of a larger one. If not, it is a whole one that only looks like a fragment (RFC 6946).
    #[inline(always)]
    pub fn is_part(&self) -> bool {
        self.offset_and_more.get() & 0xfff9 != 0
    }
}

const _: () = assert!(Ipv6::LENGTH == 40 && size_of::<Ipv6Extension>() == 4 && Ipv6Fragment::LENGTH == 8);

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn a_header_says_what_it_was_made_of() {
        let [source, destination] = [1, 2].map(|last| {
            let mut bytes = [0; 16];
            (bytes[0], bytes[15]) = (0xfd, last);
            Ipv6Address(bytes)
        });
        let header = Ipv6::new(IpProtocol::ICMPV6, 0xc0, 255, 24, source, destination);
        // The first bytes as RFC 8200, section 3, draws them.
        assert_eq!(header.as_bytes()[..8], [0x6c, 0, 0, 0, 0, 24, 58, 255]);
        assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xc0, 0));
        assert_eq!((header.source(), header.destination()), (source, destination));
        assert_eq!(header.as_bytes()[8..], [source.0, destination.0].concat());
        let mut bytes = [0; Ipv6::LENGTH];
        bytes[..4].copy_from_slice(&[0x6a, 0xb1, 0x23, 0x45]);
        let labelled = Ipv6::read_from_bytes(&bytes).expect("any bytes are a header");
        assert_eq!((labelled.version(), labelled.traffic_class(), labelled.flow_label()), (6, 0xab, 0x1_2345));
    }

    #[test]
    fn a_fragment_is_one_by_its_offset_or_by_what_follows() {
        for (bytes, is_part) in [([0, 0], false), ([0, 1], true), ([0, 8], true), ([0xff, 0xf8], true), ([0, 6], false)]
        {
            let header = Ipv6Fragment::read_from_bytes(&[6, 0, bytes[0], bytes[1], 0, 0, 0, 1]).expect("eight bytes");
            assert_eq!(header.is_part(), is_part, "{bytes:?}");
        }
    }
}
