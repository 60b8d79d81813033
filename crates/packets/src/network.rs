//! IPv4 and IPv6 headers.

use etherparse::{
    EtherType, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
};
use std::net::IpAddr;

/// What every packet that is thought up has for an identification.
const IDENTIFICATION: u16 = 0x4711;

/// A network header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4, with its options.
    V4(Ipv4Header),
    /// IPv6, with its extension headers, the outer one first.
    V6(Ipv6Header, Vec<Extension>),
}

/// An IPv6 extension header. Which one it is, the header in front of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, routing, or destination options.
    Raw(Box<Ipv6RawExtHeader>),
    /// Fragment.
    Fragment(Ipv6FragmentHeader),
}

impl Extension {
    fn of(number: IpNumber, bytes: &[u8]) -> Option<(Self, &[u8])> {
        match number {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                Ipv6FragmentHeader::from_slice(bytes).ok().map(|(header, rest)| (Self::Fragment(header), rest))
            }
            _ => Ipv6RawExtHeader::from_slice(bytes).ok().map(|(header, rest)| (Self::Raw(Box::new(header)), rest)),
        }
    }

    fn next(&mut self) -> &mut IpNumber {
        match self {
            Self::Raw(header) => &mut header.next_header,
            Self::Fragment(header) => &mut header.next_header,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(header) => header.to_bytes().to_vec(),
            Self::Fragment(header) => header.to_bytes().to_vec(),
        }
    }
}

fn is_extension(number: IpNumber) -> bool {
    [
        IpNumber::IPV6_HEADER_HOP_BY_HOP,
        IpNumber::IPV6_ROUTE_HEADER,
        IpNumber::IPV6_DESTINATION_OPTIONS,
        IpNumber::IPV6_FRAGMENTATION_HEADER,
    ]
    .contains(&number)
}

impl Network {
    /// A header between these addresses, which are of one family.
    pub(crate) fn new(source: IpAddr, destination: IpAddr, protocol: IpNumber) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header::new(0, 64, protocol, source.octets(), destination.octets());
                let mut header = header.expect("no payload fits");
                header.identification = IDENTIFICATION;
                header.dont_fragment = true;
                Self::V4(header)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    next_header: protocol,
                    hop_limit: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Default::default()
                };
                Self::V6(header, Vec::new())
            }
            _ => panic!("{source} and {destination} are of two families"),
        }
    }

    /// Takes a header off the front: it, what it carries, and what is behind that.
    pub(crate) fn of(ether_type: EtherType, bytes: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        match ether_type {
            EtherType::IPV4 => {
                let (header, rest) = Ipv4Header::from_slice(bytes).ok()?;
                let (segment, behind) = rest.split_at_checked(usize::from(header.payload_len().ok()?))?;
                Some((Self::V4(header), segment, behind))
            }
            EtherType::IPV6 => {
                let (header, rest) = Ipv6Header::from_slice(bytes).ok()?;
                let (mut segment, behind) = rest.split_at_checked(usize::from(header.payload_length))?;
                let (mut next, mut extensions) = (header.next_header, Vec::new());
                while is_extension(next) {
                    let (mut extension, rest) = Extension::of(next, segment)?;
                    (next, segment) = (*extension.next(), rest);
                    extensions.push(extension);
                }
                Some((Self::V6(header, extensions), segment, behind))
            }
            _ => None,
        }
    }

    /// How Ethernet announces it.
    pub fn ether_type(&self) -> EtherType {
        match self {
            Self::V4(_) => EtherType::IPV4,
            Self::V6(..) => EtherType::IPV6,
        }
    }

    /// How an IP header announces it that is around it.
    pub(crate) fn number(&self) -> IpNumber {
        match self {
            Self::V4(_) => IpNumber::IPV4,
            Self::V6(..) => IpNumber::IPV6,
        }
    }

    /// What it carries.
    pub fn protocol(&self) -> IpNumber {
        match self {
            Self::V4(header) => header.protocol,
            Self::V6(header, extensions) => match extensions.last() {
                Some(Extension::Raw(last)) => last.next_header,
                Some(Extension::Fragment(last)) => last.next_header,
                None => header.next_header,
            },
        }
    }

    /// Where it comes from.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(header) => header.source.into(),
            Self::V6(header, _) => header.source.into(),
        }
    }

    /// Where it goes.
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(header) => header.destination.into(),
            Self::V6(header, _) => header.destination.into(),
        }
    }

    pub(crate) fn set_addresses(&mut self, source: IpAddr, destination: IpAddr) {
        match (self, source, destination) {
            (Self::V4(header), IpAddr::V4(source), IpAddr::V4(destination)) => {
                (header.source, header.destination) = (source.octets(), destination.octets());
            }
            (Self::V6(header, _), IpAddr::V6(source), IpAddr::V6(destination)) => {
                (header.source, header.destination) = (source.octets(), destination.octets());
            }
            _ => panic!("{source} and {destination} are not both of the packet's family"),
        }
    }

    /// Time to live, or hop limit.
    pub fn hop_limit(&self) -> u8 {
        match self {
            Self::V4(header) => header.time_to_live,
            Self::V6(header, _) => header.hop_limit,
        }
    }

    pub(crate) fn set_hop_limit(&mut self, hops: u8) {
        match self {
            Self::V4(header) => header.time_to_live = hops,
            Self::V6(header, _) => header.hop_limit = hops,
        }
    }

    /// DSCP.
    pub fn dscp(&self) -> u8 {
        match self {
            Self::V4(header) => header.dscp.value(),
            Self::V6(header, _) => header.dscp().value(),
        }
    }

    pub(crate) fn set_class(&mut self, dscp: u8, ecn: u8) {
        let dscp = IpDscp::try_new(dscp).expect("six bits");
        let ecn = IpEcn::try_new(ecn).expect("two bits");
        match self {
            Self::V4(header) => (header.dscp, header.ecn) = (dscp, ecn),
            Self::V6(header, _) => {
                header.set_dscp(dscp);
                header.set_ecn(ecn);
            }
        }
    }

    pub(crate) fn set_identification(&mut self, identification: u16) {
        let Self::V4(header) = self else { panic!("IPv6 has none in its header") };
        header.identification = identification;
    }

    pub(crate) fn set_options(&mut self, options: &[u8]) {
        let Self::V4(header) = self else { panic!("IPv6 has no options in its header") };
        header.options = options.try_into().expect("a multiple of four bytes, at most 40");
    }

    pub(crate) fn set_fragment(&mut self, offset: u16, more: bool) {
        let offset = IpFragOffset::try_new(offset).expect("13 bits");
        match self {
            Self::V4(header) => {
                header.fragment_offset = offset;
                header.more_fragments = more;
                header.dont_fragment = false;
            }
            Self::V6(..) => {
                let fragment = Ipv6FragmentHeader::new(self.protocol(), offset, more, IDENTIFICATION.into());
                self.push(IpNumber::IPV6_FRAGMENTATION_HEADER, Extension::Fragment(fragment));
            }
        }
    }

    pub(crate) fn extend(&mut self, number: u8, content: &[u8]) {
        let number = IpNumber(number);
        assert!(is_extension(number), "{number:?} is no extension header that is known here");
        let header = Ipv6RawExtHeader::new_raw(self.protocol(), content).expect("six bytes and a multiple of eight");
        self.push(number, Extension::Raw(Box::new(header)));
    }

    /// One more, behind those that are there. It announces what is carried, and is itself announced instead.
    fn push(&mut self, number: IpNumber, extension: Extension) {
        let Self::V6(header, extensions) = self else { panic!("IPv4 has no extension headers") };
        match extensions.last_mut() {
            Some(last) => *last.next() = number,
            None => header.next_header = number,
        }
        extensions.push(extension);
    }

    /// The header in front of a segment of this length, its checksum computed anew.
    pub(crate) fn bytes(mut self, segment: usize) -> Vec<u8> {
        match &mut self {
            Self::V4(header) => {
                header.set_payload_len(segment).expect("fits a packet");
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            Self::V6(header, extensions) => {
                let extensions: Vec<_> = extensions.iter().flat_map(Extension::bytes).collect();
                header.set_payload_length(extensions.len() + segment).expect("fits a packet");
                [header.to_bytes().as_slice(), &extensions].concat()
            }
        }
    }
}
