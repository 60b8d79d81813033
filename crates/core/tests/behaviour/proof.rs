//! A handshake: what is believed of it, and what anybody could have made up.

use crate::support::*;
use etherparse::{PacketHeaders, TcpHeader, TransportHeader};
use evenkeel_core::flow::{IdleTimes, Now, State};
use evenkeel_core::{Event, Reason};

/// What both sides begin with.
const CLIENT: u32 = 0x1111_0000;
const BACKEND: u32 = 0x2222_0000;
const IDLE: u32 = Now::span(IdleTimes::DEFAULT.opening) as u32;
/// A second, in units of the clock.
const MOMENT: u32 = Now::span(1000) as u32;

/// A client whose SYN has gone through.
fn asked(plane: &MemoryPlane) -> Connection {
    let view = plane.to_backend(&syn(CLIENT));
    Connection { client: client(1), nat: view.from, backend: view.to }
}

/// And has been answered.
fn answered(plane: &MemoryPlane) -> Connection {
    let connection = asked(plane);
    plane.assert_carries(&connection, &answer(&connection, CLIENT + 1));
    connection
}

fn syn(number: u32) -> Draft {
    tcp(client(1), WEB, SYN).numbers(number, 0).payload(b"")
}

fn answer(connection: &Connection, acknowledgement: u32) -> Draft {
    connection.answers(SYN | ACK).numbers(BACKEND, acknowledgement).payload(b"")
}

/// What is sent in answer to a segment, and its TCP header.
fn reset(plane: &MemoryPlane, draft: &Draft) -> (Reason, View, TcpHeader) {
    let mut bytes = draft.bytes();
    let reason = plane.process(&mut bytes);
    let headers = PacketHeaders::from_ethernet_slice(&bytes).expect("a well-formed packet");
    let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("TCP") };
    (reason, View::of(&bytes), tcp)
}

#[test]
fn the_one_acknowledgement_of_the_backends_number_establishes() {
    let plane: MemoryPlane = scene(64);
    let connection = answered(&plane);
    let right = BACKEND + 1;
    let wrong = (0..32).map(|bit| right ^ 1 << bit).chain([0, BACKEND, right + 1, CLIENT + 1, u32::MAX]);
    for acknowledgement in wrong {
        for draft in
            [connection.says(ACK), connection.acknowledges(), connection.says(FIN | ACK), connection.says(SYN | ACK)]
        {
            plane.assert_carries(&connection, &draft.numbers(CLIENT + 1, acknowledgement));
            plane.assert_state(&connection, State::Answered);
        }
    }
    // The number alone, in a field that says nothing without its control bit.
    for flags in [0, FIN, SYN] {
        plane.assert_carries(&connection, &connection.says(flags).numbers(CLIENT + 1, right));
        plane.assert_state(&connection, State::Answered);
    }
    // Nor what the backend says of itself.
    plane.assert_carries(&connection, &connection.answers(ACK).numbers(right, right));
    plane.assert_state(&connection, State::Answered);
    plane.assert_carries(&connection, &connection.acknowledges().numbers(CLIENT + 1, right));
    plane.assert_state(&connection, State::Established);
}

#[test]
fn what_comes_before_the_backends_answer_establishes_nothing() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    for acknowledgement in [0, CLIENT, CLIENT + 1, CLIENT + 2, BACKEND, BACKEND + 1] {
        for flags in [ACK, FIN | ACK, SYN | ACK, FIN, RST, RST | ACK, 0] {
            plane.assert_carries(&connection, &connection.says(flags).numbers(CLIENT + 1, acknowledgement));
            plane.assert_state(&connection, State::Opening);
        }
    }
    assert_eq!(plane.happened(Event::FlowOpened), 1);
}

/// Whatever is repeated, a connection that nobody has proved is over a minute after it has begun.
#[test]
fn what_is_repeated_prolongs_nothing() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    for _ in 0..5 {
        plane.pass(IDLE / 5);
        for draft in
            [syn(CLIENT), syn(CLIENT + 77), connection.says(ACK), connection.says(FIN | ACK), connection.says(RST)]
        {
            plane.assert_carries(&connection, &draft);
        }
        assert_eq!(plane.verdict(&answer(&connection, CLIENT)), Reason::ResetStale);
    }
    plane.pass(5);
    assert_eq!(plane.verdict(&connection.says(ACK)), Reason::FlowMissing);

    let plane: MemoryPlane = scene(64);
    let connection = answered(&plane);
    for _ in 0..5 {
        plane.pass(IDLE / 5);
        let again = [answer(&connection, CLIENT + 1), syn(CLIENT), connection.says(ACK).numbers(CLIENT + 1, 0)];
        for draft in
            again.into_iter().chain([connection.answers(ACK).numbers(0, 0), connection.answers(RST).numbers(0, 0)])
        {
            plane.assert_carries(&connection, &draft);
            plane.assert_state(&connection, State::Answered);
        }
    }
    plane.pass(5);
    assert_eq!(plane.verdict(&connection.says(ACK)), Reason::FlowMissing);
}

/// The NAT port had another owner, of whom the backend still knows: what it has to say to him is not for the new one.
#[test]
fn what_answers_somebody_elses_syn_is_answered_by_a_reset_and_gets_to_nobody() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    for acknowledgement in (16..32).map(|bit| (CLIENT + 1) ^ 1 << bit).chain([CLIENT, 0, CLIENT + 1 + (1 << 16)]) {
        for flags in [SYN | ACK, ACK, FIN | ACK] {
            let segment =
                connection.answers(flags).numbers(BACKEND, acknowledgement).source_mac(backend_mac(connection.backend));
            let (reason, view, tcp) = reset(&plane, &segment);
            assert_eq!(reason, Reason::ResetStale, "{flags:#x} {acknowledgement:#x}");
            // From where its sender takes the port's owner to be, and where he expects to hear him.
            assert_eq!((view.from, view.to), (connection.nat, connection.backend));
            assert_eq!(view.destination_mac, backend_mac(connection.backend));
            assert_eq!((view.flags, tcp.sequence_number), (RST, acknowledgement));
            plane.assert_state(&connection, State::Opening);
        }
        // Nobody answers a reset.
        for flags in [RST, RST | ACK] {
            let segment = connection.answers(flags).numbers(BACKEND, acknowledgement);
            assert_eq!(plane.verdict(&segment), Reason::FlowMissing);
            plane.assert_state(&connection, State::Opening);
        }
    }
    // The right number, but it does not say that it acknowledges anything.
    for flags in [SYN, FIN, 0] {
        assert_eq!(plane.verdict(&connection.answers(flags).numbers(BACKEND, CLIENT + 1)), Reason::ResetStale);
    }
    assert_eq!(plane.verdict(&connection.answers(RST).numbers(BACKEND, CLIENT + 1)), Reason::FlowMissing);
    plane.assert_state(&connection, State::Opening);
    // And all that has not harmed the connection.
    plane.assert_carries(&connection, &answer(&connection, CLIENT + 1));
    plane.assert_carries(&connection, &connection.acknowledges().numbers(CLIENT + 1, BACKEND + 1));
    plane.assert_state(&connection, State::Established);
}

/// A backend that remembers the port's last owner challenges the new one (RFC 5961, section 4), who resets that.
#[test]
fn a_challenge_gets_to_the_client_and_its_reset_to_the_backend() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    plane.assert_carries(&connection, &connection.is_acknowledged().numbers(BACKEND - 5000, CLIENT - 5000));
    plane.assert_carries(&connection, &connection.says(RST).numbers(CLIENT - 5000, 0).payload(b""));
    plane.assert_state(&connection, State::Opening);
    plane.assert_carries(&connection, &syn(CLIENT));
    plane.assert_carries(&connection, &answer(&connection, CLIENT + 1));
    plane.assert_carries(&connection, &connection.acknowledges().numbers(CLIENT + 1, BACKEND + 1));
    plane.assert_state(&connection, State::Established);
}

#[test]
fn a_syn_with_data_is_acknowledged_with_its_data() {
    for length in [1, 1400, (1 << 16) - 1] {
        let plane: MemoryPlane = scene(64);
        let connection = asked(&plane);
        plane.assert_carries(&connection, &answer(&connection, CLIENT + 1 + length));
        plane.assert_state(&connection, State::Answered);
    }
}

#[test]
fn a_refusal_is_believed_if_it_acknowledges_the_syn() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    plane.assert_carries(&connection, &connection.answers(RST | ACK).numbers(0, CLIENT + 1));
    plane.assert_state(&connection, State::Closing);
    // Nobody has proved anything, and nobody can make a connection of it but by another SYN.
    for _ in 0..2 {
        for flags in [FIN | ACK, ACK, FIN, 0] {
            plane.assert_carries(&connection, &connection.says(flags));
            plane.assert_carries(&connection, &connection.answers(flags));
            plane.assert_state(&connection, State::Closing);
        }
    }
    plane.assert_carries(&connection, &syn(CLIENT + 5000));
    plane.assert_state(&connection, State::Opening);

    // An answer can be taken back, by its number.
    let plane: MemoryPlane = scene(64);
    let connection = answered(&plane);
    plane.assert_carries(&connection, &connection.answers(RST).numbers(BACKEND + 1, 0));
    plane.assert_state(&connection, State::Closing);
}

/// A stranger's SYN comes between the client's and its answer.
#[test]
fn a_strangers_syn_does_not_take_the_place_of_the_clients() {
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    for units in [0, MOMENT - 1] {
        plane.pass(units);
        plane.assert_carries(&connection, &syn(0xdead_0000));
    }
    plane.assert_carries(&connection, &answer(&connection, CLIENT + 1));
    plane.assert_carries(&connection, &connection.acknowledges().numbers(CLIENT + 1, BACKEND + 1));
    plane.assert_state(&connection, State::Established);

    // A second later it may be another connection of the client's.
    let plane: MemoryPlane = scene(64);
    let connection = asked(&plane);
    plane.pass(MOMENT);
    plane.assert_carries(&connection, &syn(CLIENT + 5000));
    assert_eq!(plane.verdict(&answer(&connection, CLIENT + 1)), Reason::ResetStale);
    plane.assert_carries(&connection, &answer(&connection, CLIENT + 5001));
    plane.assert_state(&connection, State::Answered);
}

/// Or after the answer: what the client acknowledges is what counts.
#[test]
fn nothing_takes_the_place_of_the_backends_answer() {
    let plane: MemoryPlane = scene(64);
    let connection = answered(&plane);
    for flags in [SYN, SYN | ACK] {
        plane.assert_carries(&connection, &connection.answers(flags).numbers(0xdead_0000, CLIENT + 2));
        plane.assert_carries(&connection, &connection.says(flags).numbers(0xdead_0000, 0));
    }
    plane.assert_carries(&connection, &connection.acknowledges().numbers(CLIENT + 1, BACKEND + 1));
    plane.assert_state(&connection, State::Established);
}
