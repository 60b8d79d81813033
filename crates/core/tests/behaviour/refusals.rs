//! Every reason that the balancer can give, with a packet that gets it.

use crate::support::*;
use evenkeel_core::backend::Link;
use evenkeel_core::{BackendState, Ours, Reason, Service, Word};
use evenkeel_wire::{IpProtocol, MacAddress};
use std::rc::Rc;

type Plane = MemoryPlane<Interposed>;
/// A neighbour that nobody is, and that a connection has proved just now (40,000 ticks, see `MemoryPlane`).
const OCCUPIED: u64 = 0x99 | 1 << 55 | (40_000 >> 8) << 56;
/// What is done to a fresh scene, and the packet then judged.
type Case = (Reason, fn(&mut Plane) -> Reason);

const CASES: &[Case] = &[
    (Reason::ToBackend, |plane| plane.verdict(&tcp(client(1), WEB, SYN))),
    (Reason::ToClient, |plane| {
        let connection = plane.open(client(1));
        plane.verdict(&connection.answers(SYN | ACK))
    }),
    (Reason::EchoReply, |plane| plane.verdict(&echo(client(1).ip(), WEB.ip()))),
    (Reason::NotIpv4, |plane| {
        let mut arp = tcp(client(1), WEB, SYN).bytes();
        arp[13] = 0x06;
        plane.process(&mut arp)
    }),
    (Reason::NotIpv4, |plane| {
        let mut appletalk = tcp(client(1), WEB, SYN).bytes();
        [appletalk[12], appletalk[13]] = [0x80, 0x9b];
        plane.process(&mut appletalk)
    }),
    (Reason::NotOurMac, |plane| plane.verdict(&tcp(client(1), WEB, SYN).destination_mac(CLIENT_MAC))),
    (Reason::NotOurMac, |plane| plane.verdict(&tcp(client(1), WEB, SYN).destination_mac([0xff; 6]))),
    (Reason::NotOurs, |plane| plane.verdict(&tcp(client(1), H2, SYN))),
    (Reason::NotOurs, |plane| plane.verdict(&tcp(client(1), H3, SYN))),
    (Reason::NotOurs, |plane| plane.verdict(&tcp(client(1), H2, SYN).protocol(47))),
    (Reason::NoService, |plane| plane.verdict(&tcp(client(1), at(WEB.ip(), 81), SYN))),
    (Reason::NoService, |plane| plane.verdict(&tcp(client(1), at(NAT, 10_000), ACK))),
    (Reason::NotTcpUdp, |plane| plane.verdict(&tcp(client(1), WEB, SYN).protocol(47))),
    (Reason::Truncated, |plane| plane.process(&mut Vec::new())),
    (Reason::Malformed, |plane| {
        let mut short_header = tcp(client(1), WEB, SYN).bytes();
        short_header[14] = 0x43;
        plane.process(&mut short_header)
    }),
    (Reason::Fragment, |plane| plane.verdict(&tcp(client(1), WEB, SYN).fragment(0, true))),
    (Reason::TtlExpired, |plane| plane.verdict(&tcp(client(1), WEB, SYN).ttl(1))),
    (Reason::MartianSource, |plane| plane.verdict(&tcp(end([224, 0, 0, 1], 5), WEB, SYN))),
    (Reason::MartianSource, |plane| plane.verdict(&echo([255; 4], WEB.ip()))),
    (Reason::OwnSource, |plane| plane.verdict(&tcp(at(WEB.ip(), 5), WEB, SYN))),
    (Reason::OwnSource, |plane| plane.verdict(&udp(at(NAT, 10_000), DNS))),
    (Reason::FlowMissing, |plane| plane.verdict(&tcp(client(1), WEB, ACK))),
    (Reason::FlowTableFull, |plane| {
        (0..4).for_each(|n| _ = plane.establish(client(n)));
        plane.verdict(&tcp(client(10), WEB, SYN))
    }),
    (Reason::FlowContended, |plane| {
        // The same SYN, on another CPU, in the middle of this one: at which access, depends.
        let syn = tcp(client(1), WEB, SYN);
        for at in 0.. {
            let shared: Rc<Plane> = Rc::new(scene(1));
            let (other, again, mut reason) = (Rc::clone(&shared), syn.clone(), Reason::ToBackend);
            let interrupted = interrupt(at, move || drop(other.send(&again)), || reason = shared.verdict(&syn));
            if reason == Reason::FlowContended || !interrupted {
                *plane = Rc::into_inner(shared).expect("the interruption is over");
                return reason;
            }
        }
        unreachable!("the loop ends with the packet")
    }),
    (Reason::NatPortsExhausted, |plane| {
        (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_000);
        plane.set_maglev(TABLE, &[FIRST]);
        plane.open(client(1));
        plane.verdict(&tcp(client(2), WEB, SYN))
    }),
    (Reason::NatPortsExhausted, |plane| {
        plane.settings.nat_addresses = 0;
        plane.verdict(&tcp(client(1), WEB, SYN))
    }),
    (Reason::NoBackend, |plane| {
        plane.set_maglev(TABLE, &[]);
        plane.verdict(&tcp(client(1), WEB, SYN))
    }),
    (Reason::Refused, |plane| {
        let service = Service { table: TABLE as u32, flags: Service::RESET, idle: 0, newcomers: 0 };
        plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
        plane.set_maglev(TABLE, &[]);
        plane.verdict(&tcp(client(1), WEB, SYN))
    }),
    (Reason::ResetMissing, |plane| {
        let service = Service { table: TABLE as u32, flags: Service::MISSING_RESET, idle: 0, newcomers: 0 };
        plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
        plane.verdict(&tcp(client(1), WEB, ACK))
    }),
    (Reason::CheckAnswer, |plane| {
        (plane.settings.check_port_first, plane.settings.check_port_last) = (60_000, 60_099);
        plane.verdict(&tcp(client(1), at(NAT, 60_050), SYN | ACK))
    }),
    (Reason::UnservedRefused, |plane| alone(plane).verdict(&tcp(client(1), at(WEB.ip(), 81), SYN))),
    (Reason::UnservedRefused, |plane| alone(plane).verdict(&udp(client(1), at(NAT, 10_000)))),
    (Reason::TimeExceeded, |plane| alone(plane).verdict(&tcp(client(1), WEB, SYN).ttl(1))),
    (Reason::Unserved, |plane| alone(plane).verdict(&tcp(client(1), WEB, SYN).protocol(47))),
    (Reason::AnswerLimit, |plane| {
        let plane = alone(plane);
        (0..50).for_each(|_| _ = plane.verdict(&udp(client(1), at(WEB.ip(), 81))));
        plane.verdict(&udp(client(1), at(WEB.ip(), 81)))
    }),
    (Reason::NewcomerLimit, |plane| {
        let newcomers = Service::newcomers(10);
        let service = Service { table: TABLE as u32, flags: Service::PLAIN, idle: 0, newcomers };
        plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
        (0..10).for_each(|n| _ = plane.open(client(100 + n)));
        plane.verdict(&tcp(client(1), WEB, SYN))
    }),
    // A table that is a moment behind the backends.
    (Reason::NoBackend, |plane| with_links(plane, |link| Link::new(link.mac(), 1, BackendState::Draining))),
    (Reason::NoBackend, |plane| with_links(plane, |link| Link::new(link.mac(), 1, BackendState::Down))),
    (Reason::NoBackend, |plane| with_links(plane, |link| Link::new(link.mac(), 2, BackendState::Up))),
    (Reason::BackendDown, |plane| {
        let connection = plane.establish(client(1));
        [FIRST, SECOND].iter().for_each(|backend| plane.set_state(*backend, BackendState::Down));
        plane.verdict(&connection.says(ACK))
    }),
    (Reason::ResetDown, |plane| {
        let connection = plane.establish(client(1));
        [FIRST, SECOND].iter().for_each(|backend| plane.set_state(*backend, BackendState::Resetting));
        plane.verdict(&connection.says(ACK))
    }),
    (Reason::ResetStale, |plane| {
        let connection = plane.open(client(1));
        plane.verdict(&connection.answers(SYN | ACK).numbers(1, 2))
    }),
    (Reason::ClientUnresolved, |plane| {
        let connection = plane.establish(client(1));
        plane.hops.iter().for_each(|hop| hop.store(0));
        plane.verdict(&connection.answers(ACK))
    }),
    (Reason::HopTableFull, |plane| {
        plane.hops.iter().for_each(|hop| hop.store(OCCUPIED));
        plane.verdict(&tcp(client(1), WEB, SYN))
    }),
    (Reason::BackendUnresolved, |plane| {
        with_links(plane, |link| Link::new(MacAddress::default(), link.generation(), link.state()))
    }),
];

/// The plane, at addresses that nobody has but us.
fn alone(plane: &mut Plane) -> &Plane {
    plane.ours = Ours::ALONE;
    plane.settings.refuses = 1;
    plane
}

fn with_links(plane: &Plane, change: impl Fn(Link) -> Link) -> Reason {
    [FIRST, SECOND].iter().for_each(|backend| plane.set_link(backend.index, &change));
    plane.verdict(&tcp(client(1), WEB, SYN))
}

#[test]
fn every_reason_is_given_and_counted() {
    for (expected, case) in CASES {
        let mut plane: Plane = scene(1);
        let reason = case(&mut plane);
        assert_eq!(reason, *expected);
        assert!(plane.counted(reason) > 0);
    }
    // Where stations are not programs of their own, none is ever missing.
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::StationMissing) {
        assert!(CASES.iter().any(|(expected, _)| expected == reason), "{} is never given", reason.name());
    }
}

#[test]
fn a_packet_that_is_refused_leaves_nothing_behind() {
    let refused: &[Draft] = &[
        tcp(client(1), WEB, ACK),
        tcp(client(1), WEB, RST),
        tcp(client(1), WEB, SYN).ttl(1),
        tcp(client(1), WEB, SYN).fragment(0, true),
        tcp(at(NAT, 10_000), WEB, SYN),
        tcp(client(1), H2, SYN),
        udp(client(1), at(WEB.ip(), 81)),
    ];
    for draft in refused {
        let plane: MemoryPlane = scene(4);
        let (_, sent) = plane.send(draft);
        assert_eq!(sent, None, "{draft:?}");
        assert!(plane.remembered().is_empty(), "{draft:?}");
    }
}

#[test]
fn nothing_from_us_is_balanced() {
    let plane: MemoryPlane = scene(4);
    for own in [WEB.ip(), NAT] {
        for port in [80, 10_000, 40_000] {
            assert_eq!(plane.verdict(&tcp(at(own, port), WEB, SYN)), Reason::OwnSource);
            assert_eq!(plane.verdict(&udp(at(own, port), DNS)), Reason::OwnSource);
            assert_eq!(plane.verdict(&tcp(at(own, port), WEB, ACK)), Reason::FlowMissing);
        }
    }
}

#[test]
fn a_backend_without_an_ethernet_address_gets_nothing_and_no_flow_is_made() {
    let plane: MemoryPlane = scene(4);
    for backend in [FIRST, SECOND] {
        plane.set_link(backend.index, |link| Link::new(MacAddress::default(), link.generation(), link.state()));
    }
    assert_eq!(plane.verdict(&tcp(client(1), WEB, SYN)), Reason::BackendUnresolved);
    assert!(plane.remembered().is_empty());
}
