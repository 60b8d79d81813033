//! From bytes to what the balancer talks about. Checked here, trusted everywhere else.

use crate::frame::Frame;
use crate::key::{FlowKey, Peer};
use crate::verdict::Reason;
use evenkeel_wire::{EtherType, Ethernet, IpProtocol, Ipv4, Ipv4Address, MacAddress, Tcp, TcpFlags, Udp, VlanTag};

/// An IPv4 packet, its Ethernet header and up to two VLAN tags behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip {
    /// Byte offset of the IPv4 header in the frame.
    pub(crate) offset: usize,
    /// Length of the IPv4 header with its options, in bytes, as the header says.
    pub(crate) header_length: usize,
    /// Length of the whole packet, in bytes, as the header says.
    pub(crate) total_length: usize,
    pub(crate) version: u8,
    pub(crate) is_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) protocol: IpProtocol,
    pub(crate) source: Ipv4Address,
    pub(crate) destination: Ipv4Address,
    pub(crate) neighbour: u64,
}

/// A TCP segment or UDP datagram for one of our addresses.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source, destination and protocol.
    pub key: FlowKey,
    /// Length of the frame, in bytes, without padding.
    pub length: u32,
    /// Byte offset of the IPv4 header in the frame.
    pub ip_offset: u16,
    /// Byte offset of the TCP or UDP header in the frame.
    pub transport_offset: u16,
    /// Where the frame came from: an Ethernet address as [`MacAddress::bits`], and the port that it arrived by in bits 48 to
    /// 54, which is 0 as yet. A word, because single bytes make the compiler waste BPF's stack.
    pub neighbour: u64,
    /// Time to live, in hops.
    pub ttl: u8,
    /// TCP's control bits; none for UDP.
    pub flags: TcpFlags,
}

/// What a segment or datagram says to its connection, which an established one's ordinary packet is not asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// TCP's control bits; none for UDP.
    pub(crate) flags: TcpFlags,
    /// The number of the first byte; 0 for UDP.
    pub(crate) sequence: u32,
    /// The next byte expected; 0 for UDP.
    pub(crate) acknowledgement: u32,
    /// Whether it carries data; false for UDP.
    pub(crate) has_data: bool,
    /// Whether it is a SYN over a connection of a backend that may be gone: unless that one says otherwise, the connection is
    /// over.
    pub(crate) is_last_call: bool,
}

/// Reads Ethernet, VLAN tags (IEEE 802.1Q, at most two) and where an IPv4 packet goes: its header's byte offset in the frame,
/// and the destination. No more, because that is all that a packet which is not ours is asked for.
///
/// Judges nothing yet but whether the frame is for `mac`: until the destination is known to be ours, nothing may be dropped.
#[inline(always)]
pub(crate) fn destination<F: Frame>(frame: &mut F, mac: MacAddress) -> Result<(usize, Ipv4Address), Reason> {
    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    if ethernet.destination != mac {
        return Err(Reason::NotOurMac);
    }
    let mut ether_type = ethernet.ether_type;
    let mut offset = Ethernet::LENGTH;
    if ether_type != EtherType::IPV4 {
        for _ in 0..2 {
            if ether_type.is_vlan() {
                ether_type = frame.header::<VlanTag>(offset).ok_or(Reason::Truncated)?.ether_type;
                offset += VlanTag::LENGTH;
            }
        }
        if ether_type != EtherType::IPV4 {
            return Err(Reason::NotIpv4);
        }
    }
    let header = frame.header::<Ipv4>(offset).ok_or(Reason::Truncated)?;
    Ok((offset, header.destination))
}

/// Reads the IPv4 header at this offset, and where the frame came from.
#[inline(always)]
pub(crate) fn ip<F: Frame>(frame: &mut F, offset: usize) -> Result<Ip, Reason> {
    let neighbour = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?.source.bits();
    let header = frame.header::<Ipv4>(offset).ok_or(Reason::Truncated)?;
    Ok(Ip {
        offset,
        header_length: header.header_length(),
        total_length: usize::from(header.total_length.get()),
        version: header.version(),
        is_fragment: header.is_fragment(),
        ttl: header.ttl,
        protocol: header.protocol,
        source: header.source,
        destination: header.destination,
        neighbour,
    })
}

/// Checks that the IPv4 header does not contradict itself or the frame, that the packet is whole, and that it has a
/// payload of at least `payload` bytes. Returns the payload's byte offset in the frame.
#[inline(always)]
pub(crate) fn payload<F: Frame>(frame: &F, ip: &Ip, payload: usize) -> Result<usize, Reason> {
    if ip.is_fragment {
        return Err(Reason::Fragment);
    }
    let sound = ip.version == 4
        && ip.header_length >= Ipv4::LENGTH
        && ip.total_length >= ip.header_length + payload
        && frame.holds(ip.offset + ip.total_length);
    if sound { Ok(ip.offset + ip.header_length) } else { Err(Reason::Malformed) }
}

/// Reads the TCP or UDP header.
#[inline(always)]
pub(crate) fn transport<F: Frame>(frame: &mut F, ip: &Ip) -> Result<Packet, Reason> {
    Ok(segment(frame, ip)?.0)
}

/// Reads the TCP or UDP header, and what it says to its connection.
#[inline(always)]
pub(crate) fn segment<F: Frame>(frame: &mut F, ip: &Ip) -> Result<(Packet, Segment), Reason> {
    let is_tcp = ip.protocol == IpProtocol::TCP;
    let transport_offset = payload(frame, ip, if is_tcp { Tcp::LENGTH } else { Udp::LENGTH })?;
    let length = ip.offset + ip.total_length;
    let (source_port, destination_port, segment) = if is_tcp {
        let tcp = frame.header::<Tcp>(transport_offset).ok_or(Reason::Malformed)?;
        let segment = Segment {
            flags: tcp.flags,
            sequence: tcp.sequence.get(),
            acknowledgement: tcp.acknowledgement.get(),
            has_data: length > transport_offset + tcp.header_length(),
            is_last_call: false,
        };
        (tcp.source, tcp.destination, segment)
    } else {
        let udp = frame.header::<Udp>(transport_offset).ok_or(Reason::Malformed)?;
        let segment = Segment {
            flags: TcpFlags::default(),
            sequence: 0,
            acknowledgement: 0,
            has_data: false,
            is_last_call: false,
        };
        (udp.source, udp.destination, segment)
    };
    let packet = Packet {
        key: FlowKey::new(
            Peer { address: ip.source, port: source_port },
            Peer { address: ip.destination, port: destination_port },
            ip.protocol,
        ),
        length: length as u32,
        ip_offset: ip.offset as u16,
        transport_offset: transport_offset as u16,
        neighbour: ip.neighbour,
        ttl: ip.ttl,
        flags: segment.flags,
    };
    Ok((packet, segment))
}
