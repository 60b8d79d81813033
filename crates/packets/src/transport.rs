//! What an IP header announces.

use crate::draft::Icmp;
use crate::network::Network;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, TcpHeader, UdpHeader, icmpv4, icmpv6,
};
use std::net::IpAddr;

/// TCP's control bits.
pub const FIN: u8 = 0x01;
/// TCP's control bits.
pub const SYN: u8 = 0x02;
/// TCP's control bits.
pub const RST: u8 = 0x04;
/// TCP's control bits.
pub const PSH: u8 = 0x08;
/// TCP's control bits.
pub const ACK: u8 = 0x10;

/// The number of a SYN, if nothing else is said.
pub const FIRST_NUMBER: u32 = 0x0102_0304;

/// A transport's header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
    Icmp(Icmpv4Header),
    Icmpv6(Icmpv6Header),
    None,
}

const ECHO: IcmpEchoHeader = IcmpEchoHeader { id: 7, seq: 1 };

impl Transport {
    /// Without other `numbers`, sequence and acknowledgement, those of a connection whose two sides have both begun with
    /// [`FIRST_NUMBER`], after its handshake.
    pub(crate) fn tcp(from: u16, to: u16, flags: u8, numbers: Option<(u32, u32)>, options: &[u8]) -> Self {
        let sequence = if flags & SYN != 0 { FIRST_NUMBER } else { FIRST_NUMBER + 1 };
        let acknowledgement = if flags & ACK != 0 { FIRST_NUMBER + 1 } else { 0x0506_0708 };
        let (sequence, acknowledgement) = numbers.unwrap_or((sequence, acknowledgement));
        let mut tcp = TcpHeader::new(from, to, sequence, 4096);
        tcp.acknowledgment_number = acknowledgement;
        (tcp.fin, tcp.syn, tcp.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
        (tcp.psh, tcp.ack) = (flags & PSH != 0, flags & ACK != 0);
        tcp.set_options_raw(options).expect("a multiple of four bytes, at most 40");
        Self::Tcp(tcp)
    }

    pub(crate) fn udp(from: u16, to: u16, payload: usize, with_checksum: bool) -> Self {
        let mut udp = UdpHeader::without_ipv4_checksum(from, to, payload).expect("fits a datagram");
        // Any number but zero asks for one.
        udp.checksum = with_checksum.into();
        Self::Udp(udp)
    }

    pub(crate) fn icmp(message: Icmp) -> Self {
        Self::Icmp(Icmpv4Header::new(match message {
            Icmp::Request(id) => Icmpv4Type::EchoRequest(IcmpEchoHeader { id, ..ECHO }),
            Icmp::Reply => Icmpv4Type::EchoReply(ECHO),
            Icmp::Unreachable => Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port),
        }))
    }

    pub(crate) fn icmpv6(message: Icmp) -> Self {
        Self::Icmpv6(Icmpv6Header::new(match message {
            Icmp::Request(id) => Icmpv6Type::EchoRequest(IcmpEchoHeader { id, ..ECHO }),
            Icmp::Reply => Icmpv6Type::EchoReply(ECHO),
            Icmp::Unreachable => Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
        }))
    }

    /// Takes a header off the front.
    pub(crate) fn of(protocol: IpNumber, segment: &[u8]) -> Option<(Self, &[u8])> {
        Some(match protocol {
            IpNumber::TCP => TcpHeader::from_slice(segment).ok().map(|(tcp, rest)| (Self::Tcp(tcp), rest))?,
            IpNumber::UDP => UdpHeader::from_slice(segment).ok().map(|(udp, rest)| (Self::Udp(udp), rest))?,
            IpNumber::ICMP => Icmpv4Header::from_slice(segment).ok().map(|(icmp, rest)| (Self::Icmp(icmp), rest))?,
            IpNumber::IPV6_ICMP => {
                Icmpv6Header::from_slice(segment).ok().map(|(icmp, rest)| (Self::Icmpv6(icmp), rest))?
            }
            _ => (Self::None, segment),
        })
    }

    /// Source and destination; 0 if there are none.
    pub fn ports(&self) -> (u16, u16) {
        match self {
            Self::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Self::Udp(udp) => (udp.source_port, udp.destination_port),
            Self::Icmp(_) | Self::Icmpv6(_) | Self::None => (0, 0),
        }
    }

    /// TCP's control bits; 0 for anything else.
    pub fn flags(&self) -> u8 {
        let Self::Tcp(tcp) = self else { return 0 };
        let flags = [(tcp.fin, FIN), (tcp.syn, SYN), (tcp.rst, RST), (tcp.psh, PSH), (tcp.ack, ACK)];
        flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit)
    }

    /// The checksum as it stands in the header.
    pub fn checksum(&self) -> Option<u16> {
        match self {
            Self::Tcp(tcp) => Some(tcp.checksum),
            Self::Udp(udp) => Some(udp.checksum),
            Self::Icmp(icmp) => Some(icmp.checksum),
            Self::Icmpv6(icmp) => Some(icmp.checksum),
            Self::None => None,
        }
    }

    /// The header in front of a payload, its checksum computed anew; a UDP checksum of zero stays.
    pub(crate) fn bytes(mut self, network: &Network, payload: &[u8]) -> Vec<u8> {
        let ends = (network.source(), network.destination());
        match &mut self {
            Self::Tcp(tcp) => {
                tcp.checksum = match ends {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload).expect("fits a packet")
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        tcp.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload).expect("fits a packet")
                    }
                    _ => unreachable!("a header has one family"),
                };
                tcp.to_bytes().to_vec()
            }
            Self::Udp(udp) => {
                if udp.checksum != 0 {
                    udp.checksum = udp_checksum(udp, ends, payload);
                }
                udp.to_bytes().to_vec()
            }
            Self::Icmp(icmp) => {
                icmp.update_checksum(payload);
                icmp.to_bytes().to_vec()
            }
            Self::Icmpv6(icmp) => {
                let (IpAddr::V6(from), IpAddr::V6(to)) = ends else { panic!("ICMPv6 in IPv4") };
                icmp.update_checksum(from.octets(), to.octets(), payload).expect("fits a packet");
                icmp.to_bytes().to_vec()
            }
            Self::None => Vec::new(),
        }
    }
}

/// Never zero, which would say that there is none.
pub(crate) fn udp_checksum(udp: &UdpHeader, ends: (IpAddr, IpAddr), payload: &[u8]) -> u16 {
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => udp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => udp.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload),
        _ => unreachable!("a header has one family"),
    }
    .expect("fits a packet")
}
