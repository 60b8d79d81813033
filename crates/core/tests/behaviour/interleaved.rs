//! One packet in the middle of another: every place at which a second CPU could come in between, one after the other.
//!
//! What is checked is what holds once both packets are done; see the rules in `evenkeel_core::flow`.

use crate::support::*;
use evenkeel_core::flow::{Key as _, Side, State};
use evenkeel_core::{Event, Reason};
use std::collections::HashSet;
use std::rc::Rc;

type Plane = MemoryPlane<Interposed>;

/// Runs `during` at every access that `outer` makes, each time on a fresh plane from `prepare`, and judges the outcome.
fn everywhere<C: Clone + 'static>(
    prepare: impl Fn() -> (Plane, C),
    outer: impl Fn(&Plane, &C),
    during: impl Fn(&Plane, &C) + Clone + 'static,
    judge: impl Fn(&Plane, &C, usize),
) {
    for at in 0.. {
        let (plane, context) = prepare();
        let plane = Rc::new(plane);
        let (other, other_context, during) = (Rc::clone(&plane), context.clone(), during.clone());
        let interrupted = interrupt(at, move || during(&other, &other_context), || outer(&plane, &context));
        if !interrupted {
            assert!(at > 5, "the packet touches the tables at all");
            break;
        }
        assert_is_sound(&plane, at);
        judge(&plane, &context, at);
    }
}

/// What is true of a table at rest.
pub(crate) fn assert_is_sound<W: evenkeel_core::Word + From<u64>>(plane: &MemoryPlane<W>, at: usize) {
    let entries = plane.remembered();
    let mut keys = HashSet::new();
    for entry in &entries {
        assert!(keys.insert(entry.key), "access {at}: {entry:?} is in the table twice");
    }
    // An established connection's packets look at one entry only, so both must be there, and tell the same story.
    for entry in entries.iter().filter(|entry| entry.meta.state() == State::Established) {
        let pair = entries.iter().find(|&pair| {
            let (client, reply) = if entry.meta.side() == Side::Client { (entry, pair) } else { (pair, entry) };
            client.meta.side() == Side::Client
                && reply.meta.side() == Side::Backend
                && client.peer == reply.key.destination()
                && reply.peer == client.key.source()
                && client.backend == reply.backend
        });
        let state = pair.map(|pair| pair.meta.state());
        assert_eq!(state, Some(State::Established), "access {at}: the other half of {entry:?}");
    }
}

fn one_connection() -> (Plane, Connection) {
    let plane: Plane = scene(4);
    let connection = plane.establish(client(1));
    plane.wait(plane.settings.timeouts.renew);
    (plane, connection)
}

fn ignore<C>(_: &Plane, _: &C, _: usize) {}

#[test]
fn the_same_syn_twice_opens_one_connection() {
    everywhere(
        || (scene(4), ()),
        |plane, ()| drop(plane.send(&tcp(client(1), WEB, SYN))),
        |plane, ()| drop(plane.send(&tcp(client(1), WEB, SYN))),
        |plane, (), at| {
            assert_eq!(plane.remembered().len(), 2, "access {at}");
            assert_eq!(plane.happened(Event::FlowOpened), 1, "access {at}");
            let connection = plane.establish(client(1));
            plane.assert_works(&connection);
        },
    );
}

#[test]
fn two_syns_for_one_port_get_one_each() {
    everywhere(
        || {
            let mut plane: Plane = scene(4);
            (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_001);
            plane.set_maglev(TABLE, &[FIRST]);
            (plane, ())
        },
        |plane, ()| drop(plane.send(&tcp(client(1), WEB, SYN))),
        |plane, ()| drop(plane.send(&tcp(client(2), WEB, SYN))),
        |plane, (), _| {
            let connections = [1, 2].map(|n| plane.establish(client(n)));
            assert_ne!(connections[0].nat, connections[1].nat);
            connections.iter().for_each(|connection| plane.assert_works(connection));
        },
    );
}

#[test]
fn a_handshake_may_overtake_itself() {
    everywhere(
        || {
            let plane: Plane = scene(4);
            let connection = plane.open(client(1));
            (plane, connection)
        },
        |plane, connection| drop(plane.send(&connection.answers(SYN | ACK))),
        |plane, connection| drop(plane.send(&connection.says(ACK))),
        |plane, connection, _| plane.assert_works(connection),
    );
}

#[test]
fn both_sides_may_renew_at_once() {
    everywhere(
        one_connection,
        |plane, connection| drop(plane.to_backend(&connection.says(ACK))),
        |plane, connection| drop(plane.to_client(&connection.answers(ACK))),
        |plane, connection, _| plane.assert_works(connection),
    );
}

#[test]
fn both_sides_may_close_at_once() {
    everywhere(
        one_connection,
        |plane, connection| drop(plane.to_backend(&connection.says(FIN | ACK))),
        |plane, connection| drop(plane.to_client(&connection.answers(FIN | ACK))),
        |plane, connection, at| assert_eq!(plane.states(connection), (State::Closing, State::Closing), "access {at}"),
    );
}

#[test]
fn a_reset_may_meet_a_segment() {
    everywhere(
        one_connection,
        |plane, connection| drop(plane.to_backend(&connection.says(ACK))),
        |plane, connection| drop(plane.to_client(&connection.answers(RST))),
        |plane, connection, at| assert_eq!(plane.states(connection), (State::Reset, State::Reset), "access {at}"),
    );
}

/// The client speaks from a new Ethernet address, and its backend answers in the midst of that.
#[test]
fn an_answer_goes_to_where_the_client_was_or_is_and_nowhere_else() {
    const NEW: [u8; 6] = [0x06, 0xff, 0xee, 0xdd, 0xcc, 0xbb];
    everywhere(
        one_connection,
        |plane, connection| drop(plane.to_backend(&connection.says(ACK).source_mac(NEW))),
        |plane, connection| {
            let answer = plane.to_client(&connection.answers(ACK));
            assert!([CLIENT_MAC, NEW].contains(&answer.destination_mac), "sent to nobody: {answer:?}");
        },
        |plane, connection, at| {
            assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, NEW, "access {at}");
        },
    );
}

/// The other way round: what the client's packet notes is not taken back by an answer that began before.
#[test]
fn an_answer_does_not_take_back_that_its_client_has_moved() {
    const NEW: [u8; 6] = [0x06, 0xff, 0xee, 0xdd, 0xcc, 0xbb];
    everywhere(
        one_connection,
        |plane, connection| drop(plane.to_client(&connection.answers(ACK))),
        |plane, connection| drop(plane.to_backend(&connection.says(ACK).source_mac(NEW))),
        |plane, connection, at| {
            assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, NEW, "access {at}");
        },
    );
}

/// The client of a half-open connection speaks from a new Ethernet address while a newcomer takes its places.
#[test]
fn a_moving_client_does_not_write_into_its_successors_entry() {
    everywhere(
        || {
            let plane: Plane = scene(1);
            let victim = plane.open(client(1));
            plane.wait(1);
            (2..5).for_each(|n| _ = plane.establish(client(n)));
            (plane, victim)
        },
        |plane, victim| drop(plane.send(&victim.says(SYN).source_mac([2, 9, 9, 9, 9, 9]))),
        |plane, _| {
            let Some(view) = plane.send(&tcp(client(9), WEB, SYN)).1 else { return };
            let newcomer = Connection { client: client(9), nat: view.from, backend: view.to };
            let handshake = [newcomer.answers(SYN | ACK), newcomer.says(ACK)];
            handshake.iter().for_each(|segment| _ = plane.send(segment));
        },
        |plane, _, at| {
            for n in [1, 2, 3, 4, 9] {
                if let (Reason::ToBackend, Some(view)) = plane.send(&tcp(client(n), WEB, ACK)) {
                    assert_eq!(view.from.ip(), NAT, "access {at}: client {n}");
                    let back = plane.send(&tcp(view.to, view.from, ACK)).1;
                    assert_eq!(back.map(|view| view.to), Some(client(n)), "access {at}: {view:?}");
                }
            }
        },
    );
}

/// A newcomer takes over the port of somebody to whom the backend has more to say.
#[test]
fn a_port_that_changes_hands_may_meet_what_is_for_its_last_owner() {
    const OWN: u32 = 0x3333_0000;
    const OTHER: u32 = 0x4444_0000;
    for flags in [SYN | ACK, ACK, RST | ACK] {
        everywhere(
            || {
                let mut plane: Plane = scene(4);
                (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_000);
                plane.set_maglev(TABLE, &[FIRST]);
                let first = plane.open(client(1));
                plane.wait(1);
                (plane, first)
            },
            |plane, _| drop(plane.send(&tcp(client(2), WEB, SYN).numbers(OWN, 0))),
            move |plane, first| {
                let sent = plane.send(&first.answers(flags)).1;
                assert!(sent.is_none_or(|view| view.to != client(2)), "it gets to a stranger");
            },
            |plane, first, at| {
                if plane.happened(Event::PortTakenOver) == 0 {
                    return;
                }
                let second = Connection { client: client(2), ..*first };
                plane.assert_carries(&second, &second.answers(SYN | ACK).numbers(OTHER, OWN + 1));
                plane.assert_carries(&second, &second.says(ACK).numbers(OWN + 1, OTHER + 1));
                assert_eq!(plane.states(&second), (State::Established, State::Established), "access {at}");
                assert_eq!(plane.verdict(&first.says(ACK)), Reason::FlowMissing, "access {at}");
            },
        );
    }
}

/// Two newcomers want the port of one who can spare it.
#[test]
fn a_port_that_changes_hands_has_one_owner() {
    everywhere(
        || {
            let mut plane: Plane = scene(4);
            (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_000);
            plane.set_maglev(TABLE, &[FIRST]);
            let first = plane.open(client(1));
            plane.wait(1);
            (plane, first)
        },
        |plane, _| drop(plane.send(&tcp(client(2), WEB, SYN))),
        |plane, _| drop(plane.send(&tcp(client(3), WEB, SYN))),
        |plane, first, at| {
            let speaks = |n| plane.verdict(&tcp(client(n), WEB, ACK)) == Reason::ToBackend;
            let speakers: Vec<_> = (1..4).filter(|n| speaks(*n)).collect();
            assert!(speakers.len() == 1 && speakers != [1], "access {at}: {speakers:?}");
            assert_eq!(plane.to_client(&first.answers(ACK)).to, client(speakers[0]), "access {at}");
        },
    );
}

/// A newcomer takes a half-open connection's places at the moment in which its handshake completes.
#[test]
fn a_handshake_may_meet_its_eviction() {
    for last_step in [false, true] {
        everywhere(
            move || {
                let plane: Plane = scene(1);
                let victim = plane.open(client(1));
                if last_step {
                    plane.to_client(&victim.answers(SYN | ACK));
                }
                plane.wait(1);
                (2..5).for_each(|n| _ = plane.establish(client(n)));
                (plane, victim)
            },
            move |plane, victim| {
                drop(plane.send(&if last_step { victim.says(ACK) } else { victim.answers(SYN | ACK) }));
            },
            |plane, _| drop(plane.send(&tcp(client(9), WEB, SYN))),
            ignore,
        );
    }
}
