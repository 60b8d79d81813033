//! Packets, built and taken apart by etherparse: whatever it says of headers and checksums owes nothing to our code.

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpDscp, IpFragOffset, IpNumber, Ipv4Header, LinkHeader, NetHeaders,
    PacketHeaders, TcpHeader, TransportHeader, UdpHeader,
};

use super::scene::CLIENT_MAC;

pub(crate) const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x10];

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// An address and a port, as people write them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) address: [u8; 4],
    pub(crate) port: u16,
}

pub(crate) const fn end(address: [u8; 4], port: u16) -> End {
    End { address, port }
}

impl std::fmt::Debug for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d] = self.address;
        write!(out, "{a}.{b}.{c}.{d}:{}", self.port)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Tcp(u8),
    Udp { with_checksum: bool },
    Echo,
    Other(u8),
}

/// A packet that is being thought up.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) from: End,
    pub(crate) to: End,
    content: Content,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    vlans: Vec<u16>,
    ttl: u8,
    dscp: u8,
    options: Vec<u8>,
    fragment: (u16, bool),
    payload: Vec<u8>,
}

fn draft(from: End, to: End, content: Content) -> Draft {
    Draft {
        from,
        to,
        content,
        source_mac: CLIENT_MAC,
        destination_mac: OUR_MAC,
        vlans: Vec::new(),
        ttl: 64,
        dscp: 0,
        options: Vec::new(),
        fragment: (0, false),
        payload: b"evenkeel".to_vec(),
    }
}

/// A TCP segment with these flags.
pub(crate) fn tcp(from: End, to: End, flags: u8) -> Draft {
    draft(from, to, Content::Tcp(flags))
}

/// A UDP datagram.
pub(crate) fn udp(from: End, to: End) -> Draft {
    draft(from, to, Content::Udp { with_checksum: true })
}

/// An ICMP echo request.
pub(crate) fn echo(from: [u8; 4], to: [u8; 4]) -> Draft {
    draft(end(from, 0), end(to, 0), Content::Echo)
}

impl Draft {
    pub(crate) fn protocol(mut self, number: u8) -> Self {
        self.content = Content::Other(number);
        self
    }

    pub(crate) fn without_checksum(mut self) -> Self {
        self.content = Content::Udp { with_checksum: false };
        self
    }

    pub(crate) fn source_mac(mut self, mac: [u8; 6]) -> Self {
        self.source_mac = mac;
        self
    }

    pub(crate) fn destination_mac(mut self, mac: [u8; 6]) -> Self {
        self.destination_mac = mac;
        self
    }

    /// One more VLAN tag, inside those that are there.
    pub(crate) fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(id);
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn dscp(mut self, dscp: u8) -> Self {
        self.dscp = dscp;
        self
    }

    /// IPv4 options; a multiple of four bytes.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// A part of a larger packet: offset in units of eight bytes, and whether more parts follow.
    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset, more);
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut ip = Ipv4Header::new(0, self.ttl, IpNumber::TCP, self.from.address, self.to.address)
            .expect("an empty payload fits");
        ip.dscp = IpDscp::try_new(self.dscp).expect("six bits");
        ip.options = self.options.as_slice().try_into().expect("options are a multiple of four bytes, at most 40");
        ip.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        ip.more_fragments = self.fragment.1;
        ip.dont_fragment = false;
        ip.identification = 0x4711;
        let segment = self.segment(&mut ip);
        ip.set_payload_len(segment.len()).expect("fits a packet");
        ip.header_checksum = ip.calc_header_checksum();

        let mut bytes = [self.destination_mac, self.source_mac].concat();
        for (index, id) in self.vlans.iter().enumerate() {
            // The outer one of two is a service tag (802.1ad).
            bytes.extend(if index + 1 < self.vlans.len() { [0x88, 0xa8] } else { [0x81, 0x00] });
            bytes.extend(id.to_be_bytes());
        }
        bytes.extend([0x08, 0x00]);
        bytes.extend(ip.to_bytes());
        bytes.extend(segment);
        bytes
    }

    /// What the IPv4 header announces.
    fn segment(&self, ip: &mut Ipv4Header) -> Vec<u8> {
        let header = match self.content {
            Content::Tcp(flags) => {
                ip.protocol = IpNumber::TCP;
                let mut tcp = TcpHeader::new(self.from.port, self.to.port, 0x0102_0304, 4096);
                (tcp.fin, tcp.syn, tcp.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
                tcp.ack = flags & ACK != 0;
                tcp.checksum = tcp.calc_checksum_ipv4(ip, &self.payload).expect("fits a segment");
                tcp.to_bytes().to_vec()
            }
            Content::Udp { with_checksum } => {
                ip.protocol = IpNumber::UDP;
                let (from, to, payload) = (self.from.port, self.to.port, &self.payload);
                let udp = if with_checksum {
                    UdpHeader::with_ipv4_checksum(from, to, ip, payload).expect("fits a datagram")
                } else {
                    UdpHeader::without_ipv4_checksum(from, to, payload.len()).expect("fits a datagram")
                };
                udp.to_bytes().to_vec()
            }
            Content::Echo => {
                ip.protocol = IpNumber::ICMP;
                let kind = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
                Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
            }
            Content::Other(number) => {
                ip.protocol = IpNumber(number);
                Vec::new()
            }
        };
        [header, self.payload.clone()].concat()
    }
}

/// What a packet says, in the eyes of etherparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) ttl: u8,
    pub(crate) dscp: u8,
    /// TCP's control bits; 0 for anything else.
    pub(crate) flags: u8,
    /// The transport's checksum as it stands in the packet.
    pub(crate) checksum: u16,
    pub(crate) payload: Vec<u8>,
}

impl View {
    /// Takes a packet apart, and fails the test unless all its checksums are right.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let packet = PacketHeaders::from_ethernet_slice(bytes).expect("a well-formed packet");
        let Some(LinkHeader::Ethernet2(ethernet)) = packet.link else { panic!("Ethernet") };
        let Some(NetHeaders::Ipv4(ip, _)) = packet.net else { panic!("IPv4") };
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
        let payload = packet.payload.slice().to_vec();
        let (source_port, destination_port, flags, checksum) = match packet.transport {
            Some(TransportHeader::Tcp(tcp)) => {
                let right = tcp.calc_checksum_ipv4(&ip, &payload).expect("fits");
                assert_eq!(tcp.checksum, right, "TCP checksum");
                let flags = [(tcp.fin, FIN), (tcp.syn, SYN), (tcp.rst, RST), (tcp.ack, ACK)];
                let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
                (tcp.source_port, tcp.destination_port, flags, tcp.checksum)
            }
            Some(TransportHeader::Udp(udp)) => {
                let right = udp.calc_checksum_ipv4(&ip, &payload).expect("fits");
                assert!(udp.checksum == 0 || udp.checksum == right, "UDP checksum");
                (udp.source_port, udp.destination_port, 0, udp.checksum)
            }
            Some(TransportHeader::Icmpv4(icmp)) => {
                assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(&payload), "ICMP checksum");
                (0, 0, 0, icmp.checksum)
            }
            other => panic!("no transport that is balanced: {other:?}"),
        };
        Self {
            from: end(ip.source, source_port),
            to: end(ip.destination, destination_port),
            source_mac: ethernet.source,
            destination_mac: ethernet.destination,
            ttl: ip.time_to_live,
            dscp: ip.dscp.value(),
            flags,
            checksum,
            payload,
        }
    }
}

/// Whether the transport's checksum would satisfy a receiver, for packets that etherparse will not take apart, such as
/// a TCP segment whose header claims to be longer than the packet. Nothing for what has no checksum.
pub(crate) fn transport_sum_is_sound(bytes: &[u8], ip_offset: usize) -> Option<bool> {
    let ip = bytes.get(ip_offset..)?;
    let total_length = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let segment = ip.get(usize::from(ip[0] & 0xf) * 4..total_length)?;
    let sum = Sum16BitWords::new().add_slice(segment);
    let pseudo_header = |sum: Sum16BitWords| {
        let length = u16::try_from(segment.len()).expect("an IPv4 packet").to_be_bytes();
        sum.add_slice(&ip[12..20]).add_2bytes([0, ip[9]]).add_2bytes(length)
    };
    let sum = match ip[9] {
        1 => sum,
        6 => pseudo_header(sum),
        17 if segment.get(6..8)? == [0, 0] => return None,
        17 => pseudo_header(sum),
        _ => return None,
    };
    Some(sum.ones_complement() == 0)
}
