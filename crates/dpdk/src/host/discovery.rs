//! Neighbour discovery, ARP's counterpart for IPv6 (RFC 4861), and what switches have to hear of it, multicast listener discovery
//! (RFC 3810).

use super::frame::{self, Parts, Tags};
use super::message::{Question, Router, Said, Word};
use evenkeel_wire::{
    DISCOVERY_HOP_LIMIT, DiscoveryOption, DiscoveryOptions, EtherType, GroupRecord, IcmpType, IpProtocol, Ipv6,
    Ipv6Address, LISTENER_HOP_LIMIT, LinkAddressOption, ListenerMessage, ListenerReport, MacAddress, NeighbourMessage,
    RouterAdvertisement, RouterAlert, RouterSolicitation, checksum,
};
use std::net::Ipv6Addr;
use zerocopy::{FromBytes, IntoBytes};

/// Byte offset of an ICMPv6 message's checksum.
const CHECKSUM: usize = 2;

/// What an IPv6 packet says, if it is sound. Whoever is `strict` looks at the checksum as well.
///
/// Fragments are not put together (RFC 6980), and other extension headers are nobody's who speaks to a neighbour.
pub(super) fn read<'f>(parts: &Parts<'f>, is_strict: bool) -> Option<Said<'f>> {
    let (header, rest) = Ipv6::ref_from_prefix(parts.payload).ok()?;
    if header.version() != 6 || header.source().is_multicast() {
        return None;
    }
    let payload = rest.get(..header.payload_length.get().into())?;
    let (message, is_alert) = match header.next_header {
        IpProtocol::ICMPV6 => (payload, false),
        IpProtocol::HOP_BY_HOP => (message_behind_alert(payload)?, true),
        _ => return None,
    };
    let &[kind, code, ..] = message else { return None };
    let (kind, hop_limit) = (IcmpType(kind), header.hop_limit);
    let is_sound = || !is_strict || checksum::icmpv6(header.source(), header.destination(), message) == 0;
    if code != 0 {
        return None;
    }
    match kind {
        IcmpType::V6_LISTENER_QUERY if is_alert && hop_limit == LISTENER_HOP_LIMIT => {
            read_query(header, message).filter(|_| is_sound())
        }
        _ if is_alert || hop_limit != DISCOVERY_HOP_LIMIT => None,
        IcmpType::V6_NEIGHBOUR_SOLICITATION => read_solicitation(parts, header, message).filter(|_| is_sound()),
        IcmpType::V6_NEIGHBOUR_ADVERTISEMENT => read_advertisement(header, message).filter(|_| is_sound()),
        IcmpType::V6_ROUTER_ADVERTISEMENT => read_router(header, message).filter(|_| is_sound()),
        // Solicitations of routers are for routers. A redirect would have packets to a backend go to whoever sends it.
        _ => None,
    }
}

/// The ICMPv6 message behind hop-by-hop options, if there is a router alert for multicast listener discovery among them (RFC 2711,
/// section 2.1). Systems put it in different places.
fn message_behind_alert(payload: &[u8]) -> Option<&[u8]> {
    let &[next_header, extra, ..] = payload else { return None };
    let (header, message) = payload.split_at_checked((usize::from(extra) + 1) * 8)?;
    let mut options = header.get(2..)?;
    let mut is_alert = false;
    while let &[kind, ref rest @ ..] = options {
        // Pad1 is a byte alone (RFC 8200, section 4.2).
        options = match (kind, rest) {
            (0, rest) => rest,
            (_, &[length, ref rest @ ..]) => {
                let (value, rest) = rest.split_at_checked(length.into())?;
                is_alert |= kind == 5 && value == [0, 0];
                rest
            }
            _ => return None,
        };
    }
    (next_header == IpProtocol::ICMPV6.0 && is_alert).then_some(message)
}

/// The Ethernet address in an option of this kind. One that no host has spoils the message.
fn link_address(options: DiscoveryOptions<'_>, kind: DiscoveryOption) -> Result<Option<MacAddress>, NoHost> {
    match options.find::<LinkAddressOption>(kind) {
        Some(option) if !frame::is_host(option.address) => Err(NoHost),
        option => Ok(option.map(|option| option.address)),
    }
}

/// An Ethernet address that no host has.
struct NoHost;

/// A solicitation, as RFC 4861, section 7.1.1, would have it.
fn read_solicitation<'f>(parts: &Parts<'f>, header: &Ipv6, message: &[u8]) -> Option<Said<'f>> {
    let (solicitation, options) = NeighbourMessage::ref_from_prefix(message).ok()?;
    let options = DiscoveryOptions::read(options)?;
    let target = solicitation.target;
    let in_group = header.destination() == target.solicited_node();
    if target.is_multicast() || !(in_group || header.destination() == target) {
        return None;
    }
    let mac = link_address(options, DiscoveryOption::SOURCE_ADDRESS).ok()?;
    if header.source() == Ipv6Address::UNSPECIFIED {
        let question = Question { target: v6(target), asker: None, mac: parts.source };
        let is_right = in_group && mac.is_none();
        return is_right.then_some(Said::Neighbour { word: None, question: Some(question) });
    }
    let word = Word { address: v6(header.source()), mac, is_answer: false, overrides: true };
    // Who does not say where it is has been found by us before, or so it believes.
    let mac = mac.unwrap_or(parts.source);
    let question = Question { target: v6(target), asker: Some(v6(header.source())), mac };
    Some(Said::Neighbour { word: Some(word), question: Some(question) })
}

/// An advertisement, as RFC 4861, section 7.1.2, would have it.
fn read_advertisement<'f>(header: &Ipv6, message: &[u8]) -> Option<Said<'f>> {
    let (advertisement, options) = NeighbourMessage::ref_from_prefix(message).ok()?;
    let options = DiscoveryOptions::read(options)?;
    let is_answer = advertisement.flags & NeighbourMessage::SOLICITED != 0;
    if advertisement.target.is_multicast() || (is_answer && header.destination().is_multicast()) {
        return None;
    }
    let word = Word {
        address: v6(advertisement.target),
        mac: link_address(options, DiscoveryOption::TARGET_ADDRESS).ok()?,
        is_answer,
        overrides: advertisement.flags & NeighbourMessage::OVERRIDE != 0,
    };
    Some(Said::Neighbour { word: Some(word), question: None })
}

/// A router's word, as RFC 4861, section 6.1.2, would have it.
fn read_router<'f>(header: &Ipv6, message: &'f [u8]) -> Option<Said<'f>> {
    let (word, options) = RouterAdvertisement::ref_from_prefix(message).ok()?;
    let options = DiscoveryOptions::read(options)?;
    let mac = link_address(options, DiscoveryOption::SOURCE_ADDRESS).ok()?;
    let router = Router { address: header.source().into(), mac, word, options };
    header.source().is_link_local().then_some(Said::Router(router))
}

/// A query, as RFC 3810, sections 5.1.14 and 8.1, would have it.
fn read_query<'f>(header: &Ipv6, message: &[u8]) -> Option<Said<'f>> {
    let (query, rest) = ListenerMessage::ref_from_prefix(message).ok()?;
    let version = if rest.is_empty() { 1 } else { 2 };
    let group = (query.group != Ipv6Address::UNSPECIFIED).then(|| query.group.into());
    header.source().is_link_local().then_some(Said::Groups { version, group })
}

fn v6(address: Ipv6Address) -> std::net::IpAddr {
    Ipv6Addr::from(address).into()
}

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'t> {
    pub(super) mac: MacAddress,
    pub(super) tags: &'t Tags,
}

impl Speaker<'_> {
    /// "Who has `target`?" The host at `mac` alone is asked, or whoever has it.
    pub(super) fn question(self, target: Ipv6Addr, mac: Option<MacAddress>) -> Vec<u8> {
        let target = Ipv6Address::from(target);
        let destination = if mac.is_some() { target } else { target.solicited_node() };
        let head = NeighbourMessage::new(IcmpType::V6_NEIGHBOUR_SOLICITATION, 0, target);
        let option = LinkAddressOption::new(DiscoveryOption::SOURCE_ADDRESS, self.mac);
        let body = [head.as_bytes(), option.as_bytes()];
        self.message(mac, DISCOVERY_HOP_LIMIT, Ipv6Address::link_local(self.mac), destination, &body)
    }

    /// "Does anybody have `target`?" For who would like to have it (RFC 4862, section 5.4.2).
    pub(super) fn probe(self, target: Ipv6Addr) -> Vec<u8> {
        let target = Ipv6Address::from(target);
        let head = NeighbourMessage::new(IcmpType::V6_NEIGHBOUR_SOLICITATION, 0, target);
        let body = [head.as_bytes()];
        self.message(None, DISCOVERY_HOP_LIMIT, Ipv6Address::UNSPECIFIED, target.solicited_node(), &body)
    }

    /// "`target` is here", to who has asked, or to everybody. Whoever knows better is not to believe it unless it `overrides`.
    pub(super) fn answer(self, target: Ipv6Addr, asker: Option<(Ipv6Addr, MacAddress)>, overrides: bool) -> Vec<u8> {
        let target = Ipv6Address::from(target);
        let solicited = if asker.is_some() { NeighbourMessage::SOLICITED } else { 0 };
        let flags = solicited | if overrides { NeighbourMessage::OVERRIDE } else { 0 };
        let head = NeighbourMessage::new(IcmpType::V6_NEIGHBOUR_ADVERTISEMENT, flags, target);
        let option = LinkAddressOption::new(DiscoveryOption::TARGET_ADDRESS, self.mac);
        let destination = asker.map_or(Ipv6Address::ALL_NODES, |(address, _)| address.into());
        let body = [head.as_bytes(), option.as_bytes()];
        self.message(asker.map(|(_, mac)| mac), DISCOVERY_HOP_LIMIT, target, destination, &body)
    }

    /// "Which routers are there?"
    pub(super) fn router_question(self) -> Vec<u8> {
        let option = LinkAddressOption::new(DiscoveryOption::SOURCE_ADDRESS, self.mac);
        let (head, source) = (RouterSolicitation::new(), Ipv6Address::link_local(self.mac));
        let body = [head.as_bytes(), option.as_bytes()];
        self.message(None, DISCOVERY_HOP_LIMIT, source, Ipv6Address::ALL_ROUTERS, &body)
    }

    /// "I am in these groups."
    pub(super) fn groups(self, groups: &[Ipv6Addr], joins: bool) -> Vec<u8> {
        let records: Vec<_> = groups.iter().map(|&group| GroupRecord::new(group.into(), joins)).collect();
        let head = ListenerReport::new(records.len() as u16);
        self.report(Ipv6Address::LISTENER_ROUTERS, &[head.as_bytes(), records.as_bytes()])
    }

    /// The same in version 1, which has a packet for each.
    pub(super) fn group(self, group: Ipv6Addr) -> Vec<u8> {
        let group = group.into();
        self.report(group, &[ListenerMessage::report(group).as_bytes()])
    }

    fn report(self, destination: Ipv6Address, body: &[&[u8]]) -> Vec<u8> {
        let source = Ipv6Address::link_local(self.mac);
        let message = sealed(source, destination, body);
        let payload = [RouterAlert::new().as_bytes(), &message].concat();
        self.packet(None, IpProtocol::HOP_BY_HOP, LISTENER_HOP_LIMIT, source, destination, &payload)
    }

    fn message(
        self,
        to: Option<MacAddress>,
        hop_limit: u8,
        source: Ipv6Address,
        destination: Ipv6Address,
        body: &[&[u8]],
    ) -> Vec<u8> {
        let message = sealed(source, destination, body);
        self.packet(to, IpProtocol::ICMPV6, hop_limit, source, destination, &message)
    }

    /// A packet to the host at `to`, or to the group that it is for.
    fn packet(
        self,
        to: Option<MacAddress>,
        next_header: IpProtocol,
        hop_limit: u8,
        source: Ipv6Address,
        destination: Ipv6Address,
        payload: &[u8],
    ) -> Vec<u8> {
        let header = Ipv6::new(next_header, 0, hop_limit, payload.len() as u16, source, destination);
        let to = to.unwrap_or(MacAddress::of_group(destination));
        frame::write(to, self.mac, self.tags, EtherType::IPV6, &[header.as_bytes(), payload])
    }
}

/// An ICMPv6 message with its checksum.
fn sealed(source: Ipv6Address, destination: Ipv6Address, body: &[&[u8]]) -> Vec<u8> {
    let mut message = body.concat();
    let checksum = checksum::icmpv6(source, destination, &message);
    message[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_ne_bytes());
    message
}
