//! Packets in, verdict and packets out: what a plane does with each kind of packet, byte for byte.

use evenkeel_control::config::Protocol::{Tcp, Udp};
use evenkeel_control::config::Unserved;
use evenkeel_control::{Plane, ReplyRoute};
use evenkeel_core::flow::{IdleTimes, Side, State, Tick};
use evenkeel_core::{BackendState, Event, Features, PORT_TRIES, Reason, Service, ServiceKey, Standing, hash};
use evenkeel_packets::{
    ACK, CLIENT_MAC, Draft, FIN, GUE_PORT, Icmp, OUR_MAC, Packet, RST, SERVICE_VLAN, SYN, Transport, VLAN, at, echo,
    end, end6, icmp, tcp, udp,
};
use evenkeel_tests::on_both_planes;
use evenkeel_tests::program::scenes::{
    ANY, DNS, EMPTY, LIMITED, LOST, NAT, REFUSING, ROUTED, STICKY, WALKTHROUGH, WEB, backend_mac, client,
};
use evenkeel_tests::program::{Connection, On, PlaneUnderTest, Rig, Setup, scenes, table, trial};
use evenkeel_wire::{IpProtocol, Port};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

/// What a fixture shows, and its packets. [`Rig::expect`] holds every packet that is sent against etherparse's, and
/// later against scapy's.
type Fixture = (&'static str, fn(&mut Rig));

/// Addresses that are nobody's here.
const ELSEWHERE: SocketAddr = end([203, 0, 113, 99], 80);
const H1: SocketAddr = end([10, 0, 0, 1], 40_000);

/// Any port of 10.0.0.10, both protocols, two backends that listen on the port that was asked for.
const WALKTHROUGH_FIXTURES: &[Fixture] = &[
    ("TCP on any port, both ways", |rig| {
        for port in [1, 80, 8080, 65_535] {
            let connection = rig.establish(Tcp, H1, at(WALKTHROUGH, port));
            assert_eq!(connection.backend.port(), port);
            rig.assert_works(&connection);
            rig.close(&connection);
        }
    }),
    ("UDP on any port, both ways", |rig| {
        for port in [1, 53, 65_535] {
            let connection = rig.establish(Udp, H1, at(WALKTHROUGH, port));
            assert_eq!(connection.backend.port(), port);
            rig.assert_works(&connection);
        }
    }),
    ("connections of one client spread over both backends", |rig| {
        let open = |port| rig.open(Tcp, at(H1.ip(), port), at(WALKTHROUGH, 80));
        let backends: Vec<_> = (40_000..40_200).map(open).map(|connection| connection.backend).collect();
        let first = backends.iter().filter(|&&backend| backend == backends[0]).count();
        assert!((60..=140).contains(&first), "{first} of 200 to one of two");
    }),
    ("the address that services and NAT share answers an echo request", |rig| {
        rig.expect(&echo(H1.ip(), WALKTHROUGH), Reason::EchoReply);
    }),
    ("a backend may itself be a client", |rig| {
        let backend = end([10, 0, 0, 2], 40_000);
        let connection = rig.establish(Tcp, backend, at(WALKTHROUGH, 80));
        rig.assert_works(&connection);
    }),
    ("what is for a backend itself is passed", |rig| {
        rig.expect(&tcp(H1, end([10, 0, 0, 2], 80), SYN), Reason::NotOurs);
        rig.expect(&echo(H1.ip(), Ipv4Addr::new(10, 0, 0, 3)), Reason::NotOurs);
    }),
];

/// Many services and backends, a table with room.
const RICH_FIXTURES: &[Fixture] = &[
    ("a TCP connection from SYN to FIN: client to backend, another port there, and back", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        assert!([8080, 8081].contains(&connection.backend.port()));
        rig.assert_works(&connection);
        rig.close(&connection);
        // Whatever is still under way is delivered.
        rig.assert_works(&connection);
    }),
    ("a UDP flow, both ways", |rig| {
        let connection = rig.establish(Udp, client(1), DNS);
        assert_eq!(connection.backend.port(), 5353);
        rig.assert_works(&connection);
    }),
    ("a service for any port keeps the port that was asked for", |rig| {
        let connection = rig.establish(Udp, client(1), ANY);
        assert_eq!(connection.backend.port(), ANY.port());
        rig.assert_works(&connection);
    }),
    ("one client address stays with one backend where affinity says so", |rig| {
        for n in 0..20 {
            let ports = 50_000..50_020;
            let open = |port| rig.open(Tcp, at(client(n).ip(), port), STICKY).backend;
            let backends: HashSet<_> = ports.map(open).collect();
            assert_eq!(backends.len(), 1);
        }
    }),
    ("weights 1, 3 and 1 are the shares of new connections", |rig| {
        let backends: Vec<_> = (0..1000).map(|n| rig.open(Tcp, client(n), WEB).backend).collect();
        let heavy = backends.iter().filter(|backend| backend.ip() == Ipv4Addr::new(10, 1, 0, 2)).count();
        assert!((540..=660).contains(&heavy), "{heavy} of 1000 where 600 belong");
    }),
    ("both NAT addresses are used", |rig| {
        let used: HashSet<_> = (0..100).map(|n| rig.open(Tcp, client(n), WEB).nat.ip()).collect();
        assert_eq!(used, HashSet::from(NAT.map(IpAddr::V4)));
    }),
    ("a UDP checksum of zero stays zero", |rig| {
        let connection = rig.open(Udp, client(1), DNS);
        for (draft, reason) in [(connection.says(0), Reason::ToBackend), (connection.answers(0), Reason::ToClient)] {
            assert_eq!(udp_checksum(&rig.expect(&draft.without_checksum(), reason).sent), 0);
        }
    }),
    ("a UDP checksum that comes out as zero is sent as 0xffff", |rig| {
        let connection = rig.open(Udp, client(1), DNS);
        for (draft, reason) in [(connection.says(0), Reason::ToBackend), (connection.answers(0), Reason::ToClient)] {
            // The checksum over a zero word is what the word must be for the sum to have every bit set.
            let sum = udp_checksum(&rig.expect(&draft.clone().payload(&[0, 0]), reason).sent);
            let sent = rig.expect(&draft.payload(&sum.to_be_bytes()), reason).sent;
            assert_eq!(udp_checksum(&sent), 0xffff);
        }
    }),
    ("TCP checksums stay right: thousands of sums through one connection", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        for word in (0..=u16::MAX).step_by(17) {
            rig.expect(&connection.says(ACK).payload(&word.to_be_bytes()), Reason::ToBackend);
        }
    }),
    ("IP options are kept and looked behind", |rig| {
        let router_alert = [0x94, 4, 0, 0];
        for options in [vec![1; 4], router_alert.to_vec(), vec![1; 40]] {
            rig.forget();
            let first = rig.expect(&tcp(client(1), WEB, SYN).options(&options), Reason::ToBackend);
            assert_eq!(first.happened(Event::FlowOpened), 1);
            let connection = rig.open(Udp, client(1), DNS);
            rig.expect(&connection.says(0).options(&options), Reason::ToBackend);
            rig.expect(&connection.answers(0).options(&options), Reason::ToClient);
        }
    }),
    ("TCP options are kept", |rig| {
        let options = [2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1];
        rig.expect(&tcp(client(1), WEB, SYN).tcp_options(&options), Reason::ToBackend);
    }),
    ("one and two VLAN tags are kept and looked behind", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        for (draft, reason) in [(connection.says(ACK), Reason::ToBackend), (connection.answers(ACK), Reason::ToClient)]
        {
            rig.expect(&draft.clone().tag(VLAN, 7), reason);
            rig.expect(&draft.clone().tag(SERVICE_VLAN, 7), reason);
            rig.expect(&draft.clone().tag(VLAN, 7).tag(VLAN, 8), reason);
            rig.expect(&draft.clone().tag(SERVICE_VLAN, 4094).tag(VLAN, 1), reason);
            rig.expect(&draft.tag(SERVICE_VLAN, 7).tag(VLAN, 8).options(&[1; 40]), reason);
        }
        rig.expect(&echo(client(1).ip(), WEB.ip()).tag(SERVICE_VLAN, 7).tag(VLAN, 8), Reason::EchoReply);
    }),
    ("three VLAN tags are passed", |rig| {
        rig.expect(&tcp(client(1), WEB, SYN).tag(SERVICE_VLAN, 1).tag(VLAN, 2).tag(VLAN, 3), Reason::NotIpv4);
    }),
    ("padding behind a short packet is kept", |rig| {
        let connection = rig.open(Tcp, client(1), WEB);
        rig.expect(&connection.answers(SYN | ACK).payload(&[]).padding(6), Reason::ToClient);
        rig.expect(&connection.says(ACK).payload(&[]).padding(6), Reason::ToBackend);
    }),
    ("fragments for us, first, middle and last, are dropped, even of a known connection", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        for (offset, more) in [(0, true), (100, true), (100, false), (8191, false)] {
            rig.expect(&connection.says(ACK).fragment(offset, more), Reason::Fragment);
            rig.expect(&connection.answers(ACK).fragment(offset, more), Reason::Fragment);
            rig.expect(&udp(client(1), DNS).fragment(offset, more), Reason::Fragment);
            rig.expect(&echo(client(1).ip(), WEB.ip()).fragment(offset, more), Reason::Fragment);
        }
    }),
    ("fragments for others are passed", |rig| {
        for (offset, more) in [(0, true), (100, true), (100, false)] {
            rig.expect(&tcp(client(1), ELSEWHERE, SYN).fragment(offset, more), Reason::NotOurs);
        }
    }),
    ("TTL 1 and 0 are told, TTL 2 leaves as 1", |rig| {
        for ttl in [0, 1] {
            rig.expect(&tcp(client(1), WEB, SYN).ttl(ttl), Reason::TimeExceeded);
        }
        let connection = rig.establish(Tcp, client(1), WEB);
        for (draft, reason) in [(connection.says(ACK), Reason::ToBackend), (connection.answers(ACK), Reason::ToClient)]
        {
            rig.expect(&draft.clone().ttl(0), Reason::TimeExceeded);
            rig.expect(&draft.clone().ttl(1), Reason::TimeExceeded);
            assert_eq!(rig.expect(&draft.clone().ttl(2), reason).sent[22], 1);
            assert_eq!(rig.expect(&draft.ttl(255), reason).sent[22], 254);
        }
    }),
    ("DSCP and ECN are kept", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        for (dscp, ecn) in [(46, 0), (0, 3), (63, 1)] {
            rig.expect(&connection.says(ACK).traffic_class(dscp, ecn), Reason::ToBackend);
            rig.expect(&connection.answers(ACK).traffic_class(dscp, ecn), Reason::ToClient);
        }
    }),
    ("an echo request is answered for each of our addresses, whatever its TTL, options and size", |rig| {
        for ours in [WEB.ip(), STICKY.ip(), ANY.ip(), NAT[0].into(), NAT[1].into()] {
            let request = echo(client(1).ip(), ours);
            rig.expect(&request.clone().ttl(1), Reason::EchoReply);
            rig.expect(&request.clone().options(&[1; 8]), Reason::EchoReply);
            rig.expect(&request.payload(&[0x5a; 1472]), Reason::EchoReply);
        }
    }),
    ("an echo request for anybody else is passed", |rig| {
        for other in [ELSEWHERE.ip(), [10, 1, 0, 1].into(), looks_like_ours(rig)] {
            rig.expect(&echo(client(1).ip(), other), Reason::NotOurs);
        }
    }),
    ("the carry in an echo reply's checksum is folded", |rig| {
        let mut carries = 0;
        for id in 0..=u16::MAX {
            let request = icmp(client(1).ip(), WEB.ip(), Icmp::Request(id)).payload(&[]).bytes();
            let checksum = u16::from_be_bytes([request[36], request[37]]);
            // Those whose checksum passes 0xffff when 0x0800 is added, and a few that do not.
            if checksum >= 0xf7f0 {
                assert_eq!(rig.send(&request).reason, Reason::EchoReply);
                carries += u32::from(checksum >= 0xf800);
            }
        }
        assert!(carries > 2000);
    }),
    ("other ICMP for us is dropped", |rig| {
        for message in [Icmp::Reply, Icmp::Unreachable] {
            rig.expect(&icmp(client(1).ip(), WEB.ip(), message), Reason::Unserved);
        }
    }),
    ("other protocols for us are dropped", |rig| {
        for protocol in [0, 2, 4, 41, 47, 50, 132, 136, 255] {
            rig.expect(&tcp(client(1), WEB, SYN).protocol(protocol), Reason::Unserved);
            rig.expect(&tcp(client(1), ELSEWHERE, SYN).protocol(protocol), Reason::NotOurs);
            rig.expect(&tcp(client(1), at(looks_like_ours(rig), 80), SYN).protocol(protocol), Reason::NotOurs);
        }
    }),
    ("ARP, IPv6 and everything else that is not IPv4 is passed", |rig| {
        for ether_type in [0x0806_u16, 0x86dd, 0x88cc, 0x8847, 0x0026, 0xffff] {
            let bytes = patched(&tcp(client(1), WEB, SYN), 12, &ether_type.to_be_bytes());
            assert_eq!(rig.send(&bytes).reason, Reason::NotIpv4);
        }
    }),
    ("IPv6 is passed and tunnels to us are not taken, whatever they carry", |rig| {
        let [client6, service6] =
            [end6([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], 40_000), end6([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80)];
        for draft in [tcp(client6, service6, SYN), echo(client6.ip(), service6.ip()), tcp(client(1), WEB, SYN)] {
            rig.expect(&draft.clone().ipip(client6.ip(), service6.ip()), Reason::NotIpv4);
            rig.expect(&draft.clone().gue(client6, service6), Reason::NotIpv4);
            rig.expect(&draft.clone().ipip(client(1).ip(), WEB.ip()), Reason::Unserved);
            rig.expect(&draft.clone().gue(client(1), at(ELSEWHERE.ip(), GUE_PORT)), Reason::NotOurs);
            let gue = draft.gue(client(1), at(WEB.ip(), GUE_PORT)).bytes();
            assert_eq!(rig.send_any(&gue).reason, Reason::UnservedRefused);
        }
        rig.expect(&tcp(client6, service6, SYN), Reason::NotIpv4);
    }),
    ("broadcast, multicast and other hosts' frames are passed", |rig| {
        for mac in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1], CLIENT_MAC, [0; 6]] {
            rig.expect(&tcp(client(1), WEB, SYN).destination_mac(mac), Reason::NotOurMac);
        }
    }),
    ("a frame that ends anywhere before its end changes nothing and opens nothing", |rig| {
        let drafts = [
            tcp(client(1), WEB, SYN),
            udp(client(1), DNS),
            echo(client(1).ip(), WEB.ip()),
            tcp(client(1), WEB, SYN).tag(SERVICE_VLAN, 1).tag(VLAN, 2).options(&[1; 40]),
        ];
        for draft in drafts {
            let bytes = draft.bytes();
            let ip = if bytes[12..14] == [0x08, 0x00] { 14 } else { 22 };
            for length in 14..bytes.len() {
                let reason = if length < ip + 20 { Reason::Truncated } else { Reason::Malformed };
                assert_eq!(rig.send(&bytes[..length]).reason, reason, "{length} bytes of {draft:?}");
            }
            // Elsewhere it is none of our business.
            let other = patched(&draft, ip + 16, &[203, 0, 113, 99]);
            for length in ip + 20..other.len() {
                assert_eq!(rig.send(&other[..length]).reason, Reason::NotOurs);
            }
        }
        assert!(table::entries(rig.plane()).is_empty());
    }),
    ("headers that contradict themselves or the frame are dropped", |rig| {
        let (tcp, udp) = (tcp(client(1), WEB, SYN), udp(client(1), DNS));
        let whole = tcp.bytes().len() - 14;
        let cases: &[(&Draft, usize, &[u8])] = &[
            (&tcp, 14, &[0x44]),               // header of 16 bytes
            (&tcp, 14, &[0x40]),               // header of none
            (&tcp, 14, &[0x4f]),               // header behind the frame's end
            (&tcp, 14, &[0x55]),               // version 5
            (&tcp, 14, &[0x65]),               // version 6
            (&tcp, 16, &[0, 0]),               // no length
            (&tcp, 16, &[0, 19]),              // shorter than its header
            (&tcp, 16, &[0, 20]),              // no payload
            (&tcp, 16, &[0, 39]),              // a byte short of a TCP header
            (&tcp, 16, &[0, whole as u8 + 1]), // a byte more than the frame has
            (&tcp, 16, &[0xff, 0xff]),         // much more
            (&udp, 16, &[0, 27]),              // a byte short of a UDP header
            (&tcp, 23, &[17, 0, 0]),           // UDP's number, still whole: see below
        ];
        let (last, contradictions) = cases.split_last().unwrap();
        for (draft, at, bytes) in contradictions {
            let bytes = patched(draft, *at, bytes);
            assert_eq!(rig.send(&bytes).reason, Reason::Malformed, "{bytes:02x?}");
        }
        // Sound as far as the balancer looks; there is no UDP service on that port.
        assert_eq!(rig.send_any(&patched(last.0, last.1, last.2)).reason, Reason::UnservedRefused);
        assert!(table::entries(rig.plane()).is_empty());
    }),
    ("what claims to come from no single host is dropped", |rig| {
        for nobody in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 251], [255, 255, 255, 255]].map(Ipv4Addr::from) {
            let from = at(nobody, 25_000);
            rig.expect(&tcp(from, WEB, SYN), Reason::MartianSource);
            rig.expect(&udp(from, DNS), Reason::MartianSource);
            rig.expect(&echo(nobody, WEB.ip()), Reason::MartianSource);
        }
    }),
    ("what claims to come from us is dropped", |rig| {
        for ours in [WEB.ip(), ANY.ip(), NAT[1].into()] {
            let from = at(ours, 25_000);
            rig.expect(&tcp(from, WEB, SYN), Reason::OwnSource);
            rig.expect(&udp(from, DNS), Reason::OwnSource);
            rig.expect(&echo(ours, WEB.ip()), Reason::OwnSource);
        }
    }),
    ("a segment from the middle of a connection that nobody knows is dropped", |rig| {
        for flags in [0, ACK, FIN, FIN | ACK, RST, RST | ACK, SYN | ACK, SYN | FIN, SYN | RST, 0x08, 0x3f] {
            rig.expect(&tcp(client(1), WEB, flags), Reason::FlowMissing);
        }
        assert!(table::entries(rig.plane()).is_empty());
    }),
    ("an ECN-setup SYN opens a connection", |rig| {
        let mut packet = Packet::of(&tcp(client(1), WEB, SYN).bytes()).unwrap();
        let Transport::Tcp(header) = &mut packet.transport else { panic!("TCP") };
        (header.ece, header.cwr) = (true, true);
        assert_eq!(rig.send(&packet.bytes()).happened(Event::FlowOpened), 1);
    }),
    ("a reset ends a connection and is answered by nobody", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        rig.expect(&connection.says(RST), Reason::ToBackend);
        rig.expect(&connection.answers(RST), Reason::ToClient);
    }),
    ("what is for a port of ours without a service is refused, but for a reset", |rig| {
        for to in [at(WEB.ip(), 79), at(ANY.ip(), 4433), at(NAT[0], 20_000)] {
            rig.expect(&tcp(client(1), to, SYN), Reason::UnservedRefused);
            rig.expect(&tcp(client(1), to, ACK), Reason::UnservedRefused);
            rig.expect(&tcp(client(1), to, RST), Reason::Unserved);
        }
        rig.expect(&udp(client(1), WEB), Reason::UnservedRefused);
    }),
    ("what is refused or told may be of any size, have options, tags and padding", |rig| {
        let connection = rig.establish(Udp, client(1), DNS);
        let drafts = [
            (tcp(client(1), at(WEB.ip(), 79), SYN), Reason::UnservedRefused),
            (udp(client(1), WEB), Reason::UnservedRefused),
            (connection.says(0).ttl(1), Reason::TimeExceeded),
        ];
        for (draft, reason) in drafts {
            rig.expect(&draft.clone().payload(b""), reason);
            rig.expect(&draft.clone().payload(b"").padding(18), reason);
            rig.expect(&draft.clone().options(&[1; 40]).tag(VLAN, 7), reason);
            rig.expect(&draft.clone().tag(SERVICE_VLAN, 7).tag(VLAN, 8), reason);
            for length in [1, 1472, 3500, 9000] {
                rig.expect(&draft.clone().payload(&vec![7; length]), reason);
            }
        }
    }),
    ("what is said unasked is limited", |rig| {
        let ask = |rig: &mut Rig| (0..200).map(|_| rig.reason(&udp(client(1), WEB))).collect::<Vec<_>>();
        let before = rig.now().0;
        let reasons = ask(rig);
        let units = rig.now().0 - before;
        let answered = reasons.iter().filter(|&&reason| reason == Reason::UnservedRefused).count();
        assert!(answered >= 50 && answered <= 50 + 17 * units as usize, "{answered} in {units} units of time");
        assert!(reasons.iter().all(|reason| [Reason::UnservedRefused, Reason::AnswerLimit].contains(reason)));
        // Some time or other the clock stands still for as long as two hundred packets take.
        assert!(answered < 200 || (0..100).any(|_| ask(rig).contains(&Reason::AnswerLimit)));
    }),
    ("what is for an address that the host has as well, and for no service there, is its kernel's", |rig| {
        let (web, other) = (Ipv4Addr::new(203, 0, 113, 10), at(ANY.ip(), 79));
        if !tell_of_host(rig, &[web, NAT[1], Ipv4Addr::new(192, 0, 2, 77)]) {
            return;
        }
        for to in [at(web, 79), at(NAT[1], 20_000)] {
            for draft in [tcp(client(1), to, SYN), tcp(client(1), to, ACK), tcp(client(1), to, RST), udp(client(1), to)]
            {
                rig.expect(&draft, Reason::NoService);
                rig.expect(&draft.clone().ttl(1), Reason::NoService);
                rig.expect(&draft.protocol(47), Reason::NotTcpUdp);
            }
            rig.expect(&icmp(client(1).ip(), to.ip(), Icmp::Unreachable), Reason::NotTcpUdp);
            rig.expect(&echo(client(1).ip(), to.ip()), Reason::EchoReply);
            let (first, last) = rig.config().nat.check_ports();
            for port in [first, last] {
                rig.expect(&tcp(client(1), at(to.ip(), port), ACK), Reason::CheckAnswer);
            }
        }
        for to in [other, at(NAT[0], 20_000)] {
            rig.expect(&tcp(client(1), to, SYN), Reason::UnservedRefused);
        }
        // It is so as long as the host has it, also over a change of what is ours.
        tell_of_host(rig, &[NAT[0]]);
        rig.expect(&tcp(client(1), at(web, 79), SYN), Reason::UnservedRefused);
        rig.expect(&tcp(client(1), at(NAT[0], 20_000), SYN), Reason::NoService);
        let config = rig.config().clone();
        let mut fewer = config.clone();
        fewer.services.retain(|service| service.address != web);
        tell_of_host(rig, &[web]);
        rig.apply(&fewer);
        rig.apply(&config);
        rig.expect(&tcp(client(1), at(web, 79), SYN), Reason::NoService);
        tell_of_host(rig, &[]);
        rig.expect(&tcp(client(1), at(web, 79), SYN), Reason::UnservedRefused);
    }),
    ("a service may want segments of no connection to be answered by a reset", |rig| {
        let web = rig.plane().contents().unwrap().services.into_iter();
        let key = ServiceKey::ipv4(Ipv4Addr::new(203, 0, 113, 10).into(), Port::from_number(80), IpProtocol::TCP);
        let (_, plain) = web.into_iter().find(|(service, _)| *service == key).unwrap();
        let resets = Service { flags: plain.flags | Service::MISSING_RESET, ..plain };
        rig.balancer().plane_mut().set_service(key, resets).unwrap();
        for draft in [tcp(client(1), WEB, ACK), tcp(client(1), WEB, FIN).payload(&[7; 1400]).tag(VLAN, 7)] {
            (0..100).for_each(|_| _ = rig.expect(&draft, Reason::ResetMissing));
        }
        rig.expect(&tcp(client(1), WEB, RST), Reason::FlowMissing);
        let connection = rig.establish(Tcp, client(1), WEB);
        rig.assert_works(&connection);
        rig.balancer().plane_mut().set_service(key, plain).unwrap();
        rig.expect(&tcp(client(2), WEB, ACK), Reason::FlowMissing);
    }),
    ("a reply is accepted only from the backend, port and protocol that the connection has", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        let Connection { backend, nat, .. } = connection;
        let other = Ipv4Addr::new(10, 1, 0, 77);
        rig.expect(&tcp(at(other, backend.port()), nat, ACK), Reason::UnservedRefused);
        rig.expect(&tcp(at(backend.ip(), backend.port() + 1), nat, ACK), Reason::UnservedRefused);
        rig.expect(&tcp(backend, at(nat.ip(), nat.port() ^ 1), ACK), Reason::UnservedRefused);
        rig.expect(&udp(backend, nat), Reason::UnservedRefused);
        rig.assert_works(&connection);
    }),
    ("an address that only looks like ours is passed, whatever is wrong with the packet", |rig| {
        let other = at(looks_like_ours(rig), 80);
        for draft in [tcp(client(1), other, SYN), udp(client(1), other), tcp(client(1), other, SYN).fragment(1, true)] {
            rig.expect(&draft, Reason::NotOurs);
            assert_eq!(rig.send(&patched(&draft, 14, &[0x41])).reason, Reason::NotOurs);
        }
        rig.expect(&tcp(client(1), other, SYN).ttl(1), Reason::NotOurs);
    }),
    ("a service without backends that refuses answers a SYN by a reset, and nothing else", |rig| {
        for draft in [tcp(client(1), REFUSING, SYN), tcp(client(1), REFUSING, SYN).payload(&[7; 300]).tag(VLAN, 7)] {
            rig.expect(&draft.clone(), Reason::Refused);
            rig.expect(&draft.clone().options(&[1; 8]), Reason::Refused);
            rig.expect(&draft.tcp_options(&[2, 4, 5, 0xb4]).ttl(2), Reason::Refused);
        }
        rig.expect(&tcp(client(1), REFUSING, ACK), Reason::FlowMissing);
    }),
    ("a service that lets in so many newcomers lets in who asks again, and nobody else", |rig| {
        // More than become due while this is sent: the clock goes on.
        let tries: Vec<_> = (0..2000).map(|n| rig.send(&tcp(client(n), LIMITED, SYN).bytes()).reason).collect();
        let let_in = tries.iter().filter(|reason| **reason == Reason::ToBackend).count();
        assert!((10..1000).contains(&let_in), "{let_in}");
        let others = tries.iter().all(|reason| matches!(reason, Reason::ToBackend | Reason::NewcomerLimit));
        assert!(others, "{tries:?}");
        let refused = tries.iter().rposition(|reason| *reason == Reason::NewcomerLimit).expect("many are");
        let connection = rig.establish(Tcp, client(refused as u16), LIMITED);
        rig.assert_works(&connection);
        rig.expect(&tcp(client(2001), LIMITED, ACK), Reason::FlowMissing);
        rig.expect(&tcp(client(1), WEB, SYN), Reason::ToBackend);
    }),
    ("a service without backends drops what would open a connection", |rig| {
        rig.expect(&tcp(client(1), EMPTY, SYN), Reason::NoBackend);
        rig.expect(&tcp(client(1), EMPTY, ACK), Reason::FlowMissing);
    }),
    ("a backend whose Ethernet address is not known gets nothing, until it is known", |rig| {
        rig.expect(&tcp(client(1), LOST, SYN), Reason::BackendUnresolved);
        assert!(table::entries(rig.plane()).is_empty());
        rig.set_next_hop(scenes::LOST_BACKEND, backend_mac(scenes::LOST_BACKEND));
        let connection = rig.establish(Tcp, client(1), LOST);
        rig.assert_works(&connection);
        rig.forget();
        rig.set_next_hop(scenes::LOST_BACKEND, [0; 6]);
    }),
    ("a backend's new Ethernet address is used at once", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        let (address, mac) = (connection.backend.ip(), [2, 9, 9, 9, 9, 9]);
        rig.set_next_hop(address, mac);
        assert_eq!(rig.send_any(&connection.says(ACK).bytes()).sent[..6], mac);
        rig.set_next_hop(address, backend_mac(address));
        rig.assert_works(&connection);
    }),
    ("a client's new Ethernet address is noticed when the connection is renewed", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        table::stamp(rig.plane(), &table::keys(&connection), rig.now(), 100);
        rig.expect(&connection.says(ACK).source_mac([2, 9, 9, 9, 9, 9]), Reason::ToBackend);
        rig.expect(&connection.answers(ACK), Reason::ToClient);
    }),
    ("answers that follow routes go to the router that is there now", |rig| {
        let router = Ipv4Addr::new(10, 1, 0, 254);
        let connection = rig.establish(Tcp, client(1), ROUTED);
        rig.assert_works(&connection);
        let default = ReplyRoute { network: Ipv4Addr::UNSPECIFIED, length: 0, router: Some(router) };
        let near = ReplyRoute { network: Ipv4Addr::new(192, 0, 3, 0), length: 24, router: None };
        rig.balancer().set_reply_routes(vec![default, near]);
        let (first, second) = ([2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]);
        rig.set_next_hop(router, first);
        let routed = rig.open(Tcp, client(2), ROUTED);
        let answered = |rig: &Rig, flags| rig.send_any(&routed.answers(flags).bytes()).sent[..6].to_vec();
        assert_eq!(answered(rig, SYN | ACK), first);
        // The client's next packet comes by the other router; answers follow the routes.
        rig.send_any(&routed.says(ACK).source_mac(second).bytes());
        assert_eq!(answered(rig, ACK), first);
        rig.set_next_hop(router, second);
        assert_eq!(answered(rig, ACK), second);
        // One that was there before, and one that is near, are answered where they are.
        rig.assert_works(&connection);
        let near = rig.establish(Tcp, client(256), ROUTED);
        rig.assert_works(&near);
        rig.forget();
        rig.balancer().set_reply_routes(Vec::new());
    }),
    ("a SYN that is sent again finds the connection that it made", |rig| {
        let connection = rig.open(Tcp, client(1), WEB);
        for _ in 0..5 {
            let again = rig.expect(&connection.says(SYN), Reason::ToBackend);
            assert_eq!(again.happened(Event::FlowOpened), 0);
        }
        assert_eq!(table::entries(rig.plane()).len(), 2);
        rig.expect(&connection.answers(SYN | ACK), Reason::ToClient);
        rig.assert_works(&connection);
    }),
    ("clients with the same source port get different NAT ports", |rig| {
        let connections: Vec<_> = (0..400).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
        let ends: HashSet<_> = connections.iter().map(|connection| (connection.nat, connection.backend)).collect();
        assert_eq!(ends.len(), connections.len());
        connections.iter().for_each(|connection| rig.assert_works(connection));
    }),
    ("a client that uses its port again after a reset keeps its place", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        rig.expect(&connection.answers(RST), Reason::ToClient);
        rig.expect(&connection.says(SYN), Reason::ToBackend);
        rig.expect(&connection.answers(SYN | ACK), Reason::ToClient);
        rig.assert_works(&connection);
    }),
    ("packets of any size up to 64 kB, in as many buffers as it takes", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        let flow = rig.establish(Udp, client(1), DNS);
        // The first buffer of XDP's test run ends near 3,500 bytes, and the rest are pages; DPDK's hold 2,048 each.
        for size in (3_400..3_560).step_by(8).chain([1_460, 4_096, 8_960, 16_384, 40_001, 65_495]) {
            let payload = vec![0xa5; size];
            rig.expect(&connection.says(ACK).payload(&payload), Reason::ToBackend);
            rig.expect(&connection.answers(ACK).payload(&payload), Reason::ToClient);
            rig.expect(&flow.says(0).payload(&payload), Reason::ToBackend);
        }
        rig.expect(&echo(client(1).ip(), WEB.ip()).payload(&[1; 9_000]), Reason::EchoReply);
    }),
    ("a packet in several buffers that says more than they hold is dropped", |rig| {
        let bytes = tcp(client(1), WEB, SYN).payload(&[0; 9_000]).bytes();
        assert_eq!(rig.send(&bytes[..9_000]).reason, Reason::Malformed);
        // "BIG TCP": more than 64 kB, length 0.
        let huge = patched(&tcp(client(1), WEB, SYN).payload(&[0; 65_000]).padding(4_000), 16, &[0, 0]);
        assert_eq!(rig.send(&huge).reason, Reason::Malformed);
    }),
    ("a connection whose backend is gone is told apart from one that was never there", |rig| {
        let config = rig.config().clone();
        for side in [Side::Client, Side::Backend] {
            let connection = rig.establish(Tcp, client(1), WEB);
            let mut without = config.clone();
            without.services[0].backends.retain(|backend| backend.address != connection.backend.ip());
            rig.apply(&without);
            // Its time is over, but nobody has swept it away yet, when its backend's place is given up.
            loop {
                let now = rig.now();
                let over = Tick::span(IdleTimes::DEFAULT.established) + 1;
                table::stamp(rig.plane(), &table::keys(&connection), now, over);
                rig.balancer().tidy().unwrap();
                if rig.now().tick() == now.tick() {
                    break;
                }
                // The clock has moved on, so they may be swept after all; once more from the start.
                rig.forget();
                rig.apply(&config);
                rig.establish(Tcp, client(1), WEB);
                rig.apply(&without);
            }
            let draft = if side == Side::Client { connection.says(ACK) } else { connection.answers(ACK) };
            rig.expect(&draft, Reason::BackendDown);
            rig.expect(&connection.says(ACK), Reason::FlowMissing);
            rig.open(Tcp, connection.client, WEB);
            rig.apply(&config);
            rig.forget();
        }
    }),
    ("a flow that another CPU opens in the same instant is dropped, and nothing is left of it", |rig| {
        // What the other CPU's half-made flow looks like is planted: its client entry twice, as two CPUs may have them
        // for a moment, and no reply entry. The first is found, and given up for want of a reply entry; the second is
        // in the way of the new one.
        let connection = rig.open(Tcp, client(1), WEB);
        let [Some(entry), Some(reply)] = table::pair(rig.plane(), &connection) else { panic!("two entries") };
        let entries = &rig.plane().flow_table()[entry.bucket].0;
        let (original, copy) = (&entries[entry.slot], &entries[(entry.slot + 1) % entries.len()]);
        copy.addresses.store(original.addresses.load(Relaxed), Relaxed);
        copy.ports.store(original.ports.load(Relaxed), Relaxed);
        copy.peer.store(original.peer.load(Relaxed), Relaxed);
        copy.meta.store(original.meta.load(Relaxed), Relaxed);
        rig.plane().flow_table()[reply.bucket].0[reply.slot].meta.store(0, Relaxed);
        rig.expect(&connection.says(SYN), Reason::FlowContended);
        assert_eq!(table::entries(rig.plane()).len(), 1, "the copy, and no NAT port");
        rig.open(Tcp, client(1), WEB);
        assert_eq!(table::violations(rig.plane()), [""; 0]);
    }),
    ("a place that a CPU has claimed and not yet filled is left alone", |rig| {
        let [key, _] = table::keys(&rig.open(Tcp, client(1), WEB));
        rig.forget();
        let (index, bucket) = table::bucket(rig.plane(), key);
        bucket.0.iter().for_each(|entry| entry.meta.store(1, Relaxed));
        // The reply entry may want the same bucket; then no other port helps the client entry either.
        rig.expect(&tcp(client(1), WEB, SYN), Reason::FlowTableFull);
        assert!(rig.plane().flow_table()[index].0.iter().all(|entry| entry.meta.load(Relaxed) == 1));
    }),
    ("an answer whose client's neighbour is not known any more is dropped, until the client speaks again", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        rig.plane().hops().iter().for_each(|hop| hop.store(0, Relaxed));
        rig.expect(&connection.answers(ACK), Reason::ClientUnresolved);
        rig.expect(&connection.says(ACK), Reason::ToBackend);
        rig.assert_works(&connection);
    }),
    ("where every hop is in use a client behind a new one is dropped, and nothing is left of it", |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        // What connections that were established just now have left: a neighbour, proved, renewed now.
        let now = u64::from(rig.now().tick().0 >> 8) << 56;
        for hop in rig.plane().hops().iter().filter(|hop| hop.load(Relaxed) == 0) {
            hop.store(0x99 | 1 << 55 | now, Relaxed);
        }
        rig.expect(&tcp(client(2), WEB, SYN).source_mac([2, 7, 7, 7, 7, 7]), Reason::HopTableFull);
        assert_eq!(table::entries(rig.plane()).len(), 2);
        rig.establish(Tcp, client(3), WEB);
        rig.assert_works(&connection);
    }),
    ("packets and bytes are counted for the backend, by side", |rig| {
        let connection = rig.establish(Udp, client(1), DNS);
        let [Some(entry), _] = table::pair(rig.plane(), &connection) else { panic!("an entry") };
        let before = rig.plane().traffic(entry.backend.index).unwrap();
        let (says, answers) = (connection.says(0).payload(&[0; 100]), connection.answers(0).payload(&[0; 300]));
        rig.expect(&says, Reason::ToBackend);
        rig.expect(&answers, Reason::ToClient);
        rig.expect(&answers.padding(9), Reason::ToClient);
        let after = rig.plane().traffic(entry.backend.index).unwrap();
        let [client_packets, client_bytes] =
            [after.client_packets - before.client_packets, after.client_bytes - before.client_bytes];
        let [backend_packets, backend_bytes] =
            [after.backend_packets - before.backend_packets, after.backend_bytes - before.backend_bytes];
        assert_eq!((client_packets, client_bytes, backend_packets, backend_bytes), (1, 142, 2, 684));
    }),
];

/// One backend a service, four NAT ports.
const FEW_PORTS_FIXTURES: &[Fixture] = &[
    ("when no NAT port is left the flow is dropped, and nothing is left of it", |rig| {
        let connections: Vec<_> = (0..4).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
        let ports: HashSet<_> = connections.iter().map(|connection| connection.nat.port()).collect();
        assert_eq!(ports, HashSet::from([20_000, 20_001, 20_002, 20_003]));
        for n in 10..20 {
            let refused = rig.expect(&tcp(client(n), WEB, SYN), Reason::NatPortsExhausted);
            assert_eq!(refused.happened(Event::PortCollision), u64::from(PORT_TRIES));
        }
        assert_eq!(table::entries(rig.plane()).len(), 8);
        connections.iter().for_each(|connection| rig.assert_works(connection));
    }),
    ("the same NAT port serves towards another backend port, and for the other protocol", |rig| {
        for n in 0..4 {
            rig.establish(Tcp, client(n), WEB);
            rig.establish(Tcp, client(n), STICKY);
            rig.establish(Udp, client(n), DNS);
            rig.establish(Udp, client(n), ANY);
        }
        assert_eq!(table::entries(rig.plane()).len(), 32);
        assert_eq!(table::violations(rig.plane()), [""; 0]);
    }),
    ("a NAT port is free again when its connection's time is over", |rig| {
        let connections: Vec<_> = (0..4).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
        rig.expect(&tcp(client(9), WEB, SYN), Reason::NatPortsExhausted);
        rig.close(&connections[0]);
        rig.expect(&tcp(client(9), WEB, SYN), Reason::NatPortsExhausted);
        let over = Tick::span(IdleTimes::DEFAULT.closing) + 2;
        table::stamp(rig.plane(), &table::keys(&connections[0]), rig.now(), over);
        let heir = rig.establish(Tcp, client(9), WEB);
        assert_eq!(heir.nat, connections[0].nat);
        rig.expect(&connections[0].says(ACK), Reason::FlowMissing);
        rig.assert_works(&heir);
    }),
    (
        "a finished connection gives up its port a second later, and what its backend still sends reaches nobody",
        |rig| {
            let connections: Vec<_> = (0..4).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
            rig.close(&connections[2]);
            rig.expect(&tcp(client(9), WEB, SYN), Reason::NatPortsExhausted);
            table::stamp(rig.plane(), &table::keys(&connections[2]), rig.now(), 1);
            let taken = rig.send(&tcp(client(9), WEB, SYN).bytes());
            assert_eq!((taken.reason, taken.happened(Event::PortTakenOver)), (Reason::ToBackend, 1));
            let heir = rig.known(Tcp, client(9), WEB);
            assert_eq!(heir.nat, connections[2].nat);
            // The former client finds its connection gone.
            rig.expect(&connections[2].says(ACK), Reason::FlowMissing);
            // An answer to another SYN, data, a FIN: each is answered by the reset that its sender will believe.
            for flags in [SYN | ACK, ACK, FIN | ACK] {
                let stale = heir.answers(flags).numbers(7_000, 8_000);
                let answer = rig.expect(&stale, Reason::ResetStale);
                let Transport::Tcp(reset) = Packet::of(&answer.sent).unwrap().transport else { panic!("no segment") };
                assert_eq!((reset.sequence_number, reset.rst, reset.ack), (8_000, true, false));
            }
            rig.expect(&heir.answers(RST).numbers(7_000, 8_000), Reason::FlowMissing);
            rig.expect(&heir.answers(SYN | ACK), Reason::ToClient);
            rig.expect(&heir.says(ACK), Reason::ToBackend);
            assert_eq!(table::states(rig.plane(), &heir), [State::Established; 2]);
            assert_eq!(table::violations(rig.plane()), [""; 0]);
        },
    ),
    ("half-open connections give up their ports, the oldest first, and established ones never", |rig| {
        let kept: Vec<_> = (0..2).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
        let half_open: Vec<_> = (2..4).map(|n| rig.open(Tcp, client(n), WEB)).collect();
        table::stamp(rig.plane(), &table::keys(&half_open[1]), rig.now(), 2);
        table::stamp(rig.plane(), &table::keys(&half_open[0]), rig.now(), 1);
        assert_eq!(rig.open(Tcp, client(9), WEB).nat, half_open[1].nat);
        assert_eq!(rig.open(Tcp, client(10), WEB).nat, half_open[0].nat);
        kept.iter().for_each(|connection| rig.assert_works(connection));
        assert_eq!(table::violations(rig.plane()), [""; 0]);
    }),
    ("a backend that is down resets what it has, if that is wanted", |rig| {
        let config = rig.config().clone();
        for is_from_client in [true, false] {
            let connection = rig.establish(Tcp, client(1), WEB);
            let down = |_: &_, _: &_| (BackendState::Resetting, Standing::default());
            rig.balancer().apply_with(&config, down).unwrap();
            let [one, other] = [connection.says(ACK), connection.answers(ACK)];
            let (first, then) = if is_from_client { (one, other) } else { (other, one) };
            rig.expect(&first, Reason::ResetDown);
            // The flow has ended, so the other side is told as whoever has no connection is.
            assert_ne!(rig.reason(&then), Reason::ToBackend);
            assert!(table::entries(rig.plane()).is_empty());
            rig.apply(&config);
        }
    }),
];

/// 16 buckets.
const SMALL_TABLE_FIXTURES: &[Fixture] = &[
    ("a full table refuses new flows and keeps every connection", |rig| {
        let mut connections = Vec::new();
        let full = (0..1000).find(|&n| {
            let reason = rig.reason(&tcp(client(n), WEB, SYN));
            if reason == Reason::ToBackend {
                let connection = rig.known(Tcp, client(n), WEB);
                rig.expect(&connection.answers(SYN | ACK), Reason::ToClient);
                rig.expect(&connection.says(ACK), Reason::ToBackend);
                connections.push(connection);
            }
            reason == Reason::FlowTableFull
        });
        assert!(full.is_some() && connections.len() > 20, "{} connections", connections.len());
        connections.iter().for_each(|connection| rig.assert_works(connection));
        assert_eq!(table::violations(rig.plane()), [""; 0]);
    }),
    ("a flood evicts half-open flows, the oldest first, and no connection", |rig| {
        let connections: Vec<_> = (0..20).map(|n| rig.establish(Tcp, client(n), WEB)).collect();
        let evicted: u64 =
            (100..1100).map(|n| rig.send(&tcp(client(n), WEB, SYN).bytes()).happened(Event::HalfOpenEvicted)).sum();
        assert!(evicted > 500, "{evicted} evicted");
        connections.iter().for_each(|connection| rig.assert_works(connection));
        assert_eq!(table::violations(rig.plane()), [""; 0]);
    }),
];

/// Nothing is said unasked.
const SILENT_FIXTURES: &[Fixture] = &[
    ("what is for a port of ours without a service is dropped", |rig| {
        for to in [at(WEB.ip(), 79), at(NAT[0], 20_000)] {
            for flags in [SYN, ACK, RST] {
                rig.expect(&tcp(client(1), to, flags), Reason::Unserved);
            }
            rig.expect(&udp(client(1), to), Reason::Unserved);
        }
        rig.expect(&tcp(client(1), WEB, SYN).protocol(47), Reason::Unserved);
    }),
    ("whose time to live ends here is not told", |rig| {
        rig.expect(&tcp(client(1), WEB, SYN).ttl(1), Reason::TtlExpired);
        let connection = rig.establish(Tcp, client(1), WEB);
        rig.expect(&connection.says(ACK).ttl(1), Reason::TtlExpired);
        rig.expect(&connection.answers(ACK).ttl(1), Reason::TtlExpired);
    }),
];

/// Tells the plane that the host has these addresses as well, if there is a host behind it.
fn tell_of_host(rig: &mut Rig, addresses: &[Ipv4Addr]) -> bool {
    let PlaneUnderTest::Xdp(plane) = rig.balancer().plane_mut() else { return false };
    plane.set_host_addresses(addresses.iter().map(|&address| address.into()).collect()).unwrap();
    true
}

fn udp_checksum(bytes: &[u8]) -> u16 {
    match Packet::of(bytes).unwrap().transport {
        Transport::Udp(header) => header.checksum,
        other => panic!("no UDP: {other:?}"),
    }
}

/// The packet with some bytes written over.
fn patched(draft: &Draft, at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = draft.bytes();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// An address that is not ours, but has the bit of one of ours in the filter that keeps other traffic out early.
fn looks_like_ours(rig: &Rig) -> IpAddr {
    let ours = match rig.config().services[0].address {
        IpAddr::V4(ours) => ours,
        IpAddr::V6(ours) => panic!("{ours} is of the other family"),
    };
    let bit = hash::filter_bit(ours.into());
    let mut others = (0x0b00_0000..0x0bff_ffff_u32).map(Ipv4Addr::from);
    others.find(|&other| hash::filter_bit(other.into()) == bit).unwrap().into()
}

/// Plays every fixture of a scene, each on an empty flow table, and adds what was counted.
fn play(on: On, setup: Setup, fixtures: &[Fixture], counted: &Mutex<[u64; 64]>) -> Vec<&'static str> {
    let mut failed = Vec::new();
    trial(on, setup, |rig| {
        assert_eq!(rig.plane().settings().mac.0, OUR_MAC);
        for (shows, packets) in fixtures {
            rig.forget();
            if catch_unwind(AssertUnwindSafe(|| packets(rig))).is_err() {
                failed.push(*shows);
            }
        }
        let mut counted = counted.lock().unwrap();
        counted.iter_mut().zip(rig.counters().verdicts).for_each(|(sum, count)| *sum += count);
    });
    failed
}

fn every_fixture_comes_out_as_it_should_and_every_reason_is_given(on: On) {
    let small = scenes::one_backend(scenes::rich());
    let few_ports = Setup::new(scenes::one_backend(scenes::few_ports(20_000, 20_003)), 256);
    let mut silent = scenes::rich();
    silent.dataplane.unserved = Unserved::Drop;
    let scenes = [
        (Setup::new(evenkeel_control::walkthrough(), 1024), WALKTHROUGH_FIXTURES),
        (Setup::new(scenes::rich(), 4096), RICH_FIXTURES),
        (Setup { features: Features::ALL, ..few_ports }, FEW_PORTS_FIXTURES),
        (Setup::new(small, 1), SMALL_TABLE_FIXTURES),
        (Setup::new(silent, 64), SILENT_FIXTURES),
    ];
    let counted = Mutex::new([0; 64]);
    let played = thread::scope(|scope| {
        let counted = &counted;
        let play = |(setup, fixtures)| scope.spawn(move || play(on, setup, fixtures, counted));
        let scenes: Vec<_> = scenes.into_iter().map(play).collect();
        scenes.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let failed: Vec<_> = played.iter().flatten().flatten().collect();
    assert!(failed.is_empty(), "these did not: {failed:#?}");
    assert!(played.iter().all(Result::is_ok), "a scene as a whole failed");
    let counted = counted.into_inner().unwrap();
    if counted.iter().sum::<u64>() == 0 {
        return; // Skipped, and said so.
    }
    // Where a station is missing is shown in `stations`. There is no kernel behind DPDK.
    let kernels = [Reason::NoService, Reason::CheckAnswer, Reason::NotTcpUdp];
    let expected = Reason::ALL.iter().filter(|&&reason| reason != Reason::StationMissing);
    let expected = expected.filter(|reason| on == On::Xdp || !kernels.contains(reason));
    let missing: Vec<_> =
        expected.filter(|&&reason| counted[reason as usize] == 0).map(|reason| reason.name()).collect();
    assert!(missing.is_empty(), "these reasons were never given: {missing:?}");
}

on_both_planes!(every_fixture_comes_out_as_it_should_and_every_reason_is_given);
