//! IPv6: neighbour discovery, and multicast listener discovery.

use super::*;
use etherparse::{EtherType as Ether, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use evenkeel_control::config::HostAddress6;
use evenkeel_packets::scapy;
use proptest::prelude::*;

pub(super) const SERVICE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const OWN: HostAddress6 = HostAddress6 { address: SERVICE, prefix: 64 };
pub(super) const BACKEND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const OTHER_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfd);
/// Of 02:00:00:00:00:10.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x10);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const NETWORK: Network =
    Network { address: None, gateway: None, address6: Some(OWN), gateway6: Some(GATEWAY), vlan: None };

/// Types of messages (RFC 4861, section 4), and flags of an advertisement.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A message as its sender would have it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) mac: [u8; 6],
    to_mac: [u8; 6],
    from: Ipv6Addr,
    to: Ipv6Addr,
    hop_limit: u8,
    kind: u8,
    code: u8,
    /// What is behind the checksum.
    word: [u8; 4],
    body: Vec<u8>,
    spoilt: bool,
}

impl Said {
    pub(super) fn frame(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.mac, self.to_mac);
        let builder = builder.ipv6(self.from.octets(), self.to.octets(), self.hop_limit);
        let mut frame = Vec::new();
        builder.icmpv6_raw(self.kind, self.code, self.word).write(&mut frame, &self.body).unwrap();
        if self.spoilt {
            frame[57] ^= 1;
        }
        frame
    }
}

/// The group of who has this address, and its Ethernet address.
pub(super) fn group(address: Ipv6Addr) -> (Ipv6Addr, [u8; 6]) {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (group, [0x33, 0x33, 0xff, a, b, c])
}

fn option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// "Who has `target`?"
pub(super) fn solicitation(mac: [u8; 6], from: Ipv6Addr, target: Ipv6Addr) -> Said {
    let (to, to_mac) = group(target);
    let body = [&target.octets()[..], &option(1, mac)].concat();
    let (kind, code, word, spoilt) = (SOLICITATION, 0, [0; 4], false);
    Said { mac, to_mac, from, to, hop_limit: 255, kind, code, word, body, spoilt }
}

/// "Does anybody have `target`?"
fn probe(mac: [u8; 6], target: Ipv6Addr) -> Said {
    Said { body: target.octets().to_vec(), ..solicitation(mac, Ipv6Addr::UNSPECIFIED, target) }
}

/// "`target` is here."
pub(super) fn advertisement(mac: [u8; 6], target: Ipv6Addr, flags: u8) -> Said {
    let body = [&target.octets()[..], &option(2, mac)].concat();
    let (to, to_mac) = (LINK_LOCAL, OURS.0);
    Said { to, to_mac, kind: ADVERTISEMENT, word: [flags, 0, 0, 0], body, ..solicitation(mac, target, target) }
}

/// "I am a router", for so many seconds, with more options.
fn router(mac: [u8; 6], from: Ipv6Addr, lifetime: u16, options: &[u8]) -> Said {
    let [high, low] = lifetime.to_be_bytes();
    let body = [&[0; 8][..], &option(1, mac), options].concat();
    let (to, to_mac, word) = (ALL_NODES, [0x33, 0x33, 0, 0, 0, 1], [64, 0, high, low]);
    Said { to, to_mac, kind: ROUTER, word, body, ..solicitation(mac, from, from) }
}

/// A network that is on the link.
fn prefix(network: Ipv6Addr, length: u8, lifetime: u32) -> Vec<u8> {
    let lifetime = lifetime.to_be_bytes();
    [&[3, 4, length, 0xc0][..], &lifetime, &lifetime, &[0; 4], &network.octets()].concat()
}

/// What a frame says: to which Ethernet address, from and to which addresses, hop limit, type, flags, and about whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    mac: [u8; 6],
    from: Ipv6Addr,
    to: Ipv6Addr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    /// The Ethernet address that it names, and in what option.
    option: Option<(u8, [u8; 6])>,
}

/// As etherparse reads it; scapy has said before that lengths and checksums are right.
fn read(frame: &[u8]) -> Option<Sent> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("not IPv6: {frame:02x?}") };
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("not ICMPv6: {frame:02x?}") };
    assert_eq!(frame[6..12], OURS.0, "from us");
    let header = ip.header();
    if !matches!(icmp.type_u8(), ROUTER_SOLICITATION..=ADVERTISEMENT) {
        return None;
    }
    assert_eq!((header.hop_limit(), icmp.code_u8()), (255, 0));
    let bytes = icmp.slice();
    let is_about_routers = icmp.type_u8() == ROUTER_SOLICITATION;
    let (target, options) = if is_about_routers { (&[0; 16][..], &bytes[8..]) } else { bytes[8..].split_at(16) };
    let option = (!options.is_empty()).then(|| {
        assert_eq!((options.len(), options[1]), (8, 1));
        (options[0], options[2..].try_into().unwrap())
    });
    Some(Sent {
        mac: frame[..6].try_into().unwrap(),
        from: header.source_addr(),
        to: header.destination_addr(),
        kind: icmp.type_u8(),
        flags: bytes[4],
        target: <[u8; 16]>::try_from(target).unwrap().into(),
        option,
    })
}

/// What is said of addresses; nothing but that, as if switches needed no telling.
fn sent(outcome: &Outcome) -> Vec<Sent> {
    let headers = scapy::read(&outcome.frames);
    assert!(headers.iter().all(|names| names.starts_with("Ether/IPv6/")), "{headers:?}");
    outcome.frames.iter().filter_map(|frame| read(frame)).collect()
}

/// Questions about neighbours: at which Ethernet address, and for whom.
fn questions(outcome: &Outcome) -> Vec<([u8; 6], Ipv6Addr)> {
    let sent = sent(outcome).into_iter().filter(|sent| sent.kind == SOLICITATION && sent.from == LINK_LOCAL);
    sent.map(|sent| {
        assert_eq!(sent.option, Some((1, OURS.0)));
        assert_eq!(sent.to, if sent.mac == group(sent.target).1 { group(sent.target).0 } else { sent.target });
        (sent.mac, sent.target)
    })
    .collect()
}

fn known(backend: Ipv6Addr, mac: [u8; 6]) -> News {
    News::Backend(backend.into(), Resolution::Known(MacAddress(mac)))
}

fn told(backend: Ipv6Addr, resolution: Resolution) -> News {
    News::Backend(backend.into(), resolution)
}

/// A host at 2001:db8::10 with two backends, one of them behind a router.
pub(super) fn host_in(network: Network) -> Host {
    let mut host = Host::new(OURS, network);
    host.set_addresses([SERVICE.into()], seconds(0));
    host.set_backends([BACKEND.into(), FAR.into()]);
    host
}

fn host() -> Host {
    host_in(NETWORK)
}

/// The same after a while: everybody knows it.
fn settled() -> Host {
    let mut host = host();
    (0..10).for_each(|now| drop(host.tick(seconds(now))));
    host
}

fn hear(host: &mut Host, said: &Said, now: u64) -> Outcome {
    host.receive(&said.frame(), seconds(now))
}

#[test]
fn questions_about_our_addresses_are_answered_by_whichever_way_they_come() {
    let mut host = settled();
    for target in [SERVICE, LINK_LOCAL] {
        let answer = Sent {
            mac: THEIRS,
            from: target,
            to: CLIENT,
            kind: ADVERTISEMENT,
            flags: SOLICITED | OVERRIDE,
            target,
            option: Some((2, OURS.0)),
        };
        let by_group = solicitation(THEIRS, CLIENT, target);
        let by_address = Said { to: target, to_mac: OURS.0, ..by_group.clone() };
        // Who has found us before need not say where it is.
        let without_option = Said { body: target.octets().to_vec(), ..by_address.clone() };
        for question in [by_group, by_address, without_option] {
            let outcome = hear(&mut host, &question, 20);
            assert_eq!((sent(&outcome), outcome.news), (vec![answer], vec![]), "{question:?}");
        }
        // Who would like to have it has no address to be answered at.
        let answer = Sent { mac: [0x33, 0x33, 0, 0, 0, 1], to: ALL_NODES, flags: OVERRIDE, ..answer };
        assert_eq!(sent(&hear(&mut host, &probe(THEIRS, target), 20)), [answer]);
    }
    assert_eq!(hear(&mut host, &solicitation(THEIRS, CLIENT, BACKEND), 20), Outcome::default());
}

#[test]
fn the_answer_goes_where_the_question_says_that_it_comes_from() {
    let question = Said { mac: MOVED, ..solicitation(THEIRS, CLIENT, SERVICE) };
    assert_eq!(sent(&hear(&mut settled(), &question, 20))[0].mac, THEIRS);
}

#[test]
fn what_neighbour_discovery_forbids_is_not_heard() {
    let right = || solicitation(THEIRS, CLIENT, SERVICE);
    let answer = || advertisement(THEIRS, BACKEND, SOLICITED | OVERRIDE);
    let advertised = || router(THEIRS, GATEWAY, 1800, &[]);
    let of_routers = Network { gateway6: None, ..NETWORK };
    let with = |said: Said, options: &[&[u8]]| Said { body: [&said.body[..], &options.concat()].concat(), ..said };
    for network in [NETWORK, of_routers] {
        assert!(hear(&mut host_in(network), &right(), 1).frames.len() == 1);
        assert!(!hear(&mut host_in(network), &answer(), 1).news.is_empty());
    }
    assert!(!hear(&mut host_in(of_routers), &advertised(), 1).news.is_empty());
    let everybody = Said { mac: [0xff; 6], ..right() };
    for wrong in [
        // From another network (RFC 4861, sections 7.1.1, 7.1.2 and 6.1.2).
        Said { hop_limit: 254, ..right() },
        Said { hop_limit: 254, ..answer() },
        Said { hop_limit: 254, ..advertised() },
        Said { spoilt: true, ..right() },
        Said { spoilt: true, ..answer() },
        Said { spoilt: true, ..advertised() },
        Said { code: 1, ..right() },
        Said { code: 1, ..answer() },
        // Cut off.
        Said { body: right().body[..12].to_vec(), ..right() },
        Said { body: right().body[..20].to_vec(), ..right() },
        // An option of no length, and one that is longer than the message.
        with(right(), &[&[9, 0, 0, 0, 0, 0, 0, 0]]),
        with(answer(), &[&[9, 2, 0, 0, 0, 0, 0, 0]]),
        // Not to the group of who is asked for.
        Said { to: ALL_NODES, ..right() },
        Said { to: group(CLIENT).0, ..right() },
        // Without an address, but with an Ethernet address, or to one host.
        Said { from: Ipv6Addr::UNSPECIFIED, ..right() },
        Said { to: SERVICE, ..probe(THEIRS, SERVICE) },
        // An answer to a question, to everybody.
        Said { to: ALL_NODES, ..answer() },
        // A router that is none of the link's.
        Said { from: FAR, ..advertised() },
        // Ethernet addresses that no host has.
        Said { body: [&SERVICE.octets()[..], &option(1, [0x33, 0x33, 0, 0, 0, 1])].concat(), ..right() },
        Said { body: [&BACKEND.octets()[..], &option(2, [0; 6])].concat(), ..answer() },
        everybody,
        // A group's address.
        Said { from: ALL_NODES, ..right() },
        // A redirect.
        Said { kind: 137, ..answer() },
    ] {
        for network in [NETWORK, of_routers] {
            assert_eq!(hear(&mut host_in(network), &wrong, 1), Outcome::default(), "{wrong:?}");
        }
    }
}

#[test]
fn a_fragment_and_what_has_other_headers_in_front_is_not_heard() {
    let right = solicitation(THEIRS, CLIENT, SERVICE).frame();
    for number in [0, 43, 44, 60] {
        let mut frame = right.clone();
        // The header is the first of the message's eight bytes, which moves the message.
        frame.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
        frame[20] = number;
        frame[19] += 8;
        assert_eq!(settled().receive(&frame, seconds(20)), Outcome::default(), "{number}");
    }
}

#[test]
fn an_address_is_asked_for_before_it_is_announced() {
    let mut host = host();
    let said = |host: &mut Host, now| {
        let said = sent(&host.tick(seconds(now))).into_iter();
        said.filter(|sent| sent.kind == ADVERTISEMENT || sent.from != LINK_LOCAL).collect::<Vec<_>>()
    };
    let asked = |target| Sent {
        mac: group(target).1,
        from: Ipv6Addr::UNSPECIFIED,
        to: group(target).0,
        kind: SOLICITATION,
        flags: 0,
        target,
        option: None,
    };
    let announced = |target| Sent {
        mac: [0x33, 0x33, 0, 0, 0, 1],
        from: target,
        to: ALL_NODES,
        kind: ADVERTISEMENT,
        flags: OVERRIDE,
        target,
        option: Some((2, OURS.0)),
    };
    let both = [SERVICE, LINK_LOCAL];
    assert_eq!(said(&mut host, 0), both.map(asked));
    // As long as nobody knows, nobody shall believe it who knows better.
    let answered = hear(&mut host, &solicitation(THEIRS, CLIENT, SERVICE), 0);
    assert_eq!(sent(&answered)[0].flags, SOLICITED);
    assert_eq!(said(&mut host, 1), both.map(announced));
    assert_eq!(said(&mut host, 2), []);
    assert_eq!(said(&mut host, 3), both.map(announced));
    assert_eq!((4..20).flat_map(|now| said(&mut host, now)).count(), 0);
    host.set_addresses([SERVICE.into(), FAR.into()], seconds(20));
    assert_eq!(said(&mut host, 20), [asked(FAR)], "the new one only");
    host.link_came_up(seconds(30));
    assert_eq!(said(&mut host, 30), [SERVICE, FAR, LINK_LOCAL].map(asked));
    host.set_addresses([], seconds(40));
    assert_eq!(said(&mut host, 40), both.map(announced), "the host's own addresses stay");
}

#[test]
fn an_address_that_somebody_else_has_is_told_and_not_announced_until_he_has_gone() {
    let mut host = host();
    let announced = |host: &mut Host, now| {
        let sent = sent(&host.tick(seconds(now))).into_iter();
        sent.filter(|sent| sent.kind == ADVERTISEMENT && sent.target == SERVICE).count()
    };
    let probed = |host: &mut Host, now| {
        let sent = sent(&host.tick(seconds(now))).into_iter();
        sent.filter(|sent| sent.from.is_unspecified() && sent.target == SERVICE).count()
    };
    let to_all = |flags| {
        let (to, to_mac) = (ALL_NODES, [0x33, 0x33, 0, 0, 0, 1]);
        Said { to, to_mac, ..advertisement(THEIRS, SERVICE, flags) }
    };
    assert_eq!(probed(&mut host, 0), 1);
    let outcome = hear(&mut host, &to_all(OVERRIDE), 0);
    assert_eq!((outcome.news, outcome.frames.len()), (vec![News::Conflict(SERVICE.into(), MacAddress(THEIRS))], 0));
    assert_eq!((0..10).map(|now| announced(&mut host, now)).sum::<usize>(), 0);
    // Clients that know nobody are answered, those that know him are not to be moved.
    let answered = hear(&mut host, &solicitation(MOVED, CLIENT, SERVICE), 5);
    assert_eq!(sent(&answered)[0].flags, SOLICITED);
    assert_eq!(probed(&mut host, 10), 1, "is he still there?");
    assert_eq!(hear(&mut host, &to_all(OVERRIDE), 10).news, [], "told once a minute");
    assert_eq!(probed(&mut host, 20), 1);
    assert_eq!(announced(&mut host, 21), 1, "he has gone");
    let answered = hear(&mut host, &solicitation(MOVED, CLIENT, SERVICE), 22);
    assert_eq!(sent(&answered)[0].flags, SOLICITED | OVERRIDE);
    // Once it is ours it stays so, and who comes later is told of.
    let conflict = [News::Conflict(SERVICE.into(), MacAddress(MOVED))];
    assert_eq!(hear(&mut host, &advertisement(MOVED, SERVICE, OVERRIDE), 100).news, conflict);
    assert_eq!(sent(&hear(&mut host, &solicitation(THEIRS, CLIENT, SERVICE), 101))[0].flags, SOLICITED | OVERRIDE);
}

#[test]
fn two_that_want_an_address_at_once_are_told() {
    let mut host = host();
    host.tick(seconds(0));
    let outcome = hear(&mut host, &probe(THEIRS, SERVICE), 0);
    assert_eq!(outcome.news, [News::Conflict(SERVICE.into(), MacAddress(THEIRS))]);
    // Our own probe may come back from a switch.
    assert_eq!(hear(&mut host, &probe(OURS.0, LINK_LOCAL), 0), Outcome::default());
    // Later he is answered, and it is his affair.
    let outcome = hear(&mut settled(), &probe(THEIRS, SERVICE), 20);
    assert_eq!((outcome.news.len(), outcome.frames.len()), (0, 1));
}

#[test]
fn a_backend_is_asked_for_each_second_until_it_answers_then_now_and_then() {
    let mut host = host();
    let mut asked = Vec::new();
    for tenth in 0..30 {
        asked.extend(questions(&host.tick(Duration::from_millis(100 * tenth))));
    }
    let in_group = |address| (group(address).1, address);
    assert_eq!(asked, [in_group(BACKEND), in_group(GATEWAY)].repeat(3));
    let answered = SOLICITED | OVERRIDE;
    assert_eq!(hear(&mut host, &advertisement(THEIRS, BACKEND, answered), 3).news, [known(BACKEND, THEIRS)]);
    assert_eq!(hear(&mut host, &advertisement(THEIRS, BACKEND, answered), 3), Outcome::default(), "that is known");
    assert_eq!(hear(&mut host, &advertisement(MOVED, GATEWAY, answered), 3).news, [known(FAR, MOVED)]);
    assert_eq!(questions(&host.tick(seconds(12))), []);
    assert_eq!(questions(&host.tick(seconds(13))), [(THEIRS, BACKEND), (MOVED, GATEWAY)], "they alone are asked");
    // An answer need not say again where it comes from (RFC 4861, section 4.4).
    let short = Said { body: BACKEND.octets().to_vec(), ..advertisement(THEIRS, BACKEND, SOLICITED) };
    assert_eq!(hear(&mut host, &short, 13), Outcome::default());
    assert_eq!(questions(&host.tick(seconds(14))), [in_group(GATEWAY)], "then everybody");
    assert_eq!(host.tick(seconds(15)).news, [told(FAR, Resolution::Lost)]);
}

#[test]
fn silence_is_said_once_and_the_answer_after_it_too() {
    let mut host = host();
    let said = |host: &mut Host, seconds_: std::ops::Range<u64>| {
        seconds_.flat_map(|now| host.tick(seconds(now)).news).collect::<Vec<_>>()
    };
    let both = |resolution| [told(BACKEND, resolution), told(FAR, resolution)];
    assert_eq!(said(&mut host, 0..20), both(Resolution::Silent));
    // Without an Ethernet address there is nothing to be learned.
    let short = Said { body: BACKEND.octets().to_vec(), ..advertisement(THEIRS, BACKEND, SOLICITED) };
    assert_eq!(hear(&mut host, &short, 20), Outcome::default());
    let answer = advertisement(THEIRS, BACKEND, SOLICITED);
    assert_eq!(hear(&mut host, &answer, 20).news, [known(BACKEND, THEIRS)]);
    assert_eq!(said(&mut host, 20..60), [told(BACKEND, Resolution::Lost)]);
    // What it asks says where it is, but not that it hears us.
    assert_eq!(hear(&mut host, &solicitation(THEIRS, BACKEND, SERVICE), 60).news, []);
    assert_eq!(hear(&mut host, &answer, 60).news, [known(BACKEND, THEIRS)], "back where it was");
}

#[test]
fn word_that_nobody_has_asked_for_is_believed_and_asked_about() {
    // A backend that asks for us says where it is.
    let mut host = settled();
    let outcome = hear(&mut host, &solicitation(THEIRS, BACKEND, SERVICE), 20);
    assert_eq!((outcome.news, outcome.frames.len()), (vec![known(BACKEND, THEIRS)], 1));
    assert_eq!(questions(&host.tick(seconds(20)))[0], (THEIRS, BACKEND), "does it hear us?");
    hear(&mut host, &advertisement(THEIRS, BACKEND, SOLICITED), 20);
    // It has moved, and says so.
    let moved = Said { to: ALL_NODES, ..advertisement(MOVED, BACKEND, OVERRIDE) };
    assert_eq!(hear(&mut host, &moved, 22).news, [known(BACKEND, MOVED)]);
    assert_eq!(questions(&host.tick(seconds(23)))[0], (MOVED, BACKEND));
    hear(&mut host, &advertisement(MOVED, BACKEND, SOLICITED | OVERRIDE), 23);
    // Another one says that he has it, and is not sure (RFC 4861, section 7.2.5): who is it?
    let proxy = Said { to: ALL_NODES, ..advertisement(THEIRS, BACKEND, 0) };
    assert_eq!(hear(&mut host, &proxy, 25).news, []);
    assert_eq!(questions(&host.tick(seconds(25)))[0], (MOVED, BACKEND));
    let asked = (0..8).map(|quarter| {
        hear(&mut host, &proxy, 26);
        questions(&host.tick(Duration::from_millis(26_000 + 250 * quarter))).len()
    });
    assert!(asked.sum::<usize>() <= 4, "however often he says it, the backend is asked once a second, and the gateway");
}

#[test]
fn who_answers_for_a_backend_beside_it_moves_it_once_a_second_at_most() {
    let mut host = host();
    let claim = |host: &mut Host, mac, millis| {
        let said = advertisement(mac, BACKEND, SOLICITED | OVERRIDE);
        host.receive(&said.frame(), Duration::from_millis(millis)).news
    };
    assert_eq!(claim(&mut host, THEIRS, 0), [known(BACKEND, THEIRS)]);
    assert_eq!(claim(&mut host, MOVED, 999), []);
    assert_eq!(claim(&mut host, MOVED, 1000), [known(BACKEND, MOVED)]);
    let mut flapping =
        (0..100).flat_map(|turn| claim(&mut host, if turn % 2 == 0 { THEIRS } else { MOVED }, 1001 + 9 * turn));
    assert_eq!(flapping.next(), None, "a hundred changes of mind in a second");
}

#[test]
fn without_ipv6_nothing_is_said_in_it() {
    let mut host = Host::new(OURS, Network::default());
    host.set_addresses([Ipv4Addr::new(10, 0, 0, 10).into()], seconds(0));
    let frames: Vec<_> = (0..20).flat_map(|now| host.tick(seconds(now)).frames).collect();
    assert!(frames.iter().all(|frame| frame[12..14] == Ether::ARP.0.to_be_bytes()));
    assert_eq!(host.groups(), []);
    assert!(!host.heard().routers && !host.heard().groups);
    for said in [solicitation(THEIRS, CLIENT, LINK_LOCAL), router(THEIRS, GATEWAY, 1800, &[])] {
        assert_eq!(hear(&mut host, &said, 20), Outcome::default());
    }
}

#[test]
fn routers_are_asked_for_and_used_if_none_was_named() {
    let mut host = Host::new(OURS, Network { gateway6: None, ..NETWORK });
    host.set_addresses([SERVICE.into()], seconds(0));
    assert_eq!(host.set_backends([BACKEND.into(), FAR.into()]), [], "a router may say yet that it is there");
    let asked = |host: &mut Host, now| {
        let sent = sent(&host.tick(seconds(now))).into_iter().filter(|sent| sent.kind == ROUTER_SOLICITATION);
        sent.map(|sent| (sent.mac, sent.from, sent.to, sent.option)).collect::<Vec<_>>()
    };
    let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let question = ([0x33, 0x33, 0, 0, 0, 2], LINK_LOCAL, all_routers, Some((1, OURS.0)));
    assert_eq!(asked(&mut host, 0), [question]);
    assert_eq!(asked(&mut host, 3), []);
    assert_eq!(asked(&mut host, 4), [question]);
    let outcome = hear(&mut host, &router(THEIRS, GATEWAY, 1800, &[]), 5);
    assert_eq!((outcome.news, outcome.listens_anew), (vec![known(FAR, THEIRS)], true));
    assert!(host.heard().neighbours.contains(&GATEWAY.into()));
    assert_eq!((8..60).map(|now| asked(&mut host, now).len()).sum::<usize>(), 0, "it has answered");
    // It says what it has said.
    assert_eq!(hear(&mut host, &router(THEIRS, GATEWAY, 1800, &[]), 60), Outcome::default());
    // And that it is none any more.
    let outcome = hear(&mut host, &router(THEIRS, GATEWAY, 0, &[]), 70);
    assert_eq!((outcome.news, outcome.listens_anew), (vec![told(FAR, Resolution::NoRoute)], true));
}

#[test]
fn that_no_router_answers_is_said_when_it_is_sure() {
    let mut host = Host::new(OURS, Network { gateway6: None, ..NETWORK });
    host.set_addresses([SERVICE.into()], seconds(0));
    assert_eq!(host.set_backends([FAR.into()]), []);
    let said: Vec<_> =
        (0..30).flat_map(|now| host.tick(seconds(now)).news.into_iter().map(move |news| (now, news))).collect();
    assert_eq!(said, [(12, told(FAR, Resolution::NoRoute))]);
    assert_eq!(hear(&mut host, &router(THEIRS, GATEWAY, 1800, &[]), 40).news, [known(FAR, THEIRS)]);
}

#[test]
fn a_router_that_was_named_is_the_only_one() {
    let mut host = host();
    let rogue = router(MOVED, OTHER_ROUTER, 1800, &prefix(FAR, 64, u32::MAX));
    assert!(!host.heard().routers);
    assert_eq!(hear(&mut host, &rogue, 1), Outcome::default());
    assert_eq!(host.heard().neighbours, [BACKEND.into(), GATEWAY.into()].into());
}

#[test]
fn of_several_routers_the_preferred_one_that_answers_is_used() {
    let mut host = host_in(Network { gateway6: None, ..NETWORK });
    let preferring = |said: Said, flags| Said { word: [64, flags, said.word[2], said.word[3]], ..said };
    let (first, other) = (router(THEIRS, GATEWAY, 1800, &[]), router(MOVED, OTHER_ROUTER, 1800, &[]));
    assert_eq!(hear(&mut host, &first, 1).news, [known(FAR, THEIRS)]);
    assert_eq!(hear(&mut host, &other, 1).news, [], "the first is as good");
    assert_eq!(hear(&mut host, &preferring(other.clone(), 0x08), 2).news, [known(FAR, MOVED)]);
    // Reserved: as if it did not say (RFC 4191, section 2.2).
    assert!(hear(&mut host, &preferring(other.clone(), 0x10), 3).listens_anew);
    assert!(hear(&mut host, &preferring(other, 0x08), 4).listens_anew);
    // It does not answer: there is another.
    let mut news: Vec<_> = (4..9).flat_map(|now| host.tick(seconds(now)).news).collect();
    news.retain(|news| matches!(news, News::Backend(address, _) if *address == IpAddr::from(FAR)));
    assert_eq!(news.first(), Some(&told(FAR, Resolution::Lost)));
    assert!(host.heard().neighbours.contains(&GATEWAY.into()));
    let back = hear(&mut host, &advertisement(THEIRS, GATEWAY, SOLICITED), 9);
    assert_eq!(back.news, [known(FAR, THEIRS)]);
    // Until the other one has something to say again.
    let back = hear(&mut host, &advertisement(MOVED, OTHER_ROUTER, SOLICITED), 20);
    assert!(back.listens_anew && host.heard().neighbours.contains(&OTHER_ROUTER.into()));
}

#[test]
fn networks_that_routers_tell_of_are_near_for_as_long_as_they_say() {
    let mut host = host_in(Network { gateway6: None, ..NETWORK });
    let hops = |host: &Host| host.heard().neighbours;
    let with = |options: &[u8]| router(THEIRS, GATEWAY, 1800, options);
    hear(&mut host, &with(&prefix(FAR, 64, 100)), 1);
    assert_eq!(hops(&host), [BACKEND.into(), FAR.into()].into());
    assert!(!host.tick(seconds(100)).listens_anew);
    assert!(host.tick(seconds(101)).listens_anew);
    assert_eq!(hops(&host), [BACKEND.into(), GATEWAY.into()].into());
    // Renewed for ever, then taken back.
    hear(&mut host, &with(&prefix(FAR, 48, u32::MAX)), 200);
    assert_eq!(hops(&host), [BACKEND.into(), FAR.into()].into());
    hear(&mut host, &with(&prefix(FAR, 48, 0)), 300);
    assert_eq!(hops(&host), [BACKEND.into(), GATEWAY.into()].into());
    // Nonsense: the network of all links, one that is longer than an address, and one that is not said to be on the link.
    let mut not_on_link = prefix(FAR, 64, 100);
    not_on_link[3] = 0x40;
    for nonsense in [prefix(GATEWAY, 10, 100), prefix(FAR, 129, 100), not_on_link] {
        assert_eq!(hear(&mut host, &with(&nonsense), 300), Outcome::default(), "{nonsense:?}");
    }
    // And the router itself is not for ever.
    let news: Vec<_> = (300..3000).flat_map(|now| host.tick(seconds(now)).news).collect();
    assert_eq!(news.last(), Some(&told(FAR, Resolution::NoRoute)));
}

#[test]
fn made_up_routers_and_networks_fill_no_memory() {
    let mut host = host_in(Network { gateway6: None, ..NETWORK });
    hear(&mut host, &router(THEIRS, GATEWAY, 1800, &[]), 0);
    for number in 0..2000 {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number);
        let network = prefix(Ipv6Addr::new(0x2001, 0xdb8, 2, number, 0, 0, 0, 0), 64, 1000);
        hear(&mut host, &router(MOVED, address, 1800, &network), 1);
    }
    let said = format!("{:?}", host.routers);
    assert!(said.matches("Known {").count() <= 8 && said.matches("Prefix {").count() <= 16, "{said}");
    assert_eq!(host.heard().neighbours, [BACKEND.into(), GATEWAY.into()].into(), "the first is still used");
}

#[test]
fn without_an_address_of_our_own_everybody_is_near_unless_routers_say_otherwise() {
    let mut host = host_in(Network::default());
    assert_eq!(host.heard().neighbours, [BACKEND.into(), FAR.into()].into());
    hear(&mut host, &router(THEIRS, GATEWAY, 1800, &prefix(BACKEND, 64, 1000)), 1);
    assert_eq!(host.heard().neighbours, [BACKEND.into(), GATEWAY.into()].into());
}

/// Groups that a frame tells of, in which version of multicast listener discovery, and whether as new.
fn reported(frame: &[u8]) -> Option<(u8, Vec<(u8, Ipv6Addr)>)> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("not IPv6: {frame:02x?}") };
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("not ICMPv6: {frame:02x?}") };
    let bytes = icmp.slice();
    let address = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap());
    let (version, to, groups) = match icmp.type_u8() {
        131 => (1, address(&bytes[8..24]), vec![(0, address(&bytes[8..24]))]),
        143 => {
            let records = bytes[8..].chunks_exact(20);
            assert_eq!(usize::from(u16::from_be_bytes([bytes[6], bytes[7]])), records.len());
            let groups = records.map(|record| (record[0], address(&record[4..]))).collect();
            (2, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16), groups)
        }
        _ => return None,
    };
    let header = ip.header();
    assert_eq!((header.source_addr(), header.destination_addr()), (LINK_LOCAL, to));
    assert_eq!((header.hop_limit(), &frame[54..62]), (1, &[58, 0, 5, 2, 0, 0, 1, 0][..]), "a router alert");
    assert_eq!(frame[..2], [0x33, 0x33]);
    assert_eq!(frame[2..6], to.octets()[12..]);
    Some((version, groups))
}

/// A query for a group, or for all.
fn query(version: u8, group: Ipv6Addr) -> Vec<u8> {
    query_behind(&[58, 0, 5, 2, 0, 0, 1, 0], version, group)
}

/// The same with these hop-by-hop options.
fn query_behind(options: &[u8], version: u8, group: Ipv6Addr) -> Vec<u8> {
    let rest: &[u8] = if version == 1 { &[] } else { &[2, 125, 0, 0] };
    let to = if group.is_unspecified() { ALL_NODES } else { group };
    let body = [&group.octets()[..], rest].concat();
    let to_mac = <[u8; 6]>::try_from([&[0x33, 0x33][..], &to.octets()[12..]].concat()).unwrap();
    let said = Said { to, to_mac, hop_limit: 1, kind: 130, word: [0x27, 0x10, 0, 0], body, ..probe(THEIRS, to) };
    let mut frame = Said { from: GATEWAY, ..said }.frame();
    frame.splice(54..54, options.iter().copied());
    frame[20] = 0;
    frame[19] += options.len() as u8;
    frame
}

#[test]
fn a_query_is_one_wherever_its_router_alert_stands() {
    let is_heard = |options: &[u8]| {
        let mut host = host();
        (0..3).for_each(|now| drop(host.tick(seconds(now))));
        host.receive(&query_behind(options, 2, Ipv6Addr::UNSPECIFIED), seconds(10));
        host.tick(seconds(10)).frames.iter().any(|frame| reported(frame).is_some())
    };
    // As Linux' bridges have it, as BSD's, and in a longer header.
    for options in [
        &[58, 0, 5, 2, 0, 0, 0, 0][..],
        &[58, 0, 1, 0, 5, 2, 0, 0],
        &[58, 0, 5, 2, 0, 0, 1, 0],
        &[58, 1, 1, 4, 0, 0, 0, 0, 5, 2, 0, 0, 1, 2, 0, 0],
    ] {
        assert!(is_heard(options), "{options:?}");
    }
    // No alert, one for something else, an option that ends behind the header, a header that ends behind the packet, another protocol.
    for options in [
        &[58, 0, 1, 4, 0, 0, 0, 0][..],
        &[58, 0, 5, 2, 0, 1, 1, 0],
        &[58, 0, 5, 2, 0, 0, 1, 9],
        &[58, 200, 5, 2, 0, 0, 1, 0],
        &[17, 0, 5, 2, 0, 0, 1, 0],
    ] {
        assert!(!is_heard(options), "{options:?}");
    }
}

#[test]
fn switches_are_told_of_our_groups_and_again_when_they_ask() {
    let mut host = host();
    let said = |host: &mut Host, now| {
        let frames = host.tick(seconds(now)).frames;
        scapy::read(&frames);
        frames.iter().filter_map(|frame| reported(frame)).collect::<Vec<_>>()
    };
    // Both addresses end alike, so it is one.
    let ours = group(SERVICE).0;
    assert_eq!(group(LINK_LOCAL).0, ours);
    let new = (2, vec![(4, ours)]);
    assert_eq!(said(&mut host, 0), std::slice::from_ref(&new));
    assert_eq!(said(&mut host, 1), [new]);
    assert_eq!(said(&mut host, 2), []);
    let all = Ipv6Addr::UNSPECIFIED;
    assert_eq!(host.receive(&query(2, all), seconds(10)), Outcome::default());
    assert_eq!(said(&mut host, 10), [(2, vec![(2, ours)])]);
    assert_eq!(said(&mut host, 11), []);
    host.receive(&query(2, ours), seconds(20));
    assert_eq!(said(&mut host, 20), [(2, vec![(2, ours)])]);
    host.receive(&query(2, group(BACKEND).0), seconds(30));
    assert_eq!(said(&mut host, 30), []);
    // An old router.
    host.receive(&query(1, all), seconds(40));
    assert_eq!(said(&mut host, 40), [(1, vec![(0, ours)])]);
    // Another address, in another group.
    host.set_addresses([SERVICE.into(), FAR.into()], seconds(50));
    host.receive(&query(2, all), seconds(50));
    assert_eq!(said(&mut host, 50), [(2, vec![(4, group(FAR).0)]), (2, vec![(2, ours)])]);
    said(&mut host, 51);
    let groups = host.groups().into_iter().map(|mac| mac.0).collect::<BTreeSet<_>>();
    assert_eq!(groups, [group(FAR).1, group(SERVICE).1, [0x33, 0x33, 0, 0, 0, 1]].into());
    // A query without what has routers look at it may come from anywhere.
    let mut plain = query(2, all);
    plain.splice(54..62, []);
    (plain[20], plain[19]) = (58, plain[19] - 8);
    host.receive(&plain, seconds(60));
    assert_eq!(said(&mut host, 60), []);
}

#[test]
fn many_addresses_are_told_of_bit_by_bit() {
    let mut host = Host::new(OURS, NETWORK);
    let many: Vec<IpAddr> = (0..1000).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x20, n).into()).collect();
    host.set_addresses(many.iter().copied(), seconds(0));
    host.set_backends(many.iter().map(|address| match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | 1 << 32).into(),
        other => *other,
    }));
    let (mut announced, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for quarter in 0..200 {
        let frames = host.tick(Duration::from_millis(250 * quarter)).frames;
        assert!(frames.len() <= 256, "no more than there is room for on the way to the port: {}", frames.len());
        for sent in frames.iter().filter_map(|frame| read(frame)) {
            match (sent.kind, sent.from) {
                (ADVERTISEMENT, _) => announced.insert(sent.target),
                (_, LINK_LOCAL) => asked.insert(sent.target),
                _ => true,
            };
        }
    }
    assert_eq!((announced.len(), asked.len()), (1002, 1000), "and nobody is forgotten");
}

proptest! {
    #[test]
    fn any_bytes_may_arrive(mut frame in prop::collection::vec(any::<u8>(), 0..160), kind in 128_u8..145, shaped: bool, alert: bool) {
        if shaped && frame.len() > 62 {
            frame[6] = 2;
            frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            let length = (frame.len() - 54) as u16;
            frame[18..20].copy_from_slice(&length.to_be_bytes());
            frame[20] = if alert { 0 } else { 58 };
            frame[21] = if alert { 1 } else { 255 };
            let at = if alert { 62 } else { 54 };
            if alert {
                frame[54..62].copy_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
            }
            if frame.len() >= at + 4 {
                frame[at..at + 4].copy_from_slice(&[kind, 0, 0, 0]);
                let source = evenkeel_wire::Ipv6Address(frame[22..38].try_into().unwrap());
                let destination = evenkeel_wire::Ipv6Address(frame[38..54].try_into().unwrap());
                let checksum = evenkeel_wire::checksum::icmpv6(source, destination, &frame[at..]);
                frame[at + 2..at + 4].copy_from_slice(&checksum.to_ne_bytes());
            }
        }
        let mut host = host_in(Network { gateway6: None, ..NETWORK });
        let outcome = host.receive(&frame, seconds(1));
        prop_assert!(outcome.frames.len() <= 1);
        host.tick(seconds(2));
    }

    #[test]
    fn nothing_but_a_question_about_us_is_answered(target: [u8; 16], from: [u8; 16], ours: bool) {
        let target = if ours { SERVICE } else { target.into() };
        let outcome = hear(&mut settled(), &solicitation(THEIRS, from.into(), target), 20);
        let is_answered = !outcome.frames.is_empty();
        prop_assert!(!is_answered || [SERVICE, LINK_LOCAL].contains(&target));
    }
}
