//! Packets from strangers who know, or guess, who speaks with whom, but not the numbers: they change no connection.

use evenkeel_packets::{ACK, FIN, RST, SYN, tcp};
use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Connection, SERVICE_PORT, Servers, Stranger, Testbed, file, until};
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

on_every_plane! {
    resets_and_fins_that_both_ends_ignore_end_nothing[],
    a_handshake_that_is_guessed_establishes_nothing[],
    a_syn_over_a_live_connection_of_a_draining_backend_does_not_cut_it[],
    who_uses_a_port_again_is_a_new_connection[],
}

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10), SERVICE_PORT);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const BACKENDS: [(&str, &str, Ipv4Addr); 2] =
    [("h2", "veth2", Ipv4Addr::new(10, 0, 0, 2)), ("h3", "veth4", Ipv4Addr::new(10, 0, 0, 3))];

/// As short as the file can say: what a stranger has made of a connection would be the end of it in seconds.
const HASTY: &str = "idle = { half-closed = \"1s\", closing = \"1s\" }";
/// Longer than any of these.
const SILENCE: Duration = Duration::from_secs(4);

fn both(head: &str, service: &str) -> String {
    file(head, service, &[(2, ""), (3, "")])
}

/// What is known of a client's connection.
fn flow(bed: &Testbed, client: SocketAddrV4) -> Option<Value> {
    let flows = bed.told_json(&["flows", "--limit", "10000"]);
    let flows = flows.as_array().expect("a list").clone();
    flows.into_iter().find(|flow| flow["client"] == client.to_string())
}

fn end_of(flow: &Value, key: &str) -> SocketAddrV4 {
    flow[key].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {key} in {flow}"))
}

fn resets_and_fins_that_both_ends_ignore_end_nothing(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both("", HASTY));
    // From the client's side in the client's name, then from the backend's in the backend's.
    let said = [&[RST][..], &[RST | ACK], &[FIN | ACK], &[FIN], &[SYN], &[SYN, RST], &[FIN | ACK, RST], &[SYN | ACK]];
    let from_client = said.iter().map(|flags| (false, *flags));
    let scenes: Vec<_> = from_client.chain(said.iter().map(|flags| (true, *flags))).collect();
    let mut connections: Vec<_> = (41_000..)
        .zip(&scenes)
        .map(|(port, scene)| {
            let from = SocketAddrV4::new(CLIENT, port);
            let mut connection = Connection::open("", Some(from), SERVICE_PORT).expect("it works");
            let home = connection.exchange(b"first").expect("it works");
            (from, connection, home, scene)
        })
        .collect();
    let at_client = Stranger::at_client();
    let at_backends = BACKENDS.map(|(namespace, interface, _)| Stranger::at(namespace, interface));
    for (from, _, home, (at_backend, flags)) in &connections {
        let flow = flow(bed, *from).expect("it is known");
        let place = BACKENDS.iter().position(|(name, ..)| name == home).expect("one of the two");
        for (number, flags) in (0x1234_0000..).zip(*flags) {
            if *at_backend {
                let draft = tcp(end_of(&flow, "backend"), end_of(&flow, "nat"), *flags);
                at_backends[place].send(draft.numbers(number, !number).payload(&[]));
            } else {
                at_client.send(tcp(*from, SERVICE, *flags).numbers(number, !number).payload(&[]));
            }
        }
    }
    let mut go_on = |what: &[u8]| {
        for (from, connection, home, scene) in &mut connections {
            let server = connection.exchange(what).unwrap_or_else(|error| panic!("{from}, after {scene:?}: {error}"));
            assert_eq!(server, *home, "{from}, after {scene:?}");
        }
    };
    go_on(b"second");
    thread::sleep(SILENCE);
    go_on(b"third");
}

fn a_handshake_that_is_guessed_establishes_nothing(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both("", ""));
    Connection::new(SERVICE_PORT).exchange(b"hello").expect("it works");
    let stranger = Stranger::at_client();
    let guesses = [&[][..], &[0], &[ACK], &[ACK, ACK], &[FIN | ACK], &[RST | ACK], &[FIN], &[SYN | ACK]];
    let nobody = |number: usize| SocketAddrV4::new(Ipv4Addr::new(100, 64, 7, number as u8), 5000);
    for number in 0..guesses.len() {
        stranger.send(tcp(nobody(number), SERVICE, SYN).numbers(77, 0).payload(&[]));
    }
    until("backends have answered", || {
        (0..guesses.len())
            .all(|number| flow(bed, nobody(number)).is_some_and(|flow| flow["state"] == "answered"))
            .then_some(())
    });
    let seen = || {
        let counters = bed.told_json(&["counters"]);
        ["to-backend", "flow-missing"].iter().filter_map(|name| counters[name].as_u64()).sum::<u64>()
    };
    let (before, mut sent) = (seen(), 0);
    for (number, guess) in guesses.iter().enumerate() {
        for flags in *guess {
            stranger.send(tcp(nobody(number), SERVICE, *flags).numbers(78, 0xdead_beef).payload(b"guess"));
            sent += 1;
        }
    }
    until("guesses are seen", || (seen() >= before + sent).then_some(()));
    for (number, guess) in guesses.iter().enumerate() {
        let flow = flow(bed, nobody(number));
        let state = flow.as_ref().map_or("gone", |flow| flow["state"].as_str().unwrap_or_default());
        assert!(!["established", "half-closed"].contains(&state), "after {guess:?}: {flow:?}");
    }
}

fn a_syn_over_a_live_connection_of_a_draining_backend_does_not_cut_it(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both("", HASTY));
    let mut connections: Vec<_> = (42_000..42_020)
        .map(|port| {
            let from = SocketAddrV4::new(CLIENT, port);
            let mut connection = Connection::open("", Some(from), SERVICE_PORT).expect("it works");
            let home = connection.exchange(b"first").expect("it works");
            (from, connection, home)
        })
        .collect();
    assert!(connections.iter().any(|(.., home)| home == "h2"));
    let stranger = Stranger::at_client();
    for order in [&["drain", "web", "10.0.0.2"][..], &["weight", "web", "10.0.0.3", "0"]] {
        match order[0] {
            "drain" => _ = bed.told(order),
            _ => bed.leave_nobody(&[order]),
        }
        let before = bed.told_json(&["counters"])["to-backend"].as_u64();
        for (from, ..) in &connections {
            stranger.send(tcp(*from, SERVICE, SYN).numbers(0x1234_5678, 0).payload(&[]));
        }
        until("SYNs are seen", || {
            let seen = bed.told_json(&["counters"])["to-backend"].as_u64();
            (seen >= before.map(|before| before + connections.len() as u64)).then_some(())
        });
        for (from, connection, home) in &mut connections {
            let server = connection.exchange(b"still there?").unwrap_or_else(|error| panic!("{from}: {error}"));
            assert_eq!(server, *home, "{from}");
        }
    }
}

/// How a client leaves its connection.
#[derive(Clone, Copy, Debug)]
enum Leave {
    ByFin,
    ByReset,
}

/// A connection from this port, as soon as the kernel lets us have it once more; and who it was with.
fn use_port(port: u16, leave: Leave) -> String {
    let from = SocketAddrV4::new(CLIENT, port);
    let mut connection = until("the port is free again", || match Connection::open("", Some(from), SERVICE_PORT) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => None,
        other => Some(other.unwrap_or_else(|error| panic!("{from}: {error}"))),
    });
    let home = connection.exchange(b"who is it?").unwrap_or_else(|error| panic!("{from}: {error}"));
    match leave {
        Leave::ByFin => connection.close(),
        Leave::ByReset => connection.reset(),
    }
    home
}

fn who_uses_a_port_again_is_a_new_connection(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both("", ""));
    // A client's kernel holds a port back for a second only.
    bed.do_in("", &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse"]);
    let ports = |leave| match leave {
        Leave::ByFin => 43_000..43_020,
        Leave::ByReset => 44_000..44_020,
    };
    for leave in [Leave::ByFin, Leave::ByReset] {
        bed.told(&["weight", "web", "10.0.0.2", "1"]);
        let on_h2 = ports(leave).filter(|port| use_port(*port, leave) == "h2").count();
        assert!(on_h2 > 0, "{leave:?}: h2 has its share");
        // What ends a connection is in earnest if nobody goes on for a second.
        thread::sleep(Duration::from_millis(1500));
        bed.told(&["weight", "web", "10.0.0.2", "0"]);
        for port in ports(leave) {
            assert_eq!(use_port(port, leave), "h3", "{leave:?}, {port}: the other one takes none");
        }
        thread::sleep(Duration::from_millis(1500));
        bed.told(&["weight", "web", "10.0.0.2", "1"]);
        let on_h2 = ports(leave).filter(|port| use_port(*port, leave) == "h2").count();
        assert!(on_h2 > 0, "{leave:?}: h2 has its share again");
    }
}
