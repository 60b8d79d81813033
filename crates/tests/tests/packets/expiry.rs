//! Connections and time. The tests do not wait: they set back the stamps in the flow table.

use evenkeel_control::Plane;
use evenkeel_control::config::Protocol::{self, Tcp, Udp};
use evenkeel_core::flow::{IdleTimes, State, Tick};
use evenkeel_core::{Event, Reason};
use evenkeel_packets::{ACK, FIN, PSH, RST, SYN};
use evenkeel_tests::on_both_planes;
use evenkeel_tests::program::scenes::{DNS, WEB, client};
use evenkeel_tests::program::{Connection, On, PlaneUnderTest, Rig, Setup, scenes, table, trial};
use std::time::Duration;

const TIMES: IdleTimes = IdleTimes::DEFAULT;

/// A connection in each state that it can be in, and the idle time that goes with it.
const STATES: &[(State, Protocol, u16)] = &[
    (State::Opening, Tcp, Tick::span(TIMES.opening)),
    (State::Opening, Udp, Tick::span(TIMES.udp_opening)),
    (State::Answered, Tcp, Tick::span(TIMES.answered)),
    (State::Answered, Udp, Tick::span(TIMES.udp_answered)),
    (State::Established, Tcp, Tick::span(TIMES.established)),
    (State::Established, Udp, Tick::span(TIMES.udp_established)),
    (State::HalfClosed, Tcp, Tick::span(TIMES.half_closed)),
    (State::Closing, Tcp, Tick::span(TIMES.closing)),
    (State::Reset, Tcp, Tick::span(TIMES.closing)),
];

fn bring(rig: &mut Rig, state: State, protocol: Protocol) -> Connection {
    let service = if protocol == Tcp { WEB } else { DNS };
    let connection = rig.open(protocol, client(1), service);
    if state != State::Opening {
        rig.expect(&connection.answers(SYN | ACK), Reason::ToClient);
    }
    if !matches!(state, State::Opening | State::Answered) {
        // A client whose datagrams go on for a while after the answer.
        if protocol == Udp {
            idle(rig, &connection, 3);
        }
        rig.expect(&connection.says(ACK), Reason::ToBackend);
    }
    match state {
        State::Closing => rig.close(&connection),
        State::HalfClosed => _ = rig.expect(&connection.says(FIN | ACK), Reason::ToBackend),
        State::Reset => _ = rig.expect(&connection.says(RST), Reason::ToBackend),
        _ => {}
    }
    assert_eq!(table::states(rig.plane(), &connection), [state; 2]);
    connection
}

/// Makes the connection look idle for so long.
fn idle(rig: &Rig, connection: &Connection, ticks: u16) {
    table::stamp(rig.plane(), &table::keys(connection), rig.now(), ticks);
}

/// The last whole tick in which the connection is alive.
fn last(state: State, time: u16) -> u16 {
    if state.is_coarse() { time } else { time - 1 }
}

fn connections_live_and_end_by_their_idle_time(on: On) {
    trial(on, Setup::new(scenes::rich(), 64), |rig| {
        for &(state, protocol, time) in STATES {
            // The last ticks: the clock may move on by one meanwhile.
            rig.forget();
            let connection = bring(rig, state, protocol);
            idle(rig, &connection, time - 1);
            rig.expect(&connection.answers(ACK), Reason::ToClient);
            idle(rig, &connection, time - 1);
            let alive = rig.expect(&connection.says(ACK), Reason::ToBackend);
            assert_eq!(alive.happened(Event::FlowOpened), 0, "{state:?} {protocol:?}");

            // Over: the backend's packets are dropped or passed, the client's open something new or are dropped.
            rig.forget();
            let connection = bring(rig, state, protocol);
            idle(rig, &connection, time + 1);
            rig.expect(&connection.answers(ACK), Reason::FlowMissing);

            rig.forget();
            let connection = bring(rig, state, protocol);
            idle(rig, &connection, time + 1);
            if protocol == Tcp {
                rig.expect(&connection.says(ACK), Reason::FlowMissing);
                rig.expect(&connection.says(RST), Reason::FlowMissing);
            }
            rig.open(protocol, connection.client, connection.service);
            assert_eq!(table::violations(rig.plane()), [""; 0], "{state:?} {protocol:?}");
        }
    });
}

fn one_direction_alone_keeps_both_entries_alive(on: On) {
    trial(on, Setup::new(scenes::rich(), 64), |rig| {
        for &(state, protocol, time) in STATES {
            for from_client in [true, false] {
                if !is_renewed(state, protocol) || !from_client && state == State::Opening {
                    continue;
                }
                rig.forget();
                let connection = bring(rig, state, protocol);
                // Several idle times long.
                for _ in 0..4 {
                    idle(rig, &connection, time - 1);
                    if from_client {
                        rig.expect(&connection.says(ACK), Reason::ToBackend);
                    } else {
                        rig.expect(&connection.answers(ACK), Reason::ToClient);
                    }
                    for entry in table::pair(rig.plane(), &connection) {
                        let idle = entry.unwrap().meta.idle(rig.now());
                        assert!(idle < Duration::from_secs(3), "{state:?} {protocol:?} {from_client}: {idle:?}");
                    }
                }
                rig.assert_works(&connection);
            }
        }
    });
}

/// Whether packets keep it alive in this state.
fn is_renewed(state: State, protocol: Protocol) -> bool {
    protocol == Udp || matches!(state, State::Established | State::HalfClosed)
}

fn nobody_keeps_alive_what_is_not_proved_or_is_over(on: On) {
    trial(on, Setup::new(scenes::rich(), 64), |rig| {
        for &(state, protocol, time) in STATES.iter().filter(|(state, protocol, _)| !is_renewed(*state, *protocol)) {
            rig.forget();
            let connection = bring(rig, state, protocol);
            idle(rig, &connection, time - 2);
            let before = table::words(rig.plane().flow_table());
            let [says, answers] = match state {
                State::Opening => [vec![SYN, ACK, PSH | ACK, FIN | ACK, RST], vec![]],
                State::Answered => [vec![SYN, PSH, FIN, RST], vec![SYN | ACK, ACK]],
                State::Closing => [vec![FIN | ACK, RST], vec![FIN | ACK, RST]],
                _ => [vec![RST], vec![ACK, FIN | ACK]],
            };
            for flags in says {
                rig.expect(&connection.says(flags), Reason::ToBackend);
            }
            for flags in answers {
                rig.expect(&connection.answers(flags), Reason::ToClient);
            }
            assert!(before == table::words(rig.plane().flow_table()), "{state:?}");
        }
    });
}

fn an_established_connection_is_stamped_no_more_often_than_needed(on: On) {
    trial(on, Setup::new(scenes::rich(), 64), |rig| {
        let connection = bring(rig, State::Established, Tcp);
        let renew = rig.plane().settings().timeouts.renew;
        for (ticks, renewed) in [(renew - 2, false), (renew, true)] {
            idle(rig, &connection, ticks);
            let before = table::words(rig.plane().flow_table());
            rig.expect(&connection.says(ACK), Reason::ToBackend);
            let after = table::words(rig.plane().flow_table());
            assert_eq!(before != after, renewed, "{ticks} ticks");
        }
    });
}

fn a_sweep_frees_what_is_over_and_nothing_else(on: On) {
    trial(on, Setup::new(scenes::rich(), 64), |rig| {
        for &(state, protocol, time) in STATES {
            rig.forget();
            let connection = bring(rig, state, protocol);
            // As long as a packet on a CPU whose clock is a tick behind could still use it.
            idle(rig, &connection, last(state, time));
            rig.plane().sweep_flows().unwrap();
            assert_eq!(table::states(rig.plane(), &connection), [state; 2]);
            idle(rig, &connection, time + 2);
            rig.plane().sweep_flows().unwrap();
            assert_eq!(table::states(rig.plane(), &connection), [State::Free; 2]);
        }
        rig.forget();
        let [old, young] = [1, 2].map(|n| rig.establish(Tcp, client(n), WEB));
        idle(rig, &old, Tick::span(TIMES.established) + 2);
        let mut shown = 0;
        rig.plane().visit_flows(&mut |_| shown += 1).unwrap();
        assert_eq!(shown, 1, "what is over is not shown");
        rig.plane().sweep_flows().unwrap();
        assert_eq!(table::entries(rig.plane()).len(), 2);
        rig.assert_works(&young);
    });
}

/// XDP's clock is the kernel's, and goes its own way.
#[test]
fn connections_end_by_the_clock_as_they_do_by_their_stamps() {
    trial(On::Dpdk, Setup::new(scenes::rich(), 64), |rig| {
        let pass = |rig: &Rig, ticks| {
            let PlaneUnderTest::Dpdk(dpdk) = rig.plane() else { unreachable!("asked for DPDK") };
            dpdk.clock().advance(ticks);
        };
        // Round the clock, which comes past zero on its way.
        for &(state, protocol, time) in STATES.iter().cycle().take(5 * STATES.len()) {
            rig.forget();
            let connection = bring(rig, state, protocol);
            pass(rig, last(state, time));
            rig.expect(&connection.answers(ACK), Reason::ToClient);
            rig.forget();
            let connection = bring(rig, state, protocol);
            pass(rig, time + 1);
            rig.expect(&connection.answers(ACK), Reason::FlowMissing);
        }
    });
}

on_both_planes!(
    connections_live_and_end_by_their_idle_time,
    one_direction_alone_keeps_both_entries_alive,
    nobody_keeps_alive_what_is_not_proved_or_is_over,
    an_established_connection_is_stamped_no_more_often_than_needed,
    a_sweep_frees_what_is_over_and_nothing_else,
);
