//! Somebody who knows a connection's addresses and ports, and none of its numbers, sends what he likes in its name.
//!
//! Whatever that is and whenever it comes, every segment of the connection's two ends gets to where it belongs, for as long
//! as both go on within the shortest of the idle times: with data, or if they have no more, with acknowledgements.

use crate::support::*;
use evenkeel_core::flow::{IdleTimes, Now, State, Tick};
use evenkeel_core::{BackendState, Event, Reason};
use proptest::prelude::*;

/// What the client and the backend begin with.
const CLIENT_ISN: u32 = 0x1000_0000;
const BACKEND_ISN: u32 = 0x9000_0000;
/// What the stranger makes up. He may well remember what he has said before.
const MADE_UP: [u32; 5] = [0, 0x4000_0000, 0x4000_0001, 0xd000_0000, 0xd000_0001];

/// How long either end may be silent, in units of the clock.
const SILENCE: u32 = Now::span(IdleTimes::DEFAULT.closing) as u32 - 1;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One of the two ends speaks.
    Speak { client: bool, data: bool },
    /// One of them has nothing more to say but acknowledgements.
    Finish { client: bool },
    /// The stranger speaks in the name of one of them.
    Stray { client: bool, flags: u8, sequence: u32, acknowledgement: u32, data: bool },
    /// Units of the clock pass.
    Pass(u32),
}

/// `names`: whether the stranger may speak in the client's name, as most can, or in the backend's, too.
fn steps(names: impl Strategy<Value = bool> + 'static, may_finish: bool) -> impl Strategy<Value = Vec<Step>> {
    let flags = prop::sample::select(vec![
        SYN,
        SYN | ACK,
        ACK,
        FIN | ACK,
        FIN,
        RST,
        RST | ACK,
        0,
        SYN | FIN,
        SYN | RST,
        SYN | FIN | RST | ACK,
    ]);
    let number = || prop::sample::select(MADE_UP.to_vec());
    let step = prop_oneof![
        6 => (any::<bool>(), any::<bool>()).prop_map(|(client, data)| Step::Speak { client, data }),
        u32::from(may_finish) => any::<bool>().prop_map(|client| Step::Finish { client }),
        8 => (names, flags, number(), number(), any::<bool>()).prop_map(
            |(client, flags, sequence, acknowledgement, data)| Step::Stray { client, flags, sequence, acknowledgement, data }
        ),
        3 => prop::sample::select(vec![1, 5, 64, 130, 600, 2000, SILENCE]).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

/// A connection between its two ends.
struct Talk {
    plane: MemoryPlane,
    connection: Connection,
    now: u32,
    /// When the client and the backend have gone on last, and whether they have finished.
    spoke: [u32; 2],
    finished: [bool; 2],
    /// What they have sent.
    sent: [u32; 2],
}

impl Talk {
    fn new() -> Self {
        let plane: MemoryPlane = scene(64);
        let view = plane.to_backend(&tcp(client(1), WEB, SYN).numbers(CLIENT_ISN, 0).payload(b""));
        let connection = Connection { client: client(1), nat: view.from, backend: view.to };
        let mut talk = Self { plane, connection, now: 0, spoke: [0; 2], finished: [false; 2], sent: [1; 2] };
        talk.carries(&connection.answers(SYN | ACK).numbers(BACKEND_ISN, CLIENT_ISN + 1).payload(b""));
        talk.speak(true, false);
        talk
    }

    fn carries(&mut self, draft: &Draft) {
        self.plane.assert_carries(&self.connection, draft);
    }

    fn numbers(&self, client: bool) -> (u32, u32) {
        let (own, other) = (usize::from(!client), usize::from(client));
        let isn = [CLIENT_ISN, BACKEND_ISN];
        (isn[own].wrapping_add(self.sent[own]), isn[other].wrapping_add(self.sent[other]))
    }

    fn segment(&self, client: bool, flags: u8) -> Draft {
        let draft = if client { self.connection.says(flags) } else { self.connection.answers(flags) };
        let (sequence, acknowledgement) = self.numbers(client);
        draft.numbers(sequence, acknowledgement)
    }

    fn speak(&mut self, client: bool, data: bool) {
        let own = usize::from(!client);
        let data = data && !self.finished[own];
        let segment = self.segment(client, ACK);
        self.carries(&if data { segment } else { segment.payload(b"") });
        self.sent[own] = self.sent[own].wrapping_add(if data { 8 } else { 0 });
        if data || self.finished[own] {
            self.spoke[own] = self.now;
        }
    }

    fn go_on(mut self, steps: Vec<Step>) {
        steps.into_iter().for_each(|step| self.step(step));
        self.speak(true, true);
        self.speak(false, true);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Speak { client, data } => self.speak(client, data),
            Step::Finish { client } => {
                let own = usize::from(!client);
                // Once both have, the connection is over.
                if self.finished == [false; 2] {
                    self.carries(&self.segment(client, FIN | ACK).payload(b""));
                    self.finished[own] = true;
                    self.sent[own] = self.sent[own].wrapping_add(1);
                    self.spoke[own] = self.now;
                }
            }
            Step::Stray { client, flags, sequence, acknowledgement, data } => {
                let draft = if client { self.connection.says(flags) } else { self.connection.answers(flags) };
                let draft = draft.numbers(sequence, acknowledgement);
                let (reason, _) = self.plane.send(&if data { draft } else { draft.payload(b"") });
                // A SYN that gets to the other end is answered: it knows better (RFC 5961, section 4).
                if flags & (SYN | RST) == SYN && client && reason == Reason::ToBackend {
                    self.speak(false, false);
                }
            }
            Step::Pass(units) => {
                for client in [true, false] {
                    if self.now + units - self.spoke[usize::from(!client)] > SILENCE {
                        self.speak(client, true);
                    }
                }
                self.plane.pass(units);
                self.now += units;
            }
        }
    }
}

/// The connection is what it was, and neither young nor old.
#[track_caller]
fn assert_untouched(plane: &MemoryPlane, connection: &Connection) {
    plane.assert_acknowledges(connection);
    plane.assert_state(connection, State::Established);
    plane.wait(Tick::span(IdleTimes::DEFAULT.established) - 1);
    plane.assert_works(connection);
}

/// A segment in the name of one of the two ends, with numbers that are nobody's.
fn stray(connection: &Connection, client: bool, flags: u8) -> Draft {
    let draft = if client { connection.says(flags) } else { connection.answers(flags) };
    draft.numbers(0x4000_0000, 0x5000_0000).payload(b"")
}

#[test]
fn a_stray_reset_is_taken_back_by_the_side_that_it_was_said_of() {
    for client in [true, false] {
        for data in [b"".as_slice(), b"more"] {
            for flags in [RST, RST | ACK] {
                let plane: MemoryPlane = scene(64);
                let connection = plane.establish(super::support::client(1));
                plane.assert_carries(&connection, &stray(&connection, client, flags));
                plane.assert_state(&connection, State::Reset);
                let segments = [connection.says(ACK).payload(data), connection.answers(ACK).payload(data)];
                // The other side may not know yet.
                plane.assert_carries(&connection, &segments[usize::from(client)]);
                plane.assert_state(&connection, State::Reset);
                plane.assert_carries(&connection, &segments[usize::from(!client)]);
                plane.assert_state(&connection, State::Established);
                assert_untouched(&plane, &connection);
            }
        }
    }
}

#[test]
fn stray_resets_from_both_sides_are_taken_back_by_both() {
    for client_first in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        for client in [client_first, !client_first] {
            plane.assert_carries(&connection, &stray(&connection, client, RST));
        }
        for (client, state) in [(client_first, State::Reset), (!client_first, State::Established)] {
            let segment = if client { connection.acknowledges() } else { connection.is_acknowledged() };
            plane.assert_carries(&connection, &segment);
            plane.assert_state(&connection, state);
        }
        assert_untouched(&plane, &connection);
    }
}

/// Whoever says it again and again does not make it true: those who go on keep their connection young.
#[test]
fn stray_resets_that_are_repeated_for_ever_end_nothing() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for client in [true, false] {
        plane.assert_carries(&connection, &stray(&connection, client, RST));
    }
    for _ in 0..100 {
        for (client, segment) in [(true, connection.acknowledges()), (false, connection.is_acknowledged())] {
            plane.assert_carries(&connection, &segment);
            plane.assert_carries(&connection, &stray(&connection, client, RST));
            plane.assert_state(&connection, State::Reset);
        }
        plane.wait(2);
    }
    plane.assert_acknowledges(&connection);
    assert_untouched(&plane, &connection);
}

/// The backend's answer to a SYN over a connection that it knows (RFC 5961, section 4).
fn challenge(plane: &MemoryPlane, connection: &Connection) {
    plane.assert_carries(connection, &connection.is_acknowledged());
}

#[test]
fn a_stray_syn_cuts_nothing_wherever_new_connections_go() {
    for state in [BackendState::Up, BackendState::Draining, BackendState::Finishing] {
        for units in [0, 59, 60, 1000] {
            let plane: MemoryPlane = scene(64);
            let connection = plane.establish(client(1));
            let (own, other) = if connection.backend == H2 { (FIRST, SECOND) } else { (SECOND, FIRST) };
            plane.set_state(own, state);
            plane.set_maglev(TABLE, &[other]);
            plane.wait(1000);
            // After any silence, alone or with a reset before it, and again.
            for flags in [&[SYN] as &[u8], &[RST, SYN], &[SYN, RST, SYN]] {
                for &flags in flags {
                    plane.assert_carries(&connection, &stray(&connection, true, flags));
                    if flags == SYN {
                        challenge(&plane, &connection);
                    }
                    plane.pass(units);
                }
                plane.assert_acknowledges(&connection);
                plane.assert_state(&connection, State::Established);
                plane.pass(units);
            }
            assert_eq!(plane.happened(Event::FlowOpened), 1, "{state:?}");
            assert_untouched(&plane, &connection);
        }
    }
}

#[test]
fn a_stray_fin_is_taken_back_by_the_data_of_the_side_that_it_was_said_of() {
    for client in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(super::support::client(1));
        plane.assert_carries(&connection, &stray(&connection, client, FIN | ACK));
        plane.assert_state(&connection, State::HalfClosed);
        // Whoever has finished still acknowledges.
        plane.assert_acknowledges(&connection);
        plane.assert_state(&connection, State::HalfClosed);
        let segments = [connection.says(ACK), connection.answers(ACK)];
        plane.assert_carries(&connection, &segments[usize::from(client)]);
        plane.assert_state(&connection, State::HalfClosed);
        plane.assert_carries(&connection, &segments[usize::from(!client)]);
        plane.assert_state(&connection, State::Established);
        assert_untouched(&plane, &connection);
    }
}

#[test]
fn stray_fins_from_both_sides_are_taken_back_by_the_data_of_both() {
    for client_first in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        for client in [client_first, !client_first] {
            plane.assert_carries(&connection, &stray(&connection, client, FIN | ACK));
        }
        plane.assert_state(&connection, State::Closing);
        plane.assert_carries(&connection, &connection.says(ACK));
        plane.assert_state(&connection, State::HalfClosed);
        plane.assert_carries(&connection, &connection.answers(ACK));
        plane.assert_state(&connection, State::Established);
        assert_untouched(&plane, &connection);
    }
}

/// With FINs in both names it looks finished, and with a SYN as if it were opened again.
#[test]
fn a_stray_syn_over_stray_fins_does_not_make_a_stranger_of_the_backend() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    for (client, flags) in [(true, FIN | ACK), (false, FIN | ACK), (true, SYN)] {
        plane.assert_carries(&connection, &stray(&connection, client, flags));
    }
    plane.assert_state(&connection, State::Opening);
    assert_eq!(plane.to_client(&connection.answers(ACK).numbers(7, 7)).to, client(1));
    plane.assert_state(&connection, State::HalfClosed);
    plane.assert_carries(&connection, &connection.says(ACK));
    assert_untouched(&plane, &connection);
}

/// Or as if it had been opened again, answered, and refused.
#[test]
fn a_stray_handshake_over_a_stray_reset_is_taken_back() {
    const MADE_UP: u32 = 0x4000_0000;
    for refused in [false, true] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        plane.assert_carries(&connection, &stray(&connection, true, RST));
        plane.assert_carries(&connection, &connection.says(SYN).numbers(MADE_UP, 0));
        plane.assert_carries(&connection, &connection.answers(SYN | ACK).numbers(MADE_UP, MADE_UP + 1));
        plane.assert_state(&connection, State::Answered);
        if refused {
            plane.assert_carries(&connection, &connection.answers(RST).numbers(MADE_UP + 1, 0));
            plane.assert_state(&connection, State::Reset);
        }
        // A client that only listens.
        plane.assert_carries(&connection, &connection.acknowledges());
        plane.assert_carries(&connection, &connection.is_acknowledged());
        assert_untouched(&plane, &connection);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_stranger_ends_a_connection(steps in steps(any::<bool>(), true)) {
        Talk::new().go_on(steps);
    }

    /// New connections go to another backend; whoever shows that he opens one would go there.
    #[test]
    fn no_stranger_takes_a_connection_from_a_backend_that_is_leaving(
        steps in steps(Just(true), false),
        state in prop::sample::select(vec![BackendState::Up, BackendState::Draining, BackendState::Finishing]),
    ) {
        let talk = Talk::new();
        let (own, other) = if talk.connection.backend == H2 { (FIRST, SECOND) } else { (SECOND, FIRST) };
        talk.plane.set_state(own, state);
        talk.plane.set_maglev(TABLE, &[other]);
        talk.go_on(steps);
    }
}
