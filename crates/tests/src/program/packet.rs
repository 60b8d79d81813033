//! Packets, built and taken apart by etherparse: what it says of headers and checksums owes nothing to our code.

use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpDscp, IpEcn, IpFragOffset, IpNumber,
    Ipv4Header, SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The balancer's.
pub const OUR_MAC: Mac = [0x02, 0, 0, 0, 0, 0x10];
/// Every client's, unless a test says otherwise: they come through one router.
pub const CLIENT_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];

/// TCP's control bits.
pub const FIN: u8 = 0x01;
/// TCP's control bits.
pub const SYN: u8 = 0x02;
/// TCP's control bits.
pub const RST: u8 = 0x04;
/// TCP's control bits.
pub const ACK: u8 = 0x10;

/// An address and a port.
pub const fn end(address: [u8; 4], port: u16) -> SocketAddrV4 {
    let [a, b, c, d] = address;
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
}

/// A backend's Ethernet address.
pub fn backend_mac(backend: Ipv4Addr) -> Mac {
    let [_, b, c, d] = backend.octets();
    [0x02, 0, 1, b, c, d]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Tcp(u8),
    Udp { with_checksum: bool },
    Icmp(Icmp),
    Other(u8),
}

/// What an ICMP message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    /// An echo request with this identifier.
    Request(u16),
    /// An echo reply.
    Reply,
    /// "Port unreachable".
    Unreachable,
}

/// A packet that is being thought up.
#[derive(Clone, Debug)]
pub struct Draft {
    from: SocketAddrV4,
    to: SocketAddrV4,
    content: Content,
    source_mac: Mac,
    destination_mac: Mac,
    tags: Vec<(u16, u16)>,
    ttl: u8,
    dscp: u8,
    ecn: u8,
    options: Vec<u8>,
    tcp_options: Vec<u8>,
    fragment: (u16, bool),
    payload: Vec<u8>,
    padding: usize,
}

/// A TCP segment with these control bits.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Draft {
    Draft {
        from,
        to,
        content: Content::Tcp(flags),
        source_mac: CLIENT_MAC,
        destination_mac: OUR_MAC,
        tags: Vec::new(),
        ttl: 64,
        dscp: 0,
        ecn: 0,
        options: Vec::new(),
        tcp_options: Vec::new(),
        fragment: (0, false),
        payload: b"evenkeel".to_vec(),
        padding: 0,
    }
}

/// A UDP datagram.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Draft {
    Draft { content: Content::Udp { with_checksum: true }, ..tcp(from, to, 0) }
}

/// An ICMP message.
pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, message: Icmp) -> Draft {
    Draft { content: Content::Icmp(message), ..tcp(SocketAddrV4::new(from, 0), SocketAddrV4::new(to, 0), 0) }
}

/// An ICMP echo request.
pub fn echo(from: Ipv4Addr, to: Ipv4Addr) -> Draft {
    icmp(from, to, Icmp::Request(7))
}

impl Draft {
    /// Another protocol, with the payload only.
    pub fn protocol(self, number: u8) -> Self {
        Self { content: Content::Other(number), ..self }
    }

    /// UDP without a checksum.
    pub fn without_checksum(self) -> Self {
        Self { content: Content::Udp { with_checksum: false }, ..self }
    }

    /// From another Ethernet address.
    pub fn source_mac(self, source_mac: Mac) -> Self {
        Self { source_mac, ..self }
    }

    /// To another Ethernet address.
    pub fn destination_mac(self, destination_mac: Mac) -> Self {
        Self { destination_mac, ..self }
    }

    /// One more VLAN tag, inside those that are there, announced by this EtherType.
    pub fn tag(mut self, ether_type: u16, id: u16) -> Self {
        self.tags.push((ether_type, id));
        self
    }

    /// Time to live.
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// DSCP and ECN.
    pub fn traffic_class(self, dscp: u8, ecn: u8) -> Self {
        Self { dscp, ecn, ..self }
    }

    /// IPv4 options; a multiple of four bytes.
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// TCP options; a multiple of four bytes.
    pub fn tcp_options(self, options: &[u8]) -> Self {
        Self { tcp_options: options.to_vec(), ..self }
    }

    /// A part of a larger packet: offset in units of eight bytes, and whether more parts follow.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        Self { fragment: (offset, more), ..self }
    }

    /// What the packet carries.
    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// Bytes behind the IPv4 packet, as short Ethernet frames have them.
    pub fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.from.ip().octets(), self.to.ip().octets());
        let mut ip = Ipv4Header::new(0, self.ttl, IpNumber::TCP, source, destination).expect("no payload fits");
        ip.dscp = IpDscp::try_new(self.dscp).expect("six bits");
        ip.ecn = IpEcn::try_new(self.ecn).expect("two bits");
        ip.options = self.options.as_slice().try_into().expect("a multiple of four bytes, at most 40");
        ip.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        ip.more_fragments = self.fragment.1;
        ip.dont_fragment = self.fragment == (0, false);
        ip.identification = 0x4711;
        let (protocol, transport) = match self.content {
            Content::Tcp(flags) => {
                let mut tcp = TcpHeader::new(self.from.port(), self.to.port(), 0x0102_0304, 4096);
                tcp.acknowledgment_number = 0x0506_0708;
                (tcp.fin, tcp.syn, tcp.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
                tcp.ack = flags & ACK != 0;
                tcp.set_options_raw(&self.tcp_options).expect("a multiple of four bytes, at most 40");
                (IpNumber::TCP, Transport::Tcp(tcp))
            }
            Content::Udp { with_checksum } => {
                let udp = UdpHeader::without_ipv4_checksum(self.from.port(), self.to.port(), self.payload.len());
                let mut udp = udp.expect("fits a datagram");
                // Any number but zero asks for one.
                udp.checksum = with_checksum.into();
                (IpNumber::UDP, Transport::Udp(udp))
            }
            Content::Icmp(message) => {
                let kind = match message {
                    Icmp::Request(id) => Icmpv4Type::EchoRequest(IcmpEchoHeader { id, seq: 1 }),
                    Icmp::Reply => Icmpv4Type::EchoReply(IcmpEchoHeader { id: 7, seq: 1 }),
                    Icmp::Unreachable => {
                        Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port)
                    }
                };
                (IpNumber::ICMP, Transport::Icmp(Icmpv4Header::new(kind)))
            }
            Content::Other(number) => (IpNumber(number), Transport::None),
        };
        ip.protocol = protocol;
        ip.set_payload_len(transport.length() + self.payload.len()).expect("fits a packet");
        let mut types: Vec<_> = self.tags.iter().map(|&(ether_type, _)| EtherType(ether_type)).collect();
        types.push(EtherType::IPV4);
        let ethernet =
            Ethernet2Header { source: self.source_mac, destination: self.destination_mac, ether_type: types[0] };
        let tags = self.tags.iter().zip(&types[1..]).map(|(&(_, id), &ether_type)| SingleVlanHeader {
            vlan_id: VlanId::try_new(id).expect("twelve bits"),
            ether_type,
            ..Default::default()
        });
        let tags = tags.collect();
        Parsed { ethernet, tags, ip, transport, payload: self.payload.clone(), padding: vec![0; self.padding] }.bytes()
    }
}

/// A transport's header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
    Icmp(Icmpv4Header),
    None,
}

impl Transport {
    fn length(&self) -> usize {
        match self {
            Self::Tcp(tcp) => tcp.header_len(),
            Self::Udp(udp) => udp.header_len(),
            Self::Icmp(icmp) => icmp.header_len(),
            Self::None => 0,
        }
    }
}

/// A packet in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Ethernet header.
    pub ethernet: Ethernet2Header,
    /// VLAN tags, the outer one first.
    pub tags: Vec<SingleVlanHeader>,
    /// IPv4 header.
    pub ip: Ipv4Header,
    /// TCP, UDP or ICMP header.
    pub transport: Transport,
    /// What it carries.
    pub payload: Vec<u8>,
    /// What is behind it in the frame.
    pub padding: Vec<u8>,
}

impl Parsed {
    /// Takes a well-formed packet apart.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (ethernet, mut rest) = Ethernet2Header::from_slice(bytes).ok()?;
        let mut tags: Vec<SingleVlanHeader> = Vec::new();
        let mut ether_type = ethernet.ether_type;
        while matches!(ether_type, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            let (tag, after) = SingleVlanHeader::from_slice(rest).ok()?;
            (ether_type, rest) = (tag.ether_type, after);
            tags.push(tag);
        }
        if ether_type != EtherType::IPV4 {
            return None;
        }
        let (ip, rest) = Ipv4Header::from_slice(rest).ok()?;
        let (segment, padding) = rest.split_at_checked(usize::from(ip.payload_len().ok()?))?;
        let (transport, payload) = match ip.protocol {
            IpNumber::TCP => TcpHeader::from_slice(segment).ok().map(|(tcp, rest)| (Transport::Tcp(tcp), rest))?,
            IpNumber::UDP => UdpHeader::from_slice(segment).ok().map(|(udp, rest)| (Transport::Udp(udp), rest))?,
            IpNumber::ICMP => {
                Icmpv4Header::from_slice(segment).ok().map(|(icmp, rest)| (Transport::Icmp(icmp), rest))?
            }
            _ => (Transport::None, segment),
        };
        Some(Self { ethernet, tags, ip, transport, payload: payload.to_vec(), padding: padding.to_vec() })
    }

    /// Where the packet comes from; port 0 if there are none.
    pub fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip.source.into(), self.ports().0)
    }

    /// Where the packet goes; port 0 if there are none.
    pub fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip.destination.into(), self.ports().1)
    }

    fn ports(&self) -> (u16, u16) {
        match &self.transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Transport::Udp(udp) => (udp.source_port, udp.destination_port),
            Transport::Icmp(_) | Transport::None => (0, 0),
        }
    }

    /// The packet put together again, every checksum computed anew; a UDP checksum of zero stays.
    pub fn bytes(mut self) -> Vec<u8> {
        self.ip.header_checksum = self.ip.calc_header_checksum();
        let payload = self.payload.as_slice();
        let transport = match &mut self.transport {
            Transport::Tcp(tcp) => {
                tcp.checksum = tcp.calc_checksum_ipv4(&self.ip, payload).expect("fits a packet");
                tcp.to_bytes().to_vec()
            }
            Transport::Udp(udp) => {
                if udp.checksum != 0 {
                    udp.checksum = udp.calc_checksum_ipv4(&self.ip, payload).expect("fits a packet");
                }
                udp.to_bytes().to_vec()
            }
            Transport::Icmp(icmp) => {
                icmp.update_checksum(payload);
                icmp.to_bytes().to_vec()
            }
            Transport::None => Vec::new(),
        };
        let mut bytes = self.ethernet.to_bytes().to_vec();
        self.tags.iter().for_each(|tag| bytes.extend(tag.to_bytes()));
        bytes.extend(self.ip.to_bytes());
        bytes.extend(transport);
        bytes.extend(payload);
        bytes.extend(&self.padding);
        bytes
    }

    /// The packet after this change.
    pub fn changed(mut self, change: &Change) -> Self {
        (self.ethernet.destination, self.ethernet.source) = (change.destination_mac, change.source_mac);
        (self.ip.source, self.ip.destination) = (change.source.ip().octets(), change.destination.ip().octets());
        self.ip.time_to_live = change.ttl;
        let ports = (change.source.port(), change.destination.port());
        match &mut self.transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port) = ports,
            Transport::Udp(udp) => (udp.source_port, udp.destination_port) = ports,
            Transport::Icmp(icmp) => match icmp.icmp_type {
                Icmpv4Type::EchoRequest(echo) => icmp.icmp_type = Icmpv4Type::EchoReply(echo),
                _ => panic!("nothing but an echo request is answered"),
            },
            Transport::None => panic!("nothing but TCP, UDP and ICMP is sent"),
        }
        self
    }

    /// The reset that refuses a SYN (RFC 9293, section 3.10.7.1). What the SYN carried beyond a plain header is padding.
    pub fn refused(mut self) -> Self {
        let Transport::Tcp(syn) = &self.transport else { panic!("only TCP is refused") };
        let mut reset = TcpHeader::new(syn.destination_port, syn.source_port, 0, 0);
        (reset.rst, reset.ack) = (true, true);
        reset.acknowledgment_number = syn.sequence_number.wrapping_add(1).wrapping_add(self.payload.len() as u32);
        let segment = [syn.to_bytes().as_slice(), &self.payload].concat();
        self.padding = [&segment[reset.header_len()..], &self.padding].concat();
        self.payload = Vec::new();
        self.transport = Transport::Tcp(reset);
        std::mem::swap(&mut self.ethernet.source, &mut self.ethernet.destination);
        std::mem::swap(&mut self.ip.source, &mut self.ip.destination);
        self.ip.time_to_live = 64;
        self.ip.set_payload_len(TcpHeader::MIN_LEN).expect("it fits");
        self
    }
}

/// Everything that a packet's way through the balancer may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new Ethernet destination.
    pub destination_mac: Mac,
    /// The new Ethernet source.
    pub source_mac: Mac,
    /// The new source.
    pub source: SocketAddrV4,
    /// The new destination.
    pub destination: SocketAddrV4,
    /// The new time to live.
    pub ttl: u8,
}
