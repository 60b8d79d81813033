//! A connection's life: its states, how long it may be idle, and that it stays where it is.

use crate::support::*;
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{IdleTimes, Now, State, Tick};
use evenkeel_core::{BackendRef, BackendState, Event, Reason};
use evenkeel_wire::MacAddress;

const IDLE: IdleTimes = IdleTimes::DEFAULT;

/// An idle time of a state that is stamped finely, in units of the clock.
fn fine(milliseconds: u32) -> u32 {
    Now::span(milliseconds).into()
}

/// One of a state that is stamped in ticks.
fn coarse(milliseconds: u32) -> u32 {
    u32::from(Tick::span(milliseconds)) << 6
}

fn other(backend: SocketAddr) -> SocketAddr {
    if backend == H2 { H3 } else { H2 }
}

fn reference(backend: SocketAddr) -> BackendRef {
    if backend == H2 { FIRST } else { SECOND }
}

#[test]
fn a_handshake_opens_a_connection_step_by_step() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.open(client(1));
    plane.assert_state(&connection, State::Opening);
    plane.to_client(&connection.answers(SYN | ACK));
    plane.assert_state(&connection, State::Answered);
    plane.to_backend(&connection.says(ACK));
    plane.assert_state(&connection, State::Established);
    assert_eq!(plane.happened(Event::FlowOpened), 1);
}

#[test]
fn a_syn_sent_again_finds_its_flow() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.open(client(1));
    for _ in 0..5 {
        assert_eq!(plane.open(client(1)), connection);
    }
    plane.to_client(&connection.answers(SYN | ACK));
    assert_eq!(plane.open(client(1)), connection);
    plane.assert_state(&connection, State::Answered);
    plane.to_client(&connection.answers(SYN | ACK));
    plane.to_backend(&connection.says(ACK));
    assert_eq!(plane.open(client(1)), connection);
    plane.assert_state(&connection, State::Established);
    assert_eq!(plane.happened(Event::FlowOpened), 1);
}

#[test]
fn fins_from_both_sides_close() {
    let plane: MemoryPlane = scene(64);
    for (n, client_first) in [(1, true), (2, false)] {
        let connection = plane.establish(client(n));
        let mut fins = [connection.says(FIN | ACK), connection.answers(FIN | ACK)];
        if !client_first {
            fins.reverse();
        }
        plane.assert_carries(&connection, &fins[0]);
        plane.assert_state(&connection, State::HalfClosed);
        // The other side may go on for as long as it likes.
        let more = [connection.answers(ACK), connection.says(ACK)];
        plane.assert_carries(&connection, &more[usize::from(!client_first)]);
        plane.assert_acknowledges(&connection);
        plane.assert_state(&connection, State::HalfClosed);
        plane.assert_carries(&connection, &fins[1]);
        plane.assert_state(&connection, State::Closing);
        // The last acknowledgements, and FINs sent again, still get through.
        plane.assert_acknowledges(&connection);
        fins.iter().for_each(|fin| plane.assert_carries(&connection, fin));
        plane.assert_state(&connection, State::Closing);
    }
}

#[test]
fn a_reset_from_either_side_closes() {
    let plane: MemoryPlane = scene(64);
    let first = plane.establish(client(1));
    plane.to_backend(&first.says(RST));
    plane.assert_state(&first, State::Reset);
    let first = plane.establish(client(3));
    plane.reset(&first);
    plane.assert_state(&first, State::Reset);
    // A refusal that acknowledges the SYN is believed at once.
    let second = plane.open(client(2));
    plane.to_client(&second.answers(RST | ACK));
    plane.assert_state(&second, State::Closing);
}

#[test]
fn a_syn_over_a_closing_connection_reopens_it() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.close(&connection);
    assert_eq!(plane.open(client(1)), connection);
    plane.assert_state(&connection, State::Opening);
    assert_eq!(plane.establish(client(1)), connection);
    // The FINs of the last connection are forgotten: one alone does not close this one.
    plane.to_backend(&connection.says(FIN | ACK));
    plane.assert_state(&connection, State::HalfClosed);
}

#[test]
fn a_syn_over_a_closing_connection_leaves_a_draining_backend() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.close(&connection);
    plane.set_state(reference(connection.backend), BackendState::Draining);
    plane.set_maglev(TABLE, &[reference(other(connection.backend))]);
    let again = plane.establish(client(1));
    assert_eq!(again.backend, other(connection.backend));
    plane.assert_works(&again);
    assert_eq!(plane.verdict(&connection.answers(ACK)), Reason::NoService, "the old backend is heard no more");
    plane.assert_works(&again);
}

#[test]
fn a_udp_flow_is_established_when_the_client_speaks_two_seconds_after_the_answer() {
    let plane: MemoryPlane = scene(64);
    let flow = plane.open_udp(client(1));
    for _ in 0..3 {
        plane.to_backend(&flow.asks_by_udp());
        plane.assert_state(&flow, State::Opening);
    }
    for _ in 0..3 {
        plane.to_client(&flow.answers_by_udp());
        plane.assert_state(&flow, State::Answered);
    }
    // A question asked again, or a second one, is no stream.
    for units in [0, 119] {
        plane.pass(units);
        assert!(flow.is_at_backend(&plane.to_backend(&flow.asks_by_udp())));
        plane.assert_state(&flow, State::Answered);
    }
    plane.pass(1);
    assert!(flow.is_at_backend(&plane.to_backend(&flow.asks_by_udp())));
    plane.assert_state(&flow, State::Established);
}

#[test]
fn a_flow_lives_for_its_idle_time_and_no_longer() {
    let plane: MemoryPlane = scene(1024);
    type Prepare = fn(&MemoryPlane, SocketAddr) -> Connection;
    let cases: [(&str, u32, Prepare); 6] = [
        ("opening", fine(IDLE.opening), |plane, client| plane.open(client)),
        ("answered", fine(IDLE.answered), |plane, client| {
            let connection = plane.open(client);
            plane.to_client(&connection.answers(SYN | ACK));
            connection
        }),
        ("established", coarse(IDLE.established), |plane, client| plane.establish(client)),
        ("half-closed", coarse(IDLE.half_closed), |plane, client| {
            let connection = plane.establish(client);
            plane.to_backend(&connection.says(FIN | ACK));
            connection
        }),
        ("reset", fine(IDLE.closing), |plane, client| {
            let connection = plane.establish(client);
            plane.reset(&connection);
            connection
        }),
        ("closing", fine(IDLE.closing), |plane, client| {
            let connection = plane.establish(client);
            plane.close(&connection);
            connection
        }),
    ];
    for (n, (what, idle, prepare)) in cases.into_iter().enumerate() {
        let n = 10 * n as u16;
        let (alive, dead_for_client, dead_for_backend) =
            (prepare(&plane, client(n)), prepare(&plane, client(n + 1)), prepare(&plane, client(n + 2)));
        plane.pass(idle);
        plane.assert_works(&alive);
        // One unit more, of the kind that the stamp is in.
        plane.pass(if idle == coarse(IDLE.established) || idle == coarse(IDLE.half_closed) { 64 } else { 1 });
        assert_eq!(plane.verdict(&dead_for_client.says(ACK)), Reason::FlowMissing, "{what}");
        assert_eq!(plane.verdict(&dead_for_backend.answers(ACK)), Reason::FlowMissing, "{what}");
    }
}

#[test]
fn a_udp_flow_lives_for_its_idle_time_and_no_longer() {
    let plane: MemoryPlane = scene(1024);
    type Prepare = fn(&MemoryPlane, SocketAddr) -> Connection;
    let cases: [(&str, u32, u32, Prepare); 3] = [
        ("opening", fine(IDLE.udp_opening), 1, |plane, client| plane.open_udp(client)),
        ("answered", fine(IDLE.udp_answered), 1, |plane, client| plane.answered_udp(client)),
        ("established", coarse(IDLE.udp_established), 64, |plane, client| plane.stream(client)),
    ];
    for (n, (what, idle, unit, prepare)) in cases.into_iter().enumerate() {
        let n = 10 * n as u16;
        let (alive, dead_for_backend) = (prepare(&plane, client(n)), prepare(&plane, client(n + 2)));
        plane.pass(idle - if what == "established" { 128 } else { 0 });
        assert_eq!(plane.to_client(&alive.answers_by_udp()).to, client(n), "{what}");
        plane.pass(unit + if what == "established" { 128 } else { 0 });
        assert_eq!(plane.verdict(&dead_for_backend.answers_by_udp()), Reason::FlowMissing, "{what}");
    }
}

#[test]
fn an_idle_udp_flow_is_forgotten_sooner_than_a_tcp_connection() {
    let plane: MemoryPlane = scene(64);
    let tcp = plane.establish(client(1));
    let udp = plane.open_udp(client(2));
    plane.to_client(&udp.answers_by_udp());
    plane.wait(2);
    plane.to_backend(&udp.asks_by_udp());
    plane.assert_state(&udp, State::Established);
    plane.wait(Tick::span(IDLE.udp_established) + 1);
    assert_eq!(plane.verdict(&udp.answers_by_udp()), Reason::FlowMissing);
    plane.assert_works(&tcp);
}

#[test]
fn traffic_in_one_direction_keeps_the_whole_connection() {
    for from_client in [true, false] {
        let plane: MemoryPlane = scene(64);
        let connection = plane.establish(client(1));
        let segment = if from_client { connection.says(ACK) } else { connection.answers(ACK) };
        for _ in 0..5 {
            plane.wait(Tick::span(IDLE.established) - 1);
            plane.verdict(&segment);
        }
        plane.assert_works(&connection);
    }
}

#[test]
fn a_stamp_is_renewed_only_when_it_is_old() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let stamps = || plane.remembered().iter().map(|entry| entry.meta.seen()).collect::<Vec<_>>();
    plane.assert_state(&connection, State::Established);
    let Tick(start) = stamps()[0];
    let renew = plane.settings.timeouts.renew;
    plane.wait(renew - 1);
    plane.assert_works(&connection);
    assert_eq!(stamps(), [Tick(start), Tick(start)]);
    plane.wait(1);
    plane.to_client(&connection.answers(ACK));
    assert_eq!(stamps(), [Tick(start + renew), Tick(start + renew)]);
}

#[test]
fn a_connection_stays_when_the_table_changes_or_its_backend_drains() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let half_open = plane.open(client(2));
    plane.set_maglev(TABLE, &[reference(other(connection.backend))]);
    plane.assert_works(&connection);
    plane.set_state(reference(connection.backend), BackendState::Draining);
    plane.wait(Tick::span(IDLE.opening) - 1);
    plane.assert_works(&connection);
    assert_eq!(plane.open(client(2)), half_open);
    plane.set_maglev(TABLE, &[]);
    plane.assert_works(&connection);
    plane.to_backend(&connection.says(FIN | ACK));
    plane.to_client(&connection.answers(FIN | ACK));
}

#[test]
fn a_connection_of_a_dead_backend_ends_and_a_syn_opens_a_new_one() {
    // Down, or its place given to somebody else: the same to its connections.
    let down = |link: Link| Link::new(link.mac(), link.generation(), BackendState::Down);
    let replaced = |link: Link| Link::new(link.mac(), link.generation() + 1, BackendState::Up);
    for change in [&down as &dyn Fn(Link) -> Link, &replaced] {
        let plane: MemoryPlane = scene(64);
        let (connection, heard) = (plane.establish(client(1)), plane.establish(client(2)));
        for gone in [connection, heard] {
            plane.set_link(reference(gone.backend).index, |link| {
                if link.state() == BackendState::Up && link.generation() == 1 { change(link) } else { link }
            });
        }
        assert_eq!(plane.verdict(&connection.says(ACK)), Reason::BackendDown);
        assert_eq!(plane.verdict(&heard.answers(ACK)), Reason::BackendDown);
    }

    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.set_state(reference(connection.backend), BackendState::Down);
    plane.set_maglev(TABLE, &[reference(other(connection.backend))]);
    let again = plane.establish(client(1));
    assert_eq!(again.backend, other(connection.backend));
    plane.assert_works(&again);
}

#[test]
fn a_backend_that_was_held_to_be_down_finds_its_connections_again() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    plane.set_state(reference(connection.backend), BackendState::Down);
    assert_eq!(plane.verdict(&connection.says(ACK)), Reason::BackendDown);
    assert_eq!(plane.verdict(&connection.answers(ACK)), Reason::BackendDown);
    plane.set_state(reference(connection.backend), BackendState::Up);
    plane.assert_works(&connection);
}

#[test]
fn the_client_is_followed_to_another_ethernet_address() {
    const NEW: [u8; 6] = [0x02, 0xff, 0xee, 0xdd, 0xcc, 0xbb];
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    assert_eq!(plane.to_client(&connection.answers(ACK)).destination_mac, CLIENT_MAC);
    // An established connection looks at it no more often than it is renewed.
    plane.wait(plane.settings.timeouts.renew);
    plane.to_backend(&connection.says(ACK).source_mac(NEW));
    let got = plane.to_client(&connection.answers(ACK));
    assert_eq!((got.destination_mac, got.to), (NEW, client(1)));
}

#[test]
fn a_backend_is_followed_to_another_ethernet_address_at_once() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let new = MacAddress([0x02, 1, 1, 1, 1, 1]);
    plane.set_link(reference(connection.backend).index, |link| Link::new(new, link.generation(), link.state()));
    assert_eq!(plane.to_backend(&connection.says(ACK)).destination_mac, new.0);
}

#[test]
fn only_the_connections_backend_is_heard() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    let Connection { nat, backend, .. } = connection;
    let strangers = [other(backend), at(backend.ip(), 8081), at(client(1).ip(), 8080), end([10, 0, 1, 9], 8080)];
    for stranger in strangers {
        assert_eq!(plane.verdict(&tcp(stranger, nat, ACK)), Reason::NoService, "{stranger:?}");
        assert_eq!(plane.verdict(&udp(stranger, nat)), Reason::NoService, "{stranger:?}");
    }
    assert_eq!(plane.verdict(&udp(backend, nat)), Reason::NoService, "another protocol");
    assert_eq!(plane.verdict(&tcp(backend, at(NAT, nat.port() ^ 1), ACK)), Reason::NoService);
    plane.assert_works(&connection);
}

#[test]
fn only_a_syn_opens_a_connection() {
    let plane: MemoryPlane = scene(64);
    for flags in [0, ACK, FIN, RST, RST | ACK, SYN | ACK, SYN | RST, SYN | FIN, FIN | ACK] {
        assert_eq!(plane.verdict(&tcp(client(1), WEB, flags)), Reason::FlowMissing, "{flags:#x}");
    }
    assert!(plane.remembered().is_empty());
}

#[test]
fn two_services_of_one_client_port_are_two_connections() {
    let plane: MemoryPlane = scene(64);
    let tcp = plane.establish(client(1));
    let udp = plane.open_udp(client(1));
    plane.assert_works(&tcp);
    assert_eq!(plane.to_client(&udp.answers_by_udp()).to, client(1));
}

/// The health of a backend flaps while one of its segments is on its way. That must not tear a connection in two: a
/// client entry that sends from a port which somebody else may claim.
#[test]
fn a_flapping_backend_does_not_leave_a_client_entry_without_its_port() {
    let mut plane: MemoryPlane = scene(64);
    (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_000);
    plane.set_maglev(TABLE, &[FIRST]);
    let first = plane.establish(client(1));
    plane.set_state(FIRST, BackendState::Down);
    assert_eq!(plane.verdict(&first.answers(ACK)), Reason::BackendDown);
    plane.set_state(FIRST, BackendState::Up);
    // There is one port, and the first client's connection has lost it.
    if let (Reason::ToBackend, Some(view)) = plane.send(&tcp(client(2), WEB, SYN)) {
        let second = Connection { client: client(2), nat: view.from, backend: view.to };
        plane.to_client(&second.answers(SYN | ACK));
        plane.to_backend(&second.says(ACK));
        let (reason, leaked) = plane.send(&first.says(ACK));
        assert_eq!((reason, leaked), (Reason::FlowMissing, None), "the first client speaks in the second one's name");
    }
}

/// A client whose backend was down has moved to another. What the old backend still has to say is not for it.
#[test]
fn a_backend_that_a_client_has_left_is_not_heard_when_it_comes_back() {
    let plane: MemoryPlane = scene(64);
    plane.set_maglev(TABLE, &[FIRST]);
    let old = plane.establish(client(1));
    plane.set_state(FIRST, BackendState::Down);
    plane.set_maglev(TABLE, &[SECOND]);
    let new = plane.establish(client(1));
    plane.set_state(FIRST, BackendState::Up);
    plane.assert_works(&new);
    let (reason, leaked) = plane.send(&old.answers(ACK));
    assert_ne!(reason, Reason::ToClient, "{leaked:?}");
}
