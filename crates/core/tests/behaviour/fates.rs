//! A backend that takes no more: what becomes of the connections and datagrams that it has.

use crate::support::*;
use evenkeel_core::flow::State;
use evenkeel_core::{BackendRef, BackendState, Features, Reason};

fn ends(backend: SocketAddr) -> (BackendRef, BackendRef, SocketAddr) {
    if backend == H2 { (FIRST, SECOND, H3) } else { (SECOND, FIRST, H2) }
}

#[test]
fn connections_of_a_backend_that_is_finishing_go_on_to_their_end() {
    let plane: MemoryPlane = scene(64);
    let (established, half_open) = (plane.establish(client(1)), plane.open(client(2)));
    for connection in [established, half_open] {
        plane.set_state(ends(connection.backend).0, BackendState::Finishing);
    }
    plane.set_maglev(TABLE, &[]);
    plane.assert_carries(&half_open, &half_open.answers(SYN | ACK));
    plane.assert_carries(&half_open, &half_open.says(ACK));
    for _ in 0..10 {
        plane.wait(1000);
        plane.assert_works(&established);
        plane.assert_works(&half_open);
    }
    plane.close(&established);
    plane.assert_acknowledges(&established);
}

#[test]
fn a_reset_tells_a_connection_once_that_its_backend_is_down() {
    for from_client in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        plane.set_state(ends(connection.backend).0, BackendState::Resetting);
        let draft = if from_client { connection.says(ACK) } else { connection.answers(ACK) };
        let (reason, view) = plane.send(&draft);
        let view = view.expect("a reset is sent");
        assert_eq!((reason, view.from, view.to), (Reason::ResetDown, draft.to, draft.from));
        assert_eq!((view.flags, view.payload.as_slice()), (RST, [].as_slice()));
        assert!(plane.remembered().is_empty(), "the flow has ended");
        assert_eq!(plane.verdict(&connection.says(ACK)), Reason::FlowMissing);
        assert_eq!(plane.verdict(&connection.answers(ACK)), Reason::NoService);
    }
}

#[test]
fn connections_in_every_state_are_told_and_a_reset_is_not() {
    let prepare: [fn(&MemoryPlane) -> Connection; 5] = [
        |plane| plane.open(client(1)),
        |plane| {
            let connection = plane.open(client(1));
            plane.to_client(&connection.answers(SYN | ACK));
            connection
        },
        |plane| plane.establish(client(1)),
        |plane| {
            let connection = plane.establish(client(1));
            plane.to_backend(&connection.says(FIN | ACK));
            connection
        },
        |plane| {
            let connection = plane.establish(client(1));
            plane.reset(&connection);
            connection
        },
    ];
    for prepare in prepare {
        for (flags, expected) in [(ACK, Reason::ResetDown), (FIN | ACK, Reason::ResetDown), (RST, Reason::BackendDown)]
        {
            let plane: MemoryPlane = scene(64);
            let connection = prepare(&plane);
            plane.set_state(ends(connection.backend).0, BackendState::Resetting);
            assert_eq!(plane.verdict(&connection.says(flags)), expected);
            assert!(plane.remembered().is_empty());
        }
    }
}

/// A plane whose configuration does not ask for it has no such backends.
#[test]
fn without_the_feature_a_backend_that_resets_is_one_that_is_down() {
    let mut plane: MemoryPlane = scene(64);
    plane.features = Features(!Features::DOWN_RESET.0);
    let connection = plane.establish(client(1));
    plane.set_state(ends(connection.backend).0, BackendState::Resetting);
    assert_eq!(plane.verdict(&connection.says(ACK)), Reason::BackendDown);
    plane.set_state(ends(connection.backend).0, BackendState::Up);
    plane.assert_works(&connection);
}

#[test]
fn a_syn_leaves_a_backend_that_is_down_at_once() {
    for state in [BackendState::Down, BackendState::Resetting] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        let (own, other, elsewhere) = ends(connection.backend);
        plane.set_state(own, state);
        plane.set_maglev(TABLE, &[other]);
        let again = plane.establish(client(1));
        assert_eq!(again.backend, elsewhere);
        plane.assert_works(&again);
    }
}

#[test]
fn datagrams_leave_a_backend_that_takes_none_if_another_does() {
    let prepare: [fn(&MemoryPlane) -> Connection; 3] =
        [|plane| plane.open_udp(client(1)), |plane| plane.answered_udp(client(1)), |plane| plane.stream(client(1))];
    for state in [BackendState::Finishing, BackendState::Down, BackendState::Resetting] {
        for prepare in prepare {
            let plane: MemoryPlane = scene(64);
            let flow = prepare(&plane);
            let (own, other, elsewhere) = ends(flow.backend);
            plane.set_state(own, state);
            plane.set_maglev(TABLE, &[other]);
            let view = plane.to_backend(&flow.asks_by_udp());
            assert_eq!(view.to, elsewhere, "{state:?}");
            let moved = Connection { nat: view.from, backend: view.to, ..flow };
            assert_eq!(plane.to_client(&moved.answers_by_udp()).to, client(1));
            assert_eq!(plane.verdict(&flow.answers_by_udp()), Reason::NoService, "{state:?}");
            assert_eq!(plane.remembered().len(), 2, "nothing is left of the old one");
        }
    }
}

#[test]
fn datagrams_of_a_backend_that_has_left_the_file_go_to_another() {
    let plane: MemoryPlane = scene(64);
    let flow = plane.stream(client(1));
    let (own, other, elsewhere) = ends(flow.backend);
    // Its place is used by somebody else by now.
    plane.set_link(own.index, |link| evenkeel_core::backend::Link::new(link.mac(), 2, BackendState::Up));
    plane.set_maglev(TABLE, &[other]);
    assert_eq!(plane.to_backend(&flow.asks_by_udp()).to, elsewhere);
}

#[test]
fn where_no_other_takes_them_datagrams_go_on_to_one_that_is_finishing_and_to_no_other() {
    let plane: MemoryPlane = scene(64);
    let flow = plane.stream(client(1));
    let (own, ..) = ends(flow.backend);
    plane.set_maglev(TABLE, &[]);
    plane.set_state(own, BackendState::Finishing);
    for _ in 0..3 {
        assert!(flow.is_at_backend(&plane.to_backend(&flow.asks_by_udp())));
        assert_eq!(plane.to_client(&flow.answers_by_udp()).to, client(1));
        plane.wait(60);
    }
    plane.assert_state(&flow, State::Established);
    for state in [BackendState::Down, BackendState::Resetting] {
        plane.set_state(own, state);
        assert_eq!(plane.verdict(&flow.asks_by_udp()), Reason::NoBackend, "{state:?}");
        assert!(plane.verdict(&flow.answers_by_udp()) != Reason::ToClient);
    }
}

#[test]
fn datagrams_stay_with_a_backend_that_is_drained_and_up() {
    let plane: MemoryPlane = scene(64);
    let flow = plane.stream(client(1));
    let (own, other, _) = ends(flow.backend);
    plane.set_state(own, BackendState::Draining);
    plane.set_maglev(TABLE, &[other]);
    assert!(flow.is_at_backend(&plane.to_backend(&flow.asks_by_udp())));
}
