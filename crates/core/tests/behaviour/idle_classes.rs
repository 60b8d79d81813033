//! Idle times by service.

use crate::support::*;
use evenkeel_core::flow::{IDLE_CLASSES, IdleTimes, Now, State, Tick, Timeouts};
use evenkeel_core::{Reason, Service};
use evenkeel_wire::IpProtocol;

/// A second service, by the same backends.
const OTHER: SocketAddr = end([10, 0, 0, 20], 80);

const SHORT: IdleTimes = IdleTimes {
    opening: 5_000,
    answered: 10_000,
    established: 100_000,
    half_closed: 40_000,
    closing: 3_000,
    udp_opening: 2_000,
    udp_answered: 6_000,
    udp_established: 30_000,
};

/// The web service's connections are of class 2, the other one's of class 7; nobody has the times of the rest.
fn two_classes() -> MemoryPlane {
    let mut plane: MemoryPlane = scene(256);
    let nobodys = IdleTimes { opening: 0, answered: 0, established: 0, half_closed: 0, closing: 0, ..SHORT };
    let mut sets = [nobodys; IDLE_CLASSES];
    (sets[2], sets[7]) = (SHORT, IdleTimes::DEFAULT);
    plane.settings.timeouts = Timeouts::new(&sets);
    for (service, table, idle) in [(WEB, TABLE as u32, 2), (OTHER, 1, 7)] {
        for protocol in [IpProtocol::TCP, IpProtocol::UDP] {
            plane.add_service(
                service.ip(),
                service.port(),
                protocol,
                Service { table, flags: Service::PLAIN, idle, newcomers: 0 },
            );
        }
    }
    let others = plane.add_backend(H3, OTHER, backend_mac(H3));
    plane.set_maglev(TABLE, &[FIRST]);
    plane.set_maglev(1, &[others]);
    plane
}

/// A connection of either service, brought so far by segments of the client (true) and the backend.
fn bring(
    plane: &MemoryPlane,
    service: SocketAddr,
    from: SocketAddr,
    segments: &[(bool, u8)],
) -> (SocketAddr, SocketAddr) {
    let view = plane.to_backend(&tcp(from, service, SYN));
    for &(is_client, flags) in segments {
        let draft = if is_client { tcp(from, service, flags) } else { tcp(view.to, view.from, flags) };
        plane.send(&draft.payload(b""));
    }
    (view.to, view.from)
}

#[test]
fn connections_of_two_services_expire_each_in_its_time() {
    let fine = |milliseconds| u32::from(Now::span(milliseconds));
    let coarse = |milliseconds| u32::from(Tick::span(milliseconds)) << 6;
    type Case = (State, &'static [(bool, u8)], u32, u32);
    let default = IdleTimes::DEFAULT;
    let cases: [Case; 6] = [
        (State::Opening, &[], fine(SHORT.opening), fine(default.opening)),
        (State::Answered, &[(false, SYN | ACK)], fine(SHORT.answered), fine(default.answered)),
        (
            State::Established,
            &[(false, SYN | ACK), (true, ACK)],
            coarse(SHORT.established),
            coarse(default.established),
        ),
        (
            State::HalfClosed,
            &[(false, SYN | ACK), (true, ACK), (true, FIN | ACK)],
            coarse(SHORT.half_closed),
            coarse(default.half_closed),
        ),
        (
            State::Closing,
            &[(false, SYN | ACK), (true, ACK), (true, FIN | ACK), (false, FIN | ACK)],
            fine(SHORT.closing),
            fine(default.closing),
        ),
        (State::Reset, &[(false, SYN | ACK), (true, ACK), (true, RST)], fine(SHORT.closing), fine(default.closing)),
    ];
    for (state, segments, short, long) in cases {
        let unit = if state.is_coarse() { 64 } else { 1 };
        for from_client in [true, false] {
            for (service, idle) in [(WEB, short), (OTHER, long)] {
                for (units, lives) in [(idle, true), (idle + unit, false)] {
                    let plane = two_classes();
                    let (backend, nat) = bring(&plane, service, client(1), segments);
                    assert!(plane.remembered().iter().all(|entry| entry.meta.state() == state));
                    plane.pass(units);
                    let draft = if from_client { tcp(client(1), service, ACK) } else { tcp(backend, nat, ACK) };
                    let reason = plane.verdict(&draft);
                    assert_eq!(
                        reason != Reason::FlowMissing,
                        lives,
                        "{state:?} of {service:?} after {units}: {reason:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn datagrams_of_two_services_expire_each_in_its_time() {
    for (service, idle) in [(WEB, SHORT), (OTHER, IdleTimes::DEFAULT)] {
        let times = [
            Now::span(idle.udp_opening).into(),
            Now::span(idle.udp_answered).into(),
            u32::from(Tick::span(idle.udp_established)) << 6,
        ];
        for (steps, time) in (0..).zip(times) {
            for (units, lives) in [(time, true), (time + if steps == 2 { 64 } else { 1 }, false)] {
                let plane = two_classes();
                let view = plane.to_backend(&udp(client(1), service));
                if steps > 0 {
                    plane.to_client(&udp(view.to, view.from));
                }
                if steps > 1 {
                    plane.pass(128);
                    plane.to_backend(&udp(client(1), service));
                }
                plane.pass(units);
                let reason = plane.verdict(&udp(view.to, view.from));
                assert_eq!(reason == Reason::ToClient, lives, "step {steps} of {service:?} after {units}");
            }
        }
    }
}

/// A short-lived service's connections are swept while a long-lived one's stay.
#[test]
fn each_is_swept_in_its_time() {
    let plane = two_classes();
    let established = [(false, SYN | ACK), (true, ACK)];
    bring(&plane, WEB, client(1), &established);
    bring(&plane, OTHER, client(2), &established);
    plane.pass((u32::from(Tick::span(SHORT.established)) + 2) << 6);
    plane.sweep();
    let left: Vec<_> = plane.remembered().iter().map(|entry| entry.backend.index).collect();
    assert_eq!(left, [2, 2]);
}
