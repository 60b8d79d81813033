//! From bytes to what the balancer talks about. Checked here, trusted everywhere else.

use crate::family::{Family, V4};
use crate::frame::Frame;
use crate::key::{Key as _, Peer};
use crate::network::{self, Ip, Network as _};
use crate::verdict::Reason;
use evenkeel_wire::{EtherType, Ethernet, IpProtocol, MacAddress, Tcp, TcpFlags, Udp, VlanTag};

/// A TCP segment or UDP datagram for one of our addresses.
#[derive(Clone, Copy, Debug)]
pub struct Packet<A: Family = V4> {
    /// Source, destination and protocol.
    pub key: A::Key,
    /// Length of the frame, in bytes, without padding.
    pub length: u32,
    /// Byte offset of the IP header in the frame.
    pub ip_offset: u16,
    /// Byte offset of the TCP or UDP header in the frame.
    pub transport_offset: u16,
    /// Where the frame came from: an Ethernet address as [`MacAddress::bits`], and the port that it arrived by in bits 48 to
    /// 54, which is 0 as yet. A word, because single bytes make the compiler waste BPF's stack.
    pub neighbour: u64,
    /// Time to live or hop limit.
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

/// Reads Ethernet and VLAN tags (IEEE 802.1Q, at most two): the byte offset of what follows them, and what that is.
///
/// Judges nothing yet but whether the frame is for `mac`: until the destination is known to be ours, nothing may be dropped.
#[inline(always)]
pub(crate) fn link<F: Frame>(frame: &mut F, mac: MacAddress) -> Result<(usize, EtherType), Reason> {
    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    if ethernet.destination != mac {
        return Err(Reason::NotOurMac);
    }
    let mut ether_type = ethernet.ether_type;
    let mut offset = Ethernet::LENGTH;
    if ether_type != EtherType::IPV4 && ether_type != EtherType::IPV6 {
        for _ in 0..2 {
            if ether_type.is_vlan() {
                ether_type = frame.header::<VlanTag>(offset).ok_or(Reason::Truncated)?.ether_type;
                offset += VlanTag::LENGTH;
            }
        }
    }
    Ok((offset, ether_type))
}

/// The packet in a frame, once it is known to be of this family and for us.
#[inline(always)]
pub(crate) fn ip<A: Family, F: Frame>(frame: &mut F, mac: MacAddress) -> Result<Ip<A::Address>, Reason> {
    let (offset, ether_type) = link(frame, mac)?;
    if ether_type != A::Network::ETHER_TYPE {
        return Err(Reason::NotIpv4);
    }
    network::read::<A::Network, F>(frame, offset)
}

/// Checks that the IP header does not contradict itself or the frame, that the packet is whole, and that it has a
/// payload of at least `payload` bytes. Returns the payload's byte offset in the frame.
#[inline(always)]
pub(crate) fn payload<F: Frame, A>(frame: &F, ip: &Ip<A>, payload: usize) -> Result<usize, Reason> {
    if ip.is_fragment {
        return Err(Reason::Fragment);
    }
    let sound =
        ip.is_sound && ip.total_length >= ip.header_length + payload && frame.holds(ip.offset + ip.total_length);
    if sound { Ok(ip.offset + ip.header_length) } else { Err(Reason::Malformed) }
}

/// Reads the TCP or UDP header.
#[inline(always)]
pub(crate) fn transport<A: Family, F: Frame>(frame: &mut F, ip: &Ip<A::Address>) -> Result<Packet<A>, Reason> {
    Ok(segment(frame, ip)?.0)
}

/// Reads the TCP or UDP header, and what it says to its connection.
#[inline(always)]
pub(crate) fn segment<A: Family, F: Frame>(frame: &mut F, ip: &Ip<A::Address>) -> Result<(Packet<A>, Segment), Reason> {
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
    let neighbour = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?.source.bits();
    let packet = Packet {
        key: A::Key::new(
            Peer { address: ip.source, port: source_port },
            Peer { address: ip.destination, port: destination_port },
            ip.protocol,
        ),
        length: length as u32,
        ip_offset: ip.offset as u16,
        transport_offset: transport_offset as u16,
        neighbour,
        ttl: ip.ttl,
        flags: segment.flags,
    };
    Ok((packet, segment))
}
