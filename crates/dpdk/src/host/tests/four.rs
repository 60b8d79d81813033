//! IPv4: ARP.

use super::*;
use etherparse::{ArpHardwareId, ArpOperation as Operation, ArpPacket, EtherType as Ether, NetSlice, SlicedPacket};
use evenkeel_control::config::HostAddress;
use proptest::prelude::*;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const OWN: HostAddress = HostAddress { address: SERVICE, prefix: 24 };
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const NETWORK: Network =
    Network { address: Some(OWN), gateway: Some(GATEWAY), address6: None, gateway6: None, vlan: None };

fn known(backend: Ipv4Addr, mac: [u8; 6]) -> News {
    News::Backend(backend.into(), Resolution::Known(MacAddress(mac)))
}

/// A host at 10.0.0.10 with two backends, one of them behind the gateway.
fn host() -> Host {
    let mut host = Host::new(OURS, NETWORK);
    host.set_addresses([SERVICE.into()], seconds(0));
    assert_eq!(host.set_backends([BACKEND.into(), FAR.into()]), []);
    host
}

fn arp(operation: Operation, sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        Ether::IPV4,
        operation,
        &sender_mac,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    );
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(sender_mac, [0xff; 6]).arp(packet.unwrap()).write(&mut frame).unwrap();
    frame
}

/// Destination, operation, sender and target of a frame, as etherparse reads it.
fn read(frame: &[u8]) -> ([u8; 6], Operation, Ipv4Addr, Ipv4Addr) {
    assert!(frame.len() >= 60, "long enough for Ethernet");
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Arp(arp)) = packet.net else { panic!("not ARP: {frame:02x?}") };
    let address = |bytes: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap());
    assert_eq!(arp.sender_hw_addr(), OURS.0);
    let sender = address(arp.sender_protocol_addr());
    (frame[..6].try_into().unwrap(), arp.operation(), sender, address(arp.target_protocol_addr()))
}

fn questions(outcome: &Outcome) -> Vec<([u8; 6], Ipv4Addr)> {
    let frames = outcome.frames.iter().map(|frame| read(frame));
    frames.filter(|(_, _, sender, target)| sender != target).map(|(to, _, _, target)| (to, target)).collect()
}

fn answer(host: &mut Host, mac: [u8; 6], address: Ipv4Addr, now: u64) -> Vec<News> {
    let outcome = host.receive(&arp(Operation::REPLY, mac, address, SERVICE), seconds(now));
    assert_eq!(outcome.frames, [[0_u8; 0]; 0], "nobody answers an answer");
    outcome.news
}

#[test]
fn questions_about_our_addresses_are_answered_and_no_others() {
    let mut host = host();
    let client = Ipv4Addr::new(10, 0, 0, 1);
    let ask =
        |host: &mut Host, sender, target| host.receive(&arp(Operation::REQUEST, THEIRS, sender, target), seconds(1));
    let answered = ask(&mut host, client, SERVICE);
    assert_eq!(
        answered.frames.iter().map(|frame| read(frame)).collect::<Vec<_>>(),
        [(THEIRS, Operation::REPLY, SERVICE, client)]
    );
    // A probe, by a host that would like to have the address (RFC 5227).
    assert_eq!(read(&ask(&mut host, Ipv4Addr::UNSPECIFIED, SERVICE).frames[0]).1, Operation::REPLY);
    assert_eq!(ask(&mut host, client, Ipv4Addr::new(10, 0, 0, 11)), Outcome::default());
    assert_eq!(host.receive(&arp(Operation::REPLY, THEIRS, client, SERVICE), seconds(1)), Outcome::default());
}

#[test]
fn addresses_are_announced_twice_and_again_when_the_cable_is_plugged_in() {
    let mut host = host();
    let announced = |host: &mut Host, now| {
        let frames = host.tick(seconds(now)).frames;
        let own = frames.iter().map(|frame| read(frame)).filter(|(_, _, sender, target)| sender == target);
        own.map(|(to, operation, sender, _)| (to, operation, sender)).collect::<Vec<_>>()
    };
    let announcement = ([0xff; 6], Operation::REQUEST, SERVICE);
    assert_eq!(announced(&mut host, 0), [announcement]);
    assert_eq!(announced(&mut host, 1), []);
    assert_eq!(announced(&mut host, 2), [announcement]);
    assert_eq!(announced(&mut host, 10), []);
    host.set_addresses([SERVICE.into(), FAR.into()], seconds(11));
    assert_eq!(announced(&mut host, 11), [([0xff; 6], Operation::REQUEST, FAR)], "the new one only");
    host.link_came_up(seconds(20));
    assert_eq!(announced(&mut host, 20).len(), 2);
    host.set_addresses([], seconds(21));
    assert_eq!(announced(&mut host, 22), [announcement], "the host's own address stays");
}

#[test]
fn a_backend_is_asked_for_each_second_until_it_answers_then_now_and_then() {
    let mut host = host();
    let mut asked = Vec::new();
    for tenth in 0..30 {
        asked.extend(questions(&host.tick(Duration::from_millis(100 * tenth))));
    }
    let everybody = [0xff; 6];
    assert_eq!(asked, [(everybody, BACKEND), (everybody, GATEWAY)].repeat(3));
    assert_eq!(answer(&mut host, THEIRS, BACKEND, 3), [known(BACKEND, THEIRS)]);
    assert_eq!(answer(&mut host, THEIRS, BACKEND, 3), [], "that is known");
    assert_eq!(answer(&mut host, MOVED, GATEWAY, 3), [known(FAR, MOVED)]);
    assert_eq!(questions(&host.tick(seconds(12))), []);
    assert_eq!(questions(&host.tick(seconds(13))), [(THEIRS, BACKEND), (MOVED, GATEWAY)], "they alone are asked");
    assert_eq!(questions(&host.tick(seconds(14))), [(everybody, BACKEND), (everybody, GATEWAY)], "then everybody");
}

#[test]
fn silence_is_said_once_and_the_answer_after_it_too() {
    let mut host = host();
    let said = |host: &mut Host, seconds_: std::ops::Range<u64>| {
        seconds_.flat_map(|now| host.tick(seconds(now)).news).collect::<Vec<_>>()
    };
    let both = |resolution| [BACKEND, FAR].map(|backend| News::Backend(backend.into(), resolution));
    assert_eq!(said(&mut host, 0..20), both(Resolution::Silent));
    assert_eq!(answer(&mut host, THEIRS, BACKEND, 20), [known(BACKEND, THEIRS)]);
    assert_eq!(answer(&mut host, THEIRS, GATEWAY, 20), [known(FAR, THEIRS)]);
    assert_eq!(said(&mut host, 20..60), both(Resolution::Lost));
    assert_eq!(answer(&mut host, THEIRS, BACKEND, 60), [known(BACKEND, THEIRS)], "back where it was");
}

#[test]
fn an_announcement_of_another_ethernet_address_is_followed_at_once() {
    let mut host = host();
    answer(&mut host, THEIRS, BACKEND, 0);
    let outcome = host.receive(&arp(Operation::REQUEST, MOVED, BACKEND, BACKEND), seconds(1));
    assert_eq!(outcome.news, [known(BACKEND, MOVED)]);
    assert_eq!(outcome.frames, [[0_u8; 0]; 0]);
}

#[test]
fn who_answers_for_a_backend_beside_it_moves_it_once_a_second_at_most() {
    let mut host = host();
    answer(&mut host, THEIRS, BACKEND, 0);
    let claim = |host: &mut Host, mac, millis| {
        host.receive(&arp(Operation::REPLY, mac, BACKEND, SERVICE), Duration::from_millis(millis)).news
    };
    let moved = |mac| vec![known(BACKEND, mac)];
    assert_eq!(claim(&mut host, MOVED, 999), []);
    assert_eq!(claim(&mut host, MOVED, 1000), moved(MOVED));
    let flapping: Vec<_> = (0..100)
        .flat_map(|turn| claim(&mut host, if turn % 2 == 0 { THEIRS } else { MOVED }, 1001 + 10 * turn))
        .collect();
    assert_eq!(flapping, [], "a hundred changes of mind in a second");
    assert_eq!(claim(&mut host, THEIRS, 2000), moved(THEIRS));
}

#[test]
fn it_listens_for_its_own_addresses_and_those_of_next_hops() {
    let addresses = |list: &[Ipv4Addr]| list.iter().map(|&address| address.into()).collect();
    let heard = Heard {
        ours: addresses(&[SERVICE]),
        neighbours: addresses(&[BACKEND, GATEWAY]),
        routers: false,
        groups: false,
    };
    assert_eq!(host().heard(), heard);
}

#[test]
fn who_claims_our_address_is_named_once_a_minute_and_not_believed() {
    let mut host = host();
    // Any number of Ethernet addresses may be made up.
    for (now, mac, is_told) in [(1, THEIRS, true), (1, THEIRS, false), (60, MOVED, false), (61, MOVED, true)] {
        let outcome = host.receive(&arp(Operation::REQUEST, mac, SERVICE, SERVICE), seconds(now));
        let told = [News::Conflict(SERVICE.into(), MacAddress(mac))];
        assert_eq!((outcome.news.as_slice(), outcome.frames.len()), (if is_told { &told[..] } else { &[] }, 0));
    }
    // Our own frames may come back from a bridge.
    assert_eq!(host.receive(&arp(Operation::REQUEST, OURS.0, SERVICE, SERVICE), seconds(1)), Outcome::default());
}

#[test]
fn a_backend_outside_the_network_needs_a_gateway() {
    let mut host = Host::new(OURS, Network { gateway: None, ..NETWORK });
    assert_eq!(host.set_backends([FAR.into(), BACKEND.into()]), [News::Backend(FAR.into(), Resolution::NoRoute)]);
    let mut anywhere = Host::new(OURS, Network::default());
    anywhere.set_addresses([SERVICE.into()], seconds(0));
    assert_eq!(anywhere.set_backends([FAR.into()]), [], "without a network everybody is near");
    assert_eq!(questions(&anywhere.tick(seconds(0))), [([0xff; 6], FAR)]);
}

#[test]
fn what_is_known_stays_known_when_backends_come_and_go() {
    let mut host = host();
    answer(&mut host, THEIRS, GATEWAY, 0);
    let other = Ipv4Addr::new(192, 0, 2, 3);
    assert_eq!(host.set_backends([FAR.into(), other.into()]), [known(other, THEIRS)]);
    assert_eq!(questions(&host.tick(seconds(1))), [], "the first backend is forgotten, the gateway is known");
}

proptest! {
    #[test]
    fn nothing_but_a_question_about_us_is_answered(mut frame in prop::collection::vec(any::<u8>(), 0..80), shaped: bool) {
        if shaped && frame.len() > 22 {
            frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        }
        let answered = host().receive(&frame, seconds(1)).frames;
        prop_assert!(answered.is_empty() || frame[38..42] == SERVICE.octets());
    }
}

#[test]
fn of_thousands_of_neighbours_each_has_its_turn_and_few_are_asked_at_once() {
    const MANY: u32 = 20_000;
    let first = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    let all = || (first..first + MANY).map(|number| Ipv4Addr::from(number).into());
    let own = HostAddress { address: SERVICE, prefix: 8 };
    let mut host = Host::new(OURS, Network { address: Some(own), ..Network::default() });
    host.set_addresses([SERVICE.into()], seconds(0));
    assert_eq!(host.set_backends(all()), []);
    // Who is asked until there is no more to do, and how often.
    let ask = |host: &mut Host, now, answers: bool| {
        let mut asked = BTreeMap::<_, u32>::new();
        let mut told = 0;
        loop {
            let outcome = host.tick(seconds(now));
            let asked_now = questions(&outcome);
            assert!(asked_now.len() <= 128, "{} at once", asked_now.len());
            told += outcome.news.len();
            for (_, address) in asked_now {
                *asked.entry(address).or_default() += 1;
                if answers {
                    told += answer(host, THEIRS, address, now).len();
                }
            }
            if !outcome.has_more {
                assert!(asked.values().all(|times| *times == 1), "nobody twice");
                return (asked.len(), told);
            }
        }
    };
    let many = MANY as usize;
    assert_eq!(ask(&mut host, 0, false), (many, 0));
    assert_eq!(ask(&mut host, 1, false), (many, 0));
    assert_eq!(ask(&mut host, 2, false), (many, many), "they are silent");
    assert_eq!(ask(&mut host, 3, false), (0, 0), "and not asked every second");
    assert_eq!(ask(&mut host, 12, true), (many, many), "all are found");
    assert_eq!(ask(&mut host, 30, true), (0, 0));
    assert_eq!(ask(&mut host, 52, true), (many, 0), "as often as it is for so many");

    // Who comes last is not asked last for ever: the next one goes on where the one before has ended.
    let mut host = Host::new(OURS, Network { address: Some(own), ..Network::default() });
    host.set_addresses([SERVICE.into()], seconds(0));
    host.set_backends(all());
    let asked: BTreeSet<_> =
        (0..MANY.div_ceil(128)).flat_map(|time| questions(&host.tick(seconds(time.into())))).collect();
    assert_eq!(asked.len(), many);
}
