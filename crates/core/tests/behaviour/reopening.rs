//! A client that uses its port again after its connection has ended opens a new one: it goes where new ones go.

use crate::support::*;
use evenkeel_core::flow::State;
use evenkeel_core::{BackendRef, BackendState, Reason};
use std::collections::HashMap;

fn ends(backend: SocketAddr) -> (BackendRef, BackendRef, SocketAddr) {
    if backend == H2 { (FIRST, SECOND, H3) } else { (SECOND, FIRST, H2) }
}

/// What a new connection of the same client, after its end, is opened with, and what the backend answers it with.
const AGAIN: (u32, u32) = (0x3333_0000, 0x4444_0000);

fn syn() -> Draft {
    tcp(client(1), WEB, SYN).numbers(AGAIN.0, 0).payload(b"")
}

/// The client's new connection, step by step.
fn establish_again(plane: &MemoryPlane) -> Connection {
    let view = plane.to_backend(&syn());
    let again = Connection { client: client(1), nat: view.from, backend: view.to };
    plane.assert_carries(&again, &again.answers(SYN | ACK).numbers(AGAIN.1, AGAIN.0 + 1));
    plane.assert_carries(&again, &again.says(ACK).numbers(AGAIN.0 + 1, AGAIN.1 + 1));
    plane.assert_state(&again, State::Established);
    again
}

#[test]
fn after_its_end_a_connection_is_opened_where_new_ones_go() {
    // Of weight 0; drained; drained and down.
    for state in [BackendState::Up, BackendState::Draining, BackendState::Finishing] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        let (own, other, elsewhere) = ends(connection.backend);
        plane.close(&connection);
        plane.set_state(own, state);
        plane.set_maglev(TABLE, &[other]);
        let again = establish_again(&plane);
        assert_eq!(again.backend, elsewhere, "{state:?}");
        plane.assert_works(&again);
        assert_eq!(plane.verdict(&connection.answers(ACK)), Reason::NoService, "of the last one nothing is left");
        assert_eq!(plane.remembered().len(), 2);
    }
}

#[test]
fn where_new_ones_go_to_the_same_backend_it_keeps_its_port() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.close(&connection);
    let again = establish_again(&plane);
    assert_eq!(again, connection);
    plane.assert_works(&again);
}

#[test]
fn a_new_backend_gets_its_share_of_ports_that_are_used_again() {
    let plane: MemoryPlane = scene(1024);
    plane.set_maglev(TABLE, &[FIRST]);
    (0..100).for_each(|n| plane.close(&plane.establish(client(n))));
    plane.set_maglev(TABLE, &[FIRST, SECOND]);
    let mut shares = HashMap::new();
    for n in 0..100 {
        let again = plane.establish(client(n));
        plane.assert_works(&again);
        *shares.entry(again.backend).or_insert(0) += 1;
    }
    assert!(shares[&H2] > 30 && shares[&H3] > 30, "{shares:?}");
    // And the same that fresh ports would have given.
    let fresh: MemoryPlane = scene(1024);
    let fresh = (0..100).filter(|&n| fresh.establish(client(n)).backend == H3).count();
    assert_eq!(fresh, shares[&H3]);
}

/// Of a reset nobody knows whether it was one. The backend does: what it answers to the SYN says so.
#[test]
fn after_a_reset_too_as_soon_as_the_backend_shows_that_it_was_one() {
    for state in [BackendState::Up, BackendState::Draining, BackendState::Finishing] {
        // It takes the SYN for a new connection's, or refuses it since it listens no more.
        for (flags, expected) in [(SYN | ACK, Reason::ResetStale), (RST | ACK, Reason::FlowMissing)] {
            for by_client in [true, false] {
                let plane: MemoryPlane = scene(64);
                let connection = plane.establish(client(1));
                let (own, other, elsewhere) = ends(connection.backend);
                plane.verdict(&if by_client { connection.says(RST) } else { connection.answers(RST) });
                plane.set_state(own, state);
                plane.set_maglev(TABLE, &[other]);
                plane.assert_carries(&connection, &syn());
                let answer = connection.answers(flags).numbers(AGAIN.1, AGAIN.0 + 1);
                assert_eq!(plane.verdict(&answer), expected, "{state:?}");
                assert_eq!(plane.remembered().len(), 0, "{state:?}");
                // The client repeats its SYN.
                let again = establish_again(&plane);
                assert_eq!(again.backend, elsewhere, "{state:?}");
            }
        }
    }
}

#[test]
fn after_a_reset_where_new_ones_go_to_the_same_backend_it_keeps_its_port() {
    for by_client in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        plane.verdict(&if by_client { connection.says(RST) } else { connection.answers(RST) });
        let again = establish_again(&plane);
        assert_eq!(again, connection);
        plane.assert_works(&again);
    }
}

/// A backend that is held to be down and takes no new connections may be dead indeed: then it answers nothing.
#[test]
fn a_client_that_begins_anew_does_not_wait_for_a_backend_that_is_dead() {
    for ended_by in [None, Some(RST), Some(FIN | ACK)] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        let (own, other, elsewhere) = ends(connection.backend);
        plane.set_state(own, BackendState::Finishing);
        plane.set_maglev(TABLE, &[other]);
        plane.wait(1000);
        if let Some(flags) = ended_by {
            plane.assert_carries(&connection, &connection.says(flags));
            plane.wait(10);
        }
        for units in [0, 59] {
            plane.pass(units);
            plane.assert_carries(&connection, &syn());
        }
        plane.pass(1);
        assert_eq!(establish_again(&plane).backend, elsewhere, "{ended_by:?}");
    }
}

#[test]
fn a_connection_that_nobody_takes_is_refused_and_forgotten() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.close(&connection);
    plane.set_maglev(TABLE, &[]);
    assert_eq!(plane.verdict(&syn()), Reason::NoBackend);
    assert!(plane.remembered().is_empty());
}
