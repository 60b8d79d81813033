//! The network layer's headers: where an IPv4 or IPv6 packet says what, and how that is changed.

use crate::frame::Frame;
use crate::key::WideAddress;
use crate::verdict::Reason;
use core::fmt::Debug;
use evenkeel_wire::{
    Adjustment, EtherType, IcmpError, IcmpType, IpProtocol, Ipv4, Ipv4Address, Ipv6, Ipv6Address, Ipv6Extension,
    Ipv6Fragment,
};
use zerocopy::native_endian;

/// An IP packet, its Ethernet header and up to two VLAN tags behind it.
#[derive(Clone, Copy, Debug)]
pub struct Ip<A> {
    /// Byte offset of the IP header in the frame.
    pub(crate) offset: usize,
    /// Length of the IP header with options and extension headers, in bytes, as the headers say.
    pub(crate) header_length: usize,
    /// Length of the whole packet, in bytes, as the header says.
    pub(crate) total_length: usize,
    /// Whether the version is right and the header as long as it must be.
    pub(crate) is_sound: bool,
    pub(crate) is_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) protocol: IpProtocol,
    pub(crate) source: A,
    pub(crate) destination: A,
}

/// Internetwork control, as routers say it (RFC 1812, section 4.3.2.5).
const NETWORK_CONTROL: u8 = 6 << 5;

/// The headers of a family.
pub trait Network {
    /// An address.
    type Address: Copy + Debug + PartialEq;

    /// What announces it.
    const ETHER_TYPE: EtherType;
    /// Length of the header without options, in bytes.
    const LENGTH: usize;
    /// The family's ICMP.
    const ICMP: IpProtocol;
    /// Its echo request, and the reply.
    const ECHO: (IcmpType, IcmpType);
    /// Type and code of its message that nobody has a port.
    const PORT_UNREACHABLE: (IcmpType, u8);
    /// And of the one that a packet may travel no further.
    const TIME_EXCEEDED: (IcmpType, u8);

    /// Whether this type of the family's ICMP is between neighbours, of the family's own business.
    fn is_neighbours(kind: IcmpType) -> bool;

    /// Where the packet with its header at this byte offset goes.
    fn destination<F: Frame>(frame: &mut F, offset: usize) -> Option<Self::Address>;

    /// Reads the header at this byte offset.
    fn read<F: Frame>(frame: &mut F, offset: usize) -> Option<Ip<Self::Address>>;

    /// Changes both addresses, and takes one from how far the packet may travel: the header at this byte offset. Returns what
    /// that changes in a sum over the addresses.
    fn forward<F: Frame>(
        frame: &mut F,
        offset: usize,
        source: Self::Address,
        destination: Self::Address,
    ) -> Option<Adjustment>;

    /// Turns the packet round: addresses change places, and it sets out anew with this time to live or hop limit.
    fn turn<F: Frame>(frame: &mut F, ip: &Turned<Self::Address>, ttl: u8) -> Option<()>;

    /// Writes the header of a packet of our own making at this byte offset. `payload`: its length in bytes.
    fn begin<F: Frame>(
        frame: &mut F,
        offset: usize,
        protocol: IpProtocol,
        ttl: u8,
        payload: u16,
        source: Self::Address,
        destination: Self::Address,
    ) -> Option<()>;

    /// Whether a packet whose payload is at this byte offset can be quoted in an ICMP error.
    fn can_be_quoted(payload: usize) -> bool;

    /// What the checksum of an ICMP error covers beside its own header and the payload that it quotes: the quoted packet's headers,
    /// `quoted` bytes from this offset on, and the pseudo-header, where there is one. `length`: the message's, in bytes; and from whom
    /// and to whom it goes.
    fn sum_of_headers<F: Frame>(
        frame: &mut F,
        offset: usize,
        quoted: usize,
        length: u16,
        ends: (Self::Address, Self::Address),
    ) -> Option<Adjustment>;

    /// With an address' words: the pseudo-header of TCP and UDP has it (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn sum(sum: Adjustment, address: Self::Address) -> Adjustment;
}

/// What a packet is that is turned round.
#[derive(Clone, Copy, Debug)]
pub struct Turned<A> {
    /// Byte offset of the IP header in the frame.
    pub(crate) offset: usize,
    /// Length of the IP header with options and extension headers, in bytes.
    pub(crate) header_length: usize,
    /// What follows it now, in bytes; nothing if that stays.
    pub(crate) payload: Option<u16>,
    /// Whom it comes from then.
    pub(crate) source: A,
    /// Where it goes then.
    pub(crate) destination: A,
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Four;

impl Four {
    #[inline(always)]
    fn replace(sum: Adjustment, old: Ipv4Address, new: Ipv4Address) -> Adjustment {
        sum.replace_u32(old.bits(), new.bits())
    }
}

impl Network for Four {
    type Address = Ipv4Address;

    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const LENGTH: usize = Ipv4::LENGTH;
    const ICMP: IpProtocol = IpProtocol::ICMP;
    const ECHO: (IcmpType, IcmpType) = (IcmpType::ECHO_REQUEST, IcmpType::ECHO_REPLY);
    const PORT_UNREACHABLE: (IcmpType, u8) = (IcmpType::UNREACHABLE, IcmpError::PORT_UNREACHABLE);
    const TIME_EXCEEDED: (IcmpType, u8) = (IcmpType::TIME_EXCEEDED, IcmpError::IN_TRANSIT);

    #[inline(always)]
    fn is_neighbours(_: IcmpType) -> bool {
        false
    }

    #[inline(always)]
    fn destination<F: Frame>(frame: &mut F, offset: usize) -> Option<Ipv4Address> {
        Some(frame.header::<Ipv4>(offset)?.destination)
    }

    #[inline(always)]
    fn read<F: Frame>(frame: &mut F, offset: usize) -> Option<Ip<Ipv4Address>> {
        let header = frame.header::<Ipv4>(offset)?;
        Some(Ip {
            offset,
            header_length: header.header_length(),
            total_length: usize::from(header.total_length.get()),
            is_sound: header.version() == 4 && header.header_length() >= Ipv4::LENGTH,
            is_fragment: header.is_fragment(),
            ttl: header.ttl,
            protocol: header.protocol,
            source: header.source,
            destination: header.destination,
        })
    }

    #[inline(always)]
    fn forward<F: Frame>(
        frame: &mut F,
        offset: usize,
        source: Ipv4Address,
        destination: Ipv4Address,
    ) -> Option<Adjustment> {
        let header = frame.header::<Ipv4>(offset)?;
        let addresses = Self::replace(Adjustment::NONE, header.source, source);
        let addresses = Self::replace(addresses, header.destination, destination);
        let old_ttl = header.ttl_word();
        header.ttl = header.ttl.wrapping_sub(1);
        header.checksum.set(addresses.replace_u16(old_ttl, header.ttl_word()).apply(header.checksum.get()));
        header.source = source;
        header.destination = destination;
        Some(addresses)
    }

    #[inline(always)]
    fn turn<F: Frame>(frame: &mut F, ip: &Turned<Ipv4Address>, ttl: u8) -> Option<()> {
        let header = frame.header::<Ipv4>(ip.offset)?;
        // Swapping the addresses leaves the sum as it is.
        let mut change = Adjustment::NONE;
        if let Some(payload) = ip.payload {
            let old_length = u16::from_ne_bytes(header.total_length.to_bytes());
            header.total_length.set((ip.header_length as u16).wrapping_add(payload));
            change = change.replace_u16(old_length, u16::from_ne_bytes(header.total_length.to_bytes()));
        }
        let old_ttl = header.ttl_word();
        header.ttl = ttl;
        change = change.replace_u16(old_ttl, header.ttl_word());
        header.checksum.set(change.apply(header.checksum.get()));
        header.source = ip.source;
        header.destination = ip.destination;
        Some(())
    }

    #[inline(always)]
    fn begin<F: Frame>(
        frame: &mut F,
        offset: usize,
        protocol: IpProtocol,
        ttl: u8,
        payload: u16,
        source: Ipv4Address,
        destination: Ipv4Address,
    ) -> Option<()> {
        let header = frame.header::<Ipv4>(offset)?;
        *header = Ipv4::new(protocol, NETWORK_CONTROL, ttl, payload, source, destination);
        Some(())
    }

    #[inline(always)]
    fn can_be_quoted(_: usize) -> bool {
        // Headers are at most 60 bytes.
        true
    }

    #[inline(always)]
    fn sum_of_headers<F: Frame>(
        _: &mut F,
        _: usize,
        _: usize,
        _: u16,
        _: (Ipv4Address, Ipv4Address),
    ) -> Option<Adjustment> {
        // The quoted IP header, with its own checksum, sums up to nothing (RFC 1071, section 1). If that is wrong, so is this, and
        // nobody believes a message about a packet that nobody would have taken.
        Some(Adjustment::NONE)
    }

    #[inline(always)]
    fn sum(sum: Adjustment, address: Ipv4Address) -> Adjustment {
        sum.and(address.bits())
    }
}

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Six;

impl Six {
    /// Extension headers that are skipped. More than a few are somebody's experiment, or an attempt to hide what follows (RFC 9098).
    const EXTENSIONS: usize = 4;
    /// The most that an IPv6 header and its extensions may take, in bytes, to be looked behind.
    const HEADERS: usize = 200;

    #[inline(always)]
    fn replace(
        sum: Adjustment,
        WideAddress(old_first, old_second): WideAddress,
        WideAddress(first, second): WideAddress,
    ) -> Adjustment {
        sum.replace_u32(old_first as u32, first as u32)
            .replace_u32((old_first >> 32) as u32, (first >> 32) as u32)
            .replace_u32(old_second as u32, second as u32)
            .replace_u32((old_second >> 32) as u32, (second >> 32) as u32)
    }
}

impl Network for Six {
    type Address = WideAddress;

    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const LENGTH: usize = Ipv6::LENGTH;
    const ICMP: IpProtocol = IpProtocol::ICMPV6;
    const ECHO: (IcmpType, IcmpType) = (IcmpType::V6_ECHO_REQUEST, IcmpType::V6_ECHO_REPLY);
    const PORT_UNREACHABLE: (IcmpType, u8) = (IcmpType::V6_UNREACHABLE, IcmpError::V6_PORT_UNREACHABLE);
    const TIME_EXCEEDED: (IcmpType, u8) = (IcmpType::V6_TIME_EXCEEDED, IcmpError::IN_TRANSIT);

    #[inline(always)]
    fn is_neighbours(kind: IcmpType) -> bool {
        IcmpType::V6_ROUTER_SOLICITATION.0 <= kind.0 && kind.0 <= IcmpType::V6_REDIRECT.0
    }

    #[inline(always)]
    fn destination<F: Frame>(frame: &mut F, offset: usize) -> Option<WideAddress> {
        Some(frame.header::<Ipv6>(offset)?.destination_bits().into())
    }

    #[inline(always)]
    fn read<F: Frame>(frame: &mut F, offset: usize) -> Option<Ip<WideAddress>> {
        let header = frame.header::<Ipv6>(offset)?;
        let mut ip = Ip {
            offset,
            header_length: Ipv6::LENGTH,
            total_length: Ipv6::LENGTH + usize::from(header.payload_length.get()),
            is_sound: header.version() == 6,
            is_fragment: false,
            ttl: header.hop_limit,
            protocol: header.next_header,
            source: header.source_bits().into(),
            destination: header.destination_bits().into(),
        };
        if !matches!(ip.protocol, IpProtocol::TCP | IpProtocol::UDP) {
            skip_extensions(frame, &mut ip);
        }
        Some(ip)
    }

    #[inline(always)]
    fn forward<F: Frame>(
        frame: &mut F,
        offset: usize,
        source: WideAddress,
        destination: WideAddress,
    ) -> Option<Adjustment> {
        let header = frame.header::<Ipv6>(offset)?;
        let addresses = Self::replace(Adjustment::NONE, header.source_bits().into(), source);
        let addresses = Self::replace(addresses, header.destination_bits().into(), destination);
        header.hop_limit = header.hop_limit.wrapping_sub(1);
        header.set_addresses(source.words(), destination.words());
        Some(addresses)
    }

    #[inline(always)]
    fn turn<F: Frame>(frame: &mut F, ip: &Turned<WideAddress>, ttl: u8) -> Option<()> {
        let header = frame.header::<Ipv6>(ip.offset)?;
        if let Some(payload) = ip.payload {
            let extensions = (ip.header_length as u16).wrapping_sub(Ipv6::LENGTH as u16);
            header.payload_length.set(extensions.wrapping_add(payload));
        }
        header.hop_limit = ttl;
        header.set_addresses(ip.source.words(), ip.destination.words());
        Some(())
    }

    #[inline(always)]
    fn begin<F: Frame>(
        frame: &mut F,
        offset: usize,
        protocol: IpProtocol,
        ttl: u8,
        payload: u16,
        source: WideAddress,
        destination: WideAddress,
    ) -> Option<()> {
        let nowhere = Ipv6Address::default();
        let header = frame.header::<Ipv6>(offset)?;
        *header = Ipv6::new(protocol, NETWORK_CONTROL, ttl, payload, nowhere, nowhere);
        header.set_addresses(source.words(), destination.words());
        Some(())
    }

    #[inline(always)]
    fn can_be_quoted(payload: usize) -> bool {
        // Of a frame 255 bytes may be looked at, and as much comes in front as the message has headers.
        payload + Ipv6::LENGTH + size_of::<IcmpError>() + 8 <= 255
    }

    #[inline(always)]
    fn sum_of_headers<F: Frame>(
        frame: &mut F,
        offset: usize,
        quoted: usize,
        length: u16,
        (source, destination): (WideAddress, WideAddress),
    ) -> Option<Adjustment> {
        let rest = u32::from(length) + u32::from(IpProtocol::ICMPV6.0);
        let mut sum = Self::sum(Self::sum(Adjustment::NONE, source), destination).and(rest.to_be());
        let mut at = 0;
        while at < Self::HEADERS && at < quoted {
            let [first, second] = *frame.header::<[native_endian::U32; 2]>(offset + at)?;
            sum = sum.and(first.get()).and(second.get());
            at += 8;
        }
        Some(sum)
    }

    #[inline(always)]
    fn sum(sum: Adjustment, WideAddress(first, second): WideAddress) -> Adjustment {
        sum.and(first as u32).and((first >> 32) as u32).and(second as u32).and((second >> 32) as u32)
    }
}

/// Finds the protocol behind extension headers. One that cannot be skipped is left as the protocol: what follows it is not ours to
/// read, as a routing header's is that names more stops (RFC 5095 forbids the only kind that hosts ever heeded).
#[inline(always)]
fn skip_extensions<F: Frame>(frame: &mut F, ip: &mut Ip<WideAddress>) {
    let mut turn = 0;
    let mut has_more = true;
    while turn < Six::EXTENSIONS && has_more {
        has_more = skip_extension(frame, ip) && ip.header_length <= Six::HEADERS;
        turn += 1;
    }
    if ip.header_length > Six::HEADERS {
        ip.protocol = IpProtocol::NOTHING;
    }
}

/// Skips one, and says whether there was one.
#[inline(always)]
fn skip_extension<F: Frame>(frame: &mut F, ip: &mut Ip<WideAddress>) -> bool {
    let at = ip.offset + ip.header_length;
    match ip.protocol {
        IpProtocol::FRAGMENT => {
            let Some(fragment) = frame.header::<Ipv6Fragment>(at) else { return false };
            ip.is_fragment |= fragment.is_part();
            ip.protocol = fragment.next_header;
            ip.header_length += Ipv6Fragment::LENGTH;
            true
        }
        IpProtocol::HOP_BY_HOP | IpProtocol::DESTINATION_OPTIONS | IpProtocol::ROUTING => {
            let Some(extension) = frame.header::<Ipv6Extension>(at) else { return false };
            if ip.protocol == IpProtocol::ROUTING && extension.segments_left != 0 {
                return false;
            }
            ip.protocol = extension.next_header;
            ip.header_length += extension.length();
            true
        }
        _ => false,
    }
}

/// The result of the read for whoever has to say why not.
#[inline(always)]
pub(crate) fn read<N: Network, F: Frame>(frame: &mut F, offset: usize) -> Result<Ip<N::Address>, Reason> {
    N::read(frame, offset).ok_or(Reason::Truncated)
}
