//! What is for one of our addresses and for nobody there: refused, dropped or left to the host's kernel, and how often.

use crate::support::*;
use evenkeel_core::{Features, Ours, Reason, Service};
use evenkeel_packets::{Icmp, Packet, icmp};
use evenkeel_wire::IpProtocol;
use std::rc::Rc;

/// Ports of ours that nobody serves.
const UNSERVED: [SocketAddr; 2] = [end([10, 0, 0, 10], 81), end([10, 0, 0, 12], 10_000)];
/// Answers that may be given at once, and in a unit of time.
const AT_ONCE: usize = 50;
const EACH_UNIT: usize = 17;
/// What one answer takes of the word that counts them.
const ONE: u64 = 256;

/// The scene, at addresses that nobody has but us.
fn alone() -> MemoryPlane {
    let mut plane = scene(64);
    plane.ours = Ours::ALONE;
    plane.settings.refuses = 1;
    plane
}

/// What is sent because of a packet.
#[track_caller]
fn answered(plane: &MemoryPlane, draft: &Draft, reason: Reason) -> Vec<u8> {
    let mut bytes = draft.bytes();
    assert_eq!(plane.process(&mut bytes), reason, "{draft:?}");
    bytes
}

/// Every way in which a packet can be dressed that leaves it what it is.
fn dressed(draft: &Draft) -> [Draft; 6] {
    let plain = || draft.clone();
    [
        plain(),
        plain().payload(b""),
        plain().payload(&[7; 1400]),
        plain().padding(18),
        plain().tag(VLAN, 7).options(&[1; 40]),
        plain().tag(SERVICE_VLAN, 7).tag(VLAN, 8).traffic_class(46, 1),
    ]
}

#[test]
fn a_segment_for_nobody_is_answered_by_a_reset() {
    for to in UNSERVED {
        for flags in [SYN, ACK, FIN | ACK, SYN | ACK, FIN, 0] {
            let plane = alone();
            for draft in dressed(&tcp(client(1), to, flags)) {
                let expected = Packet::of(&draft.bytes()).unwrap().reset().bytes();
                assert_eq!(answered(&plane, &draft, Reason::UnservedRefused), expected, "{draft:?}");
            }
        }
    }
}

#[test]
fn a_datagram_for_nobody_is_answered_by_port_unreachable() {
    for to in UNSERVED {
        let plane = alone();
        for draft in dressed(&udp(client(1), to)) {
            let expected = Packet::of(&draft.bytes()).unwrap().unreachable().bytes();
            let message = answered(&plane, &draft, Reason::UnservedRefused);
            assert_eq!(message, expected, "{draft:?}");
            assert_eq!(View::of(&message).from.ip(), to.ip());
        }
    }
}

#[test]
fn whose_time_to_live_ends_here_is_told() {
    let plane = alone();
    let (tcp_flow, udp_flow) = (plane.establish(client(1)), plane.open_udp(client(1)));
    let new = at(client(2).ip(), 50_000);
    for draft in [
        tcp_flow.says(ACK),
        tcp_flow.answers(ACK),
        udp_flow.asks_by_udp(),
        udp_flow.answers_by_udp(),
        tcp(new, WEB, SYN),
        udp(new, DNS),
    ] {
        for ttl in [0, 1] {
            let plane = &plane;
            plane.allowance.store(0, std::sync::atomic::Ordering::Relaxed);
            for draft in dressed(&draft).map(|draft| draft.ttl(ttl)) {
                let expected = Packet::of(&draft.bytes()).unwrap().time_exceeded().bytes();
                assert_eq!(answered(plane, &draft, Reason::TimeExceeded), expected, "{draft:?}");
            }
        }
    }
    plane.assert_works(&tcp_flow);
    assert_eq!(plane.remembered().len(), 4, "nothing was opened");
}

/// A segment of a live connection must not be mistaken for one of none, whatever it lacks.
#[test]
fn a_segment_that_ends_its_life_here_does_not_reset_its_connection() {
    let mut plane = alone();
    let connection = plane.establish(client(1));
    let service = Service { table: TABLE as u32, flags: Service::MISSING_RESET, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    assert_eq!(plane.verdict(&connection.says(ACK).ttl(1)), Reason::TimeExceeded);
    plane.settings.refuses = 0;
    assert_eq!(plane.verdict(&connection.says(ACK).ttl(1)), Reason::TtlExpired);
}

#[test]
fn nothing_is_said_where_the_file_says_so() {
    let mut silent = alone();
    silent.settings.refuses = 0;
    let mut incapable = alone();
    incapable.features = Features::NONE;
    for plane in [silent, incapable] {
        for to in UNSERVED {
            assert_eq!(plane.verdict(&tcp(client(1), to, SYN)), Reason::Unserved);
            assert_eq!(plane.verdict(&tcp(client(1), to, ACK)), Reason::Unserved);
            assert_eq!(plane.verdict(&udp(client(1), to)), Reason::Unserved);
        }
        let connection = plane.establish(client(1));
        assert_eq!(plane.verdict(&connection.says(ACK).ttl(1)), Reason::TtlExpired);
        assert_eq!(plane.verdict(&tcp(client(2), WEB, SYN).ttl(1)), Reason::TtlExpired);
    }
}

#[test]
fn what_must_not_be_answered_is_not() {
    let plane = alone();
    for to in UNSERVED {
        for flags in [RST, RST | ACK, RST | SYN] {
            assert_eq!(plane.verdict(&tcp(client(1), to, flags)), Reason::Unserved);
        }
        for (nobody, reason) in [
            (end([224, 0, 0, 1], 5), Reason::MartianSource),
            (end([255; 4], 5), Reason::MartianSource),
            (end([0; 4], 5), Reason::MartianSource),
            (end([127, 0, 0, 1], 5), Reason::MartianSource),
            (at(NAT, 5), Reason::OwnSource),
            (WEB, Reason::OwnSource),
        ] {
            for draft in [tcp(nobody, to, SYN), udp(nobody, to), tcp(nobody, to, ACK)] {
                assert_eq!(plane.verdict(&draft), reason, "{draft:?}");
            }
        }
        for (offset, more) in [(0, true), (10, true), (10, false)] {
            assert_eq!(plane.verdict(&udp(client(1), to).fragment(offset, more)), Reason::Fragment);
        }
        for message in [Icmp::Reply, Icmp::Unreachable] {
            assert_eq!(plane.verdict(&icmp(client(1).ip(), to.ip(), message)), Reason::Unserved);
        }
        for protocol in [2, 4, 41, 47, 50, 132, 255] {
            assert_eq!(plane.verdict(&tcp(client(1), to, SYN).protocol(protocol)), Reason::Unserved);
        }
    }
    assert_eq!(plane.verdict(&tcp(end([224, 0, 0, 1], 5), WEB, SYN).ttl(1)), Reason::MartianSource);
    assert_eq!(plane.verdict(&udp(at(NAT, 5), DNS).ttl(1)), Reason::OwnSource);
}

#[test]
fn an_echo_request_is_answered_wherever_the_address_is() {
    assert_eq!(alone().verdict(&echo(client(1).ip(), WEB.ip())), Reason::EchoReply);
    assert_eq!(alone().verdict(&echo(client(1).ip(), NAT).ttl(1)), Reason::EchoReply);
}

#[test]
fn what_is_the_hosts_is_left_to_its_kernel() {
    let mut plane = alone();
    plane.ours = Ours::HOSTS;
    for to in UNSERVED {
        for draft in [tcp(client(1), to, SYN), tcp(client(1), to, ACK), tcp(client(1), to, RST), udp(client(1), to)] {
            assert_eq!(plane.verdict(&draft), Reason::NoService);
            assert_eq!(plane.verdict(&draft.ttl(1)), Reason::NoService);
        }
        assert_eq!(plane.verdict(&tcp(client(1), to, SYN).protocol(2)), Reason::NotTcpUdp);
        assert_eq!(plane.verdict(&icmp(client(1).ip(), to.ip(), Icmp::Unreachable)), Reason::NotTcpUdp);
    }
}

#[test]
fn what_only_looks_like_ours_is_passed() {
    // The plane's filter takes it for ours; see `MemoryPlane`.
    let other = end([10, 0, 0, 98], 81);
    for draft in [tcp(client(1), other, SYN), tcp(client(1), other, ACK), udp(client(1), other)] {
        assert_eq!(alone().verdict(&draft), Reason::NotOurs);
        assert_eq!(alone().verdict(&draft.clone().ttl(1)), Reason::NotOurs);
        assert_eq!(alone().verdict(&draft.protocol(47)), Reason::NotOurs);
    }
}

#[test]
fn what_is_said_unasked_is_limited_and_all_of_it_together() {
    let plane = alone();
    let connection = plane.establish(client(1));
    let kinds = [tcp(client(2), UNSERVED[0], SYN), udp(client(2), UNSERVED[1]), connection.says(ACK).ttl(1)];
    let flood = |count: usize| {
        let verdicts = (0..count).map(|n| plane.verdict(&kinds[n % kinds.len()]));
        let limited = verdicts.filter(|verdict| *verdict == Reason::AnswerLimit).count();
        count - limited
    };
    assert_eq!(flood(300), AT_ONCE);
    assert_eq!(flood(300), 0);
    plane.pass(1);
    assert_eq!(flood(300), EACH_UNIT);
    plane.pass(2);
    assert_eq!(flood(300), 2 * EACH_UNIT);
    plane.pass(1000);
    assert_eq!(flood(300), AT_ONCE);
    // Whatever else goes on.
    assert_eq!(plane.verdict(&echo(client(1).ip(), WEB.ip())), Reason::EchoReply);
    plane.assert_works(&connection);
}

#[test]
fn a_second_of_silence_is_enough_and_a_clock_that_goes_back_gives_nothing() {
    let plane = alone();
    let ask = |plane: &MemoryPlane| plane.verdict(&udp(client(1), UNSERVED[0]));
    let now = plane.time().0;
    let word = |time: u32, left: u64| u64::from(time) << 32 | (left * ONE);
    let set = |word| plane.allowance.store(word, std::sync::atomic::Ordering::Relaxed);
    // Another CPU's clock, a moment ahead.
    for ahead in [1, 2, 60] {
        set(word(now + ahead, 0));
        assert_eq!(ask(&plane), Reason::AnswerLimit);
        set(word(now + ahead, 1));
        assert_eq!(ask(&plane), Reason::UnservedRefused);
        assert_eq!(ask(&plane), Reason::AnswerLimit);
    }
    // Years ago, also where the time has begun anew since.
    for ago in [1, 1 << 20, 1 << 31, u32::MAX - 1000] {
        set(word(now.wrapping_sub(ago), 0));
        assert_eq!(ask(&plane), Reason::UnservedRefused, "{ago}");
    }
}

#[test]
fn two_cpus_do_not_both_take_the_last_answer() {
    let ask = udp(client(1), UNSERVED[0]);
    for at in 0.. {
        let mut plane: MemoryPlane<Interposed> = scene(1);
        (plane.ours, plane.settings.refuses) = (Ours::ALONE, 1);
        plane.allowance = Interposed::from(u64::from(plane.time().0) << 32 | ONE);
        let shared = Rc::new(plane);
        let (other, again) = (Rc::clone(&shared), ask.clone());
        let interrupted = interrupt(at, move || drop(other.send(&again)), || _ = shared.verdict(&ask));
        let asked = if interrupted { 2 } else { 1 };
        assert_eq!(shared.counted(Reason::UnservedRefused), 1, "{at}");
        assert_eq!(shared.counted(Reason::AnswerLimit), asked - 1, "{at}");
        if !interrupted {
            break;
        }
    }
}

/// A service that answers what it does not know.
fn on_missing_reset(plane: &mut MemoryPlane) {
    let service = Service { table: TABLE as u32, flags: Service::MISSING_RESET, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
}

#[test]
fn a_segment_of_no_connection_is_answered_by_a_reset_where_the_service_wants_it() {
    let mut plane = alone();
    on_missing_reset(&mut plane);
    // As often as it comes.
    for flags in [ACK, FIN | ACK, SYN | ACK, FIN, 0, SYN | FIN].into_iter().cycle().take(200) {
        let draft = tcp(client(1), WEB, flags);
        let expected = Packet::of(&draft.bytes()).unwrap().reset().bytes();
        assert_eq!(answered(&plane, &draft, Reason::ResetMissing), expected, "{flags:#x}");
    }
    for draft in dressed(&tcp(client(1), WEB, ACK)) {
        let expected = Packet::of(&draft.bytes()).unwrap().reset().bytes();
        assert_eq!(answered(&plane, &draft, Reason::ResetMissing), expected, "{draft:?}");
    }
    for flags in [RST, RST | ACK] {
        assert_eq!(plane.verdict(&tcp(client(1), WEB, flags)), Reason::FlowMissing);
    }
    assert_eq!(plane.verdict(&tcp(at(NAT, 5), WEB, ACK)), Reason::OwnSource);
    assert!(plane.remembered().is_empty());
    let connection = plane.establish(client(1));
    plane.assert_works(&connection);
    plane.features = Features(Features::ALL.0 & !Features::RESET.0);
    assert_eq!(plane.verdict(&tcp(client(2), WEB, ACK)), Reason::FlowMissing);
}

#[test]
fn other_services_drop_it() {
    let mut plane = alone();
    let service = Service { table: TABLE as u32, flags: Service::RESET, idle: 0, newcomers: 0 };
    for service in [Service { flags: Service::PLAIN, ..service }, service] {
        plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
        assert_eq!(plane.verdict(&tcp(client(1), WEB, ACK)), Reason::FlowMissing);
    }
}

/// The walk-through's service, for any port, at an address from which the host asks backends.
#[test]
fn an_answer_to_the_hosts_own_question_reaches_its_kernel() {
    let mut plane = alone();
    plane.ours = Ours::HOSTS;
    let any = Service { table: TABLE as u32, flags: Service::MISSING_RESET, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), 0, IpProtocol::TCP, any);
    let answer = |port| tcp(H2, at(WEB.ip(), port), SYN | ACK);
    assert_eq!(plane.verdict(&answer(60_000)), Reason::ResetMissing);
    (plane.settings.check_port_first, plane.settings.check_port_last) = (60_000, 60_099);
    for (port, reason) in [
        (59_999, Reason::ResetMissing),
        (60_000, Reason::CheckAnswer),
        (60_099, Reason::CheckAnswer),
        (60_100, Reason::ResetMissing),
    ] {
        assert_eq!(plane.verdict(&answer(port)), reason, "{port}");
        assert_eq!(
            plane.verdict(&tcp(H2, at(WEB.ip(), port), RST)),
            if reason == Reason::CheckAnswer { reason } else { Reason::FlowMissing }
        );
        // A client may ask for any port.
        assert_eq!(plane.verdict(&tcp(client(1), at(WEB.ip(), port), SYN)), Reason::ToBackend);
    }
    // And so it does where no service is.
    for (port, reason) in [(59_999, Reason::NoService), (60_000, Reason::CheckAnswer), (60_099, Reason::CheckAnswer)] {
        assert_eq!(plane.verdict(&tcp(H2, at(NAT, port), SYN | ACK)), reason, "{port}");
        assert_eq!(plane.verdict(&udp(H2, at(NAT, port))), reason, "{port}");
    }
    // Elsewhere nobody has asked.
    plane.ours = Ours::ALONE;
    assert_eq!(plane.verdict(&answer(60_000)), Reason::ResetMissing);
}
