//! Connections while things change around them: backends come and go, the balancer is killed, addresses move.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{self, Connection, Plane, Running, SERVICE_PORT, Servers, Testbed, file, until};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Connections opened to see where new ones go. That one of two servers gets none of them by chance: 2^-39.
const PROBES: usize = 40;

on_every_plane! {
    adding_and_removing_backends_moves_no_live_connection[],
    a_killed_balancer_can_be_started_again[],
    a_backend_that_is_down_at_the_start_works_once_it_is_up["nc"],
    a_balancer_whose_backends_are_all_absent_works_once_they_are_there[],
    a_backend_that_announces_a_new_ethernet_address_is_followed_at_once["arping"],
    a_backend_that_moves_in_silence_is_followed_when_it_is_asked_again[],
    a_client_that_changes_its_ethernet_address_is_followed[],
    the_first_datagram_of_a_client_that_has_moved_is_answered[],
    other_idle_times_hold_for_living_connections_and_who_is_forgotten_is_told[],
}

/// The file of a service in front of these hosts of 10.0.0.0/24, each with what is to be said beside its address.
fn in_front_of(backends: &[(u8, &str)]) -> String {
    file("[dataplane]\nmax-flows = 4096", "", backends)
}

/// Connections that never stop talking, each of which must stay on its server.
struct Talkers<'a> {
    stop: &'a AtomicBool,
    exchanges: &'a AtomicU64,
}

impl Talkers<'_> {
    /// Talks on all of them in turn until told to stop; gives them back with their servers.
    fn talk(&self, mut talkers: Vec<(Connection, String)>) -> Vec<(Connection, String)> {
        let mut round = 0_u32;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            for (number, (connection, home)) in talkers.iter_mut().enumerate() {
                let payload = format!("connection {number} round {round} ").repeat(round as usize % 200 + 1);
                let server = connection
                    .exchange(payload.as_bytes())
                    .unwrap_or_else(|error| panic!("connection {number} on {home} broke: {error}"));
                assert_eq!(server, *home, "connection {number} moved");
                self.exchanges.fetch_add(1, Ordering::Relaxed);
            }
        }
        talkers
    }
}

/// Opens connections, says where each one went.
fn open(tag: &str, count: usize) -> Vec<(Connection, String)> {
    (0..count)
        .map(|number| {
            let mut connection = Connection::new(SERVICE_PORT);
            let server = connection.exchange(format!("{tag} {number}").as_bytes()).expect("a new connection works");
            (connection, server)
        })
        .collect()
}

fn servers_of(connections: &[(Connection, String)]) -> Vec<&str> {
    let counted: BTreeMap<&str, usize> = connections.iter().fold(BTreeMap::new(), |mut counted, (_, server)| {
        *counted.entry(server.as_str()).or_default() += 1;
        counted
    });
    counted.into_keys().collect()
}

fn adding_and_removing_backends_moves_no_live_connection(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let mut balancer = bed.balance_config_and_keep(&in_front_of(&[(2, "")]));
    let (stop, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
    let talkers = Talkers { stop: &stop, exchanges: &exchanges };
    // So many more exchanges on every one of up to this many connections: they have felt the change.
    let feel_the_change = || {
        let goal = exchanges.load(Ordering::Relaxed) + 1000;
        until("connections go on", || (exchanges.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    thread::scope(|scope| {
        let stop_at_the_end = StopAtTheEnd(&stop);
        let first = open("only h2", PROBES);
        assert_eq!(servers_of(&first), ["h2"]);
        let talking_first = scope.spawn(|| talkers.talk(first));
        feel_the_change();

        put_in_force(bed, &[(2, ""), (3, ""), (4, ", weight = 0")]);
        balancer.wait_for("backend 10.0.0.3 is at ");
        feel_the_change();
        let second = open("both", PROBES);
        assert_eq!(servers_of(&second), ["h2", "h3"], "the added backend gets its share");
        let talking_second = scope.spawn(|| talkers.talk(second));
        feel_the_change();

        put_in_force(bed, &[(3, "")]);
        feel_the_change();
        assert_eq!(servers_of(&open("only h3", PROBES)), ["h3"], "the removed backend gets none");
        assert!(bed.backend(2).is_some() && bed.backend(4).is_some(), "each has its place until somebody tidies up");

        // A process tidies up every minute, and when it begins: the next one does so at once, over the same tables.
        assert_eq!(balancer.interrupt().code, Some(0));
        bed.wait_for_the_dead();
        balancer = bed.balance_config_and_keep(&in_front_of(&[(3, "")]));
        until("the place of a backend without connections is free", || bed.backend(4).is_none().then_some(()));
        feel_the_change();
        assert!(bed.backend(2).is_some(), "that of one with connections is not");
        assert_eq!(servers_of(&open("only h3 still", PROBES)), ["h3"], "nor does it get new ones after tidying");

        // Back before its connections had ended, then gone again, and everything once more in one go.
        for backends in [&[(2, ""), (3, "")][..], &[(3, "")], &[(2, "")], &[(3, ""), (2, "")]] {
            put_in_force(bed, backends);
        }
        feel_the_change();
        assert_eq!(servers_of(&open("both again", PROBES)), ["h2", "h3"]);

        drop(stop_at_the_end);
        let first = talking_first.join().expect("the first connections held");
        let second = talking_second.join().expect("the second connections held");
        assert_eq!(first.len() + second.len(), 2 * PROBES);
        let flows = bed.told_json(&["flows", "--limit", "10000"]);
        assert!(flows.as_array().is_some_and(|flows| flows.len() >= 2 * PROBES), "{flows}");
    });
}

/// Has the balancer read its file again, which says this now.
fn put_in_force(bed: &Testbed, backends: &[(u8, &str)]) {
    let said = bed.reload(&in_front_of(backends));
    assert!(said.ends_with("In force. No connection has moved.\n"), "{said}");
}

/// Stops the talkers, even if the test fails, for whoever waits for them.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn a_killed_balancer_can_be_started_again(bed: &Testbed) {
    let servers = Servers::tcp(SERVICE_PORT);
    let mut balancer = bed.balance();
    let mut old = open("before", PROBES);
    balancer.signal(libc::SIGKILL);
    assert_eq!(balancer.finish().signal, Some(libc::SIGKILL));
    bed.wait_for_the_dead();
    let has_left_something = bed.is_occupied();
    assert_eq!(has_left_something, bed.plane != Plane::Dpdk);
    if has_left_something {
        works_without_its_process(&mut old);
    }

    // The next one takes its place, and says what that costs.
    let mut balancer = bed.balance();
    let replaced = "replaced the program that a killed evenkeel had left; its connections are forgotten.";
    assert_eq!(balancer.stderr().contains(replaced), has_left_something);
    let (connection, _) = &mut old[0];
    connection.set_patience(Duration::from_secs(2));
    assert!(connection.exchange(b"anybody there?").is_err(), "its connection is forgotten");
    assert!(servers.that_got(b"anybody there?").is_empty());
    assert_eq!(servers_of(&open("after", PROBES)), ["h2", "h3"], "new connections work");

    let ended = balancer.interrupt();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stderr.contains("flow-missing"), "what was dropped is counted: {ended}");
    assert!(!bed.is_occupied());
}

/// An XDP program does, for old connections and for new ones. A TAP device goes with its process.
fn works_without_its_process(old: &mut [(Connection, String)]) {
    for round in 0..5 {
        for (number, (connection, home)) in old.iter_mut().enumerate() {
            let payload = format!("orphaned {number} round {round}");
            assert_eq!(connection.exchange(payload.as_bytes()).expect("the connection holds"), *home);
        }
    }
    assert_eq!(servers_of(&open("orphaned", PROBES)), ["h2", "h3"]);
}

#[test]
fn a_program_left_behind_in_one_mode_is_replaced_in_the_other() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let [generic, native] = Plane::XDP;
        for (old, new) in [(generic, native), (native, generic)] {
            let balancer = bed.balance_on(old);
            balancer.signal(libc::SIGKILL);
            drop(balancer);
            let mut balancer = bed.balance_on(new);
            balancer.wait_for("replaced the program that a killed evenkeel had left");
            assert_eq!(servers_of(&open(&format!("{new:?}"), PROBES)), ["h2", "h3"]);
            assert_eq!(balancer.interrupt().code, Some(0));
            assert!(!bed.is_occupied());
        }
    });
}

/// Opens one connection after the other until one works; those to a server that is not there fail quickly enough.
fn open_until(what: &str, server: &str) -> Connection {
    until(what, || {
        let mut connection = Connection::new(SERVICE_PORT);
        connection.set_patience(Duration::from_millis(500));
        (connection.exchange(b"who is it?").ok()? == server).then_some(connection)
    })
}

/// How many of so many connections can be opened within a moment.
fn opened(bed: &Testbed, count: usize) -> usize {
    let words = ["nc", "-z", "-w", "2", "10.0.0.10", "8080"];
    let mut clients: Vec<_> = (0..count).map(|_| bed.start("", &words)).collect();
    clients.iter_mut().filter_map(|client| (client.finish().code == Some(0)).then_some(())).count()
}

fn a_backend_that_is_down_at_the_start_works_once_it_is_up(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "down"]);
    let mut balancer = bed.start_balancer();
    balancer.wait_for("backend 10.0.0.2 is at de:ad:be:ef:00:02");
    balancer.wait_for("warning: backend 10.0.0.3 does not answer ARP; it gets no connections until it does (services");
    assert_eq!(opened(bed, PROBES), PROBES, "the other backend takes all of them");

    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "up"]);
    balancer.wait_for("backend 10.0.0.3 is at de:ad:be:ef:00:03");
    assert_eq!(servers_of(&open("both are up", PROBES)), ["h2", "h3"]);
    assert_eq!(balancer.interrupt().code, Some(0));
}

fn a_balancer_whose_backends_are_all_absent_works_once_they_are_there(bed: &Testbed) {
    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "down"]);
    bed.do_in("h2", &["ip", "link", "set", "dev", "veth2", "down"]);
    let balancer = bed.start_balancer();
    balancer.wait_for_times("does not answer ARP", 2);
    bed.do_in("h2", &["ip", "link", "set", "dev", "veth2", "up"]);
    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "up"]);
    balancer.wait_for("backend 10.0.0.2 is at");
    balancer.wait_for("backend 10.0.0.3 is at");
    let _servers = Servers::tcp(SERVICE_PORT);
    assert_eq!(servers_of(&open("both are up", PROBES)), ["h2", "h3"]);
}

/// A live connection to a server, and the balancer in front of it.
fn connection_to_h3(bed: &Testbed) -> (Running, Connection) {
    let balancer = bed.balance();
    (balancer, open_until("a connection to h3", "h3"))
}

fn a_backend_that_announces_a_new_ethernet_address_is_followed_at_once(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let (balancer, mut connection) = connection_to_h3(bed);
    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "address", "de:ad:be:ef:00:33"]);
    // There are two programs of this name: one ends with 1 if nobody answers, and to an announcement nobody does.
    bed.start("h3", &["arping", "-U", "-c", "3", "-I", "veth4", "10.0.0.3"]).finish();
    balancer.wait_for("backend 10.0.0.3 is at de:ad:be:ef:00:33");
    assert_eq!(connection.exchange(b"still there?").expect("the connection holds"), "h3");
    assert_eq!(servers_of(&open("after the move", PROBES)), ["h2", "h3"]);
}

fn a_backend_that_moves_in_silence_is_followed_when_it_is_asked_again(bed: &Testbed) {
    // DPDK's host asks every ten seconds.
    if bed.plane != Plane::Dpdk {
        hurry_the_kernel(bed);
    }
    let _servers = Servers::tcp(SERVICE_PORT);
    let (balancer, mut connection) = connection_to_h3(bed);
    bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "address", "de:ad:be:ef:00:33"]);
    balancer.wait_for("backend 10.0.0.3 is at de:ad:be:ef:00:33");
    assert_eq!(connection.exchange(b"still there?").expect("the connection holds"), "h3");
    assert_eq!(servers_of(&open("after the move", PROBES)), ["h2", "h3"]);
}

/// The kernel trusts what it has heard for half a minute, then asks; here everything ten times faster.
fn hurry_the_kernel(bed: &Testbed) {
    for (setting, value) in [
        ("base_reachable_time_ms", "1000"),
        ("gc_stale_time", "1"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "200"),
    ] {
        let setting = format!("/proc/sys/net/ipv4/neigh/veth6/{setting}");
        bed.do_in("lb", &["sh", "-c", &format!("echo {value} > {setting}")]);
    }
}

fn a_client_that_changes_its_ethernet_address_is_followed(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance();
    let mut connections = open("before", 10);
    bed.do_in("", &["ip", "link", "set", "dev", "veth0", "address", "de:ad:be:ef:00:99"]);
    let all = open("new ones", PROBES);
    assert_eq!(servers_of(&all), ["h2", "h3"], "new connections work at once");
    for (number, (connection, home)) in connections.iter_mut().enumerate() {
        let server = connection.exchange(format!("after {number}").as_bytes());
        assert_eq!(server.expect("an old connection goes on"), *home);
    }
}

fn the_first_datagram_of_a_client_that_has_moved_is_answered(bed: &Testbed) {
    let _servers = Servers::udp(SERVICE_PORT);
    let _balancer = bed.balance();
    let socket = UdpSocket::bind("10.0.0.1:0").expect("a port is free");
    socket.connect("10.0.0.10:8080").expect("there is a route");
    socket.set_read_timeout(Some(testbed::DEADLINE)).expect("not zero");
    let exchange = |payload: &[u8]| {
        socket.send(payload).expect("it leaves");
        socket.recv(&mut [0; 2048])
    };
    for number in 0..10 {
        exchange(&[number]).expect("an answer");
    }
    bed.do_in("", &["ip", "link", "set", "dev", "veth0", "address", "de:ad:be:ef:00:99"]);
    exchange(b"from elsewhere").expect("an answer, though nothing is sent twice");
}

/// A reload that wants other idle times, and answers to whoever is not known, is another program on XDP: no connection notices.
fn other_idle_times_hold_for_living_connections_and_who_is_forgotten_is_told(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let text = |service: &str| file("[dataplane]\nmax-flows = 4096", service, &[(2, ""), (3, "")]);
    let _balancer = bed.balance_config_and_keep(&text(""));
    let mut connections = open("idle", 4);
    let flows = || bed.told_json(&["flows"]).as_array().expect("a list").len();
    assert_eq!(flows(), 4);
    bed.reload(&text("idle = { established = \"9h\" }"));
    for (connection, home) in &mut connections {
        assert_eq!(connection.exchange(b"still there?").expect("it goes on"), *home);
    }
    bed.reload(&text("idle = { established = \"2s\" }\non-missing = \"reset\""));
    until("silent connections are forgotten", || (flows() == 0).then_some(()));
    for (connection, _) in &mut connections {
        let error = connection.exchange(b"still there?").expect_err("it is forgotten");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    for (connection, home) in &mut open("idle again", 4) {
        assert_eq!(connection.exchange(b"new").expect("it works"), *home);
    }
}
