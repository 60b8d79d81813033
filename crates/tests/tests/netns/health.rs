//! Backends that fail and come back, and what becomes of the connections of each; and services of which nobody is left.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{
    Backend, Connection, Load, Plane, Running, SERVICE_PORT, Servers, Testbed, file, is_up, until,
};
use std::io;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

on_every_plane! {
    a_killed_server_is_avoided_until_it_serves_again["python3"],
    a_backend_cut_off_is_avoided_until_it_is_back["python3", "curl"],
    who_was_down_or_drained_is_so_after_a_restart["python3"],
    connections_go_on_and_new_ones_wait_while_every_check_fails["python3"],
    new_connections_are_refused_at_once_where_the_service_says_so["python3"],
    no_check_fails_while_every_nat_port_is_in_use[],
    connections_of_a_backend_that_is_down_are_as_its_service_says["python3"],
}

/// Connections after which each of two servers has surely been reached.
const MANY: usize = 60;

/// Quick, but three times as long as a busy machine may need for an answer.
fn checks(kind: &str) -> String {
    format!("health = {{ {kind}, interval = \"500ms\", timeout = \"500ms\", rise = 2, fall = 3 }}")
}

/// h2 and h3 behind a service.
fn both(service: &str) -> String {
    file("", service, &[(2, ""), (3, "")])
}

const TCP: &str = "kind = \"tcp\"";
const HTTP: &str = "kind = \"http\", path = \"/health\"";

fn wait_until_up(bed: &Testbed) {
    until("both backends are up", || {
        bed.backends().iter().all(|backend| is_up(backend) && backend["since"].is_u64()).then_some(())
    });
}

/// Waits until h3 is held to be down, and sees to it that the reason is one of these, and since when.
fn wait_until_down(bed: &Testbed, reasons: &[&str]) {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let before = seconds();
    let down = until("h3 is down", || bed.backend(3).filter(|backend| backend["state"] == "down"));
    let reason = down["reason"].as_str().expect("text");
    assert!(reasons.contains(&reason), "it is down for one of {reasons:?}: {down}");
    assert!((before..=seconds()).contains(&down["since"].as_u64().expect("a time")), "{down}");
    assert!(is_up(&bed.backend(2).expect("it is there")));
    let text = bed.told(&["status"]);
    assert!(text.lines().any(|line| line.contains("10.0.0.3:8080") && line.contains(reason)), "{text}");
}

/// A balancer before h2 and h3, long connections to both, and new ones all the time.
fn under_load(bed: &Testbed, service: &str) -> (Running, Load) {
    let balancer = bed.balance_config(&both(service));
    wait_until_up(bed);
    let load = Load::start(MANY / 3);
    load.goes_on(&["h2", "h3"]);
    (balancer, load)
}

/// Connections to h2 know of nothing, and all new ones go there.
fn assert_avoided(load: &Load) {
    load.goes_on(&["h2"]);
    load.next(2 * MANY).assert_on(&["h2"]);
    load.assert_lost_only("h3");
}

fn assert_healed(bed: &Testbed, load: &Load) {
    wait_until_up(bed);
    load.assert_share("h3", 2);
    load.goes_on(&["h2"]);
    load.assert_lost_only("h3");
}

fn a_killed_server_is_avoided_until_it_serves_again(bed: &Testbed) {
    let (_h2, mut h3) = (Backend::start(bed, "h2"), Backend::start(bed, "h3"));
    let (balancer, load) = under_load(bed, &checks(TCP));
    h3.kill();
    wait_until_down(bed, &["connection refused"]);
    balancer.wait_for("warning: backend 10.0.0.3:8080 is down: connection refused");
    assert_avoided(&load);
    load.stands_still("h3", "h2");
    h3.heal(bed);
    assert_healed(bed, &load);
}

fn a_backend_cut_off_is_avoided_until_it_is_back(bed: &Testbed) {
    let (_h2, _h3) = (Backend::start(bed, "h2"), Backend::start(bed, "h3"));
    let (_balancer, load) = under_load(bed, &checks(HTTP));
    bed.do_in("", &["ip", "link", "set", "dev", "veth5", "down"]);
    wait_until_down(bed, &["no answer within 500ms", "no route to host"]);
    assert_avoided(&load);
    load.stands_still("h3", "h2");
    for _ in 0..10 {
        let answer = bed.do_in("", &["curl", "-sS", "--fail", "http://10.0.0.10:8080/"]);
        assert_eq!(answer.stdout, "h2");
    }
    bed.do_in("", &["ip", "link", "set", "dev", "veth5", "up"]);
    assert_healed(bed, &load);
}

fn who_was_down_or_drained_is_so_after_a_restart(bed: &Testbed) {
    let text = both(&checks(TCP));
    let restart = |mut balancer: Running| {
        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        bed.wait_for_the_dead();
        bed.balance_config_and_keep(&text)
    };
    let (_h2, mut h3) = (Backend::start(bed, "h2"), Backend::start(bed, "h3"));
    let balancer = bed.balance_config_and_keep(&text);
    wait_until_up(bed);
    h3.kill();
    wait_until_down(bed, &["connection refused"]);
    let balancer = restart(balancer);
    assert_eq!(bed.backend(3).expect("it is there")["state"], "down");
    let load = Load::start(MANY / 3);
    load.next(2 * MANY).assert_on(&["h2"]);
    h3.heal(bed);
    wait_until_up(bed);
    load.assert_share("h3", 2);

    bed.told(&["drain", "web", "10.0.0.2"]);
    let _balancer = restart(balancer);
    let drained = bed.backend(2).expect("it is there");
    assert_eq!((&drained["state"], &drained["reason"]), (&"draining".into(), &"drained by command".into()));
    load.goes_on(&["h2"]);
    load.next(MANY).assert_on(&["h3"]);
    bed.told(&["undrain", "web", "10.0.0.2"]);
    load.next(MANY).assert_on(&["h2", "h3"]);
}

/// What becomes of a new connection, within two seconds.
fn open() -> io::Result<Connection> {
    Connection::open_within(Duration::from_secs(2), "", None, SERVICE_PORT)
}

/// Two servers that say by HTTP that they do not serve, while they do; gives them with a connection to each.
fn all_down(bed: &Testbed, all_down: &str) -> (Running, [Backend; 2], [Connection; 2]) {
    let backends = ["h2", "h3"].map(|name| Backend::start(bed, name));
    let service = format!("all-down = \"{all_down}\"\non-down = \"drop\"\n{}", checks(HTTP));
    let balancer = bed.balance_config(&both(&service));
    wait_until_up(bed);
    let mut connections = one_to_each();
    // One after the other: what is sent to the first while only the second serves must not end its connections.
    backends[1].answer_health("503 Service Unavailable");
    wait_until_down(bed, &["HTTP 503, wanted 200"]);
    let while_down = b"said while h3 is down";
    connections[1].send(while_down).expect("it is only sent");
    until("it was dropped", || (bed.told_json(&["counters"])["backend-down"].as_u64() > Some(0)).then_some(()));
    backends[0].answer_health("503 Service Unavailable");
    until("nobody serves any more", || {
        let told = bed.backends();
        told.iter()
            .all(|backend| {
                backend["state"] == "down" && backend["reason"].as_str().is_some_and(|it| it.contains("503"))
            })
            .then_some(())
    });
    let nobody = "warning: service \"web\" has nobody left: no backend takes new connections.";
    balancer.wait_for(nobody);
    assert_eq!(balancer.stderr().matches(nobody).count(), 1);
    assert_eq!(connections[1].receive(while_down).expect("it goes on"), "h3");
    (balancer, backends, connections)
}

/// The check may be wrong: live connections go on. Then both are well again.
fn end_of_all_down(bed: &Testbed, balancer: &Running, backends: &[Backend; 2], mut connections: [Connection; 2]) {
    for (connection, name) in connections.iter_mut().zip(["h2", "h3"]) {
        for round in 0..20 {
            assert_eq!(connection.exchange(&[round; 3000]).expect("it goes on"), name);
        }
    }
    backends.iter().for_each(|backend| backend.answer_health("200 OK"));
    wait_until_up(bed);
    balancer.wait_for("service \"web\" has a backend that takes connections again.");
    let load = Load::start(0);
    load.next(MANY).assert_on(&["h2", "h3"]);
    for (connection, name) in connections.iter_mut().zip(["h2", "h3"]) {
        assert_eq!(connection.exchange(b"still there?").expect("it goes on"), name);
    }
}

fn connections_go_on_and_new_ones_wait_while_every_check_fails(bed: &Testbed) {
    let (balancer, backends, connections) = all_down(bed, "drop");
    let error = open().expect_err("nobody takes it");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(bed.told_json(&["counters"])["no-backend"].as_u64() > Some(0));
    end_of_all_down(bed, &balancer, &backends, connections);
}

fn new_connections_are_refused_at_once_where_the_service_says_so(bed: &Testbed) {
    let (balancer, backends, connections) = all_down(bed, "reset");
    for _ in 0..10 {
        let error = open().expect_err("nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(bed.told_json(&["counters"])["refused"], 10);
    end_of_all_down(bed, &balancer, &backends, connections);
}

/// On XDP checks come from the address that full NAT sends from, and the kernel would give them one of its ports.
fn no_check_fails_while_every_nat_port_is_in_use(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    if bed.plane != Plane::Dpdk {
        bed.do_in("lb", &["sh", "-c", "echo 65180 65279 > /proc/sys/net/ipv4/ip_local_port_range"]);
    }
    let checks = "health = { kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\", fall = 1 }";
    let mut balancer = bed.balance_config(&both(checks).replace("[nat]\n", "[nat]\nports = \"65180-65400\"\n"));
    wait_until_up(bed);
    // A hundred towards each of them; whoever finds none of the last few in time is dropped.
    let mut held = Vec::new();
    let mut refused = 0;
    while refused < 10 {
        match open() {
            Ok(connection) => held.push(connection),
            Err(_) => refused += 1,
        }
    }
    assert!((120..=200).contains(&held.len()), "{} connections", held.len());
    // A few checks of each.
    thread::sleep(Duration::from_secs(4));
    for connection in &mut held {
        connection.exchange(b"still there?").expect("it goes on");
    }
    let ended = balancer.interrupt();
    assert!(!ended.stderr.contains("is down"), "{ended}");
    let warned = ended.stderr.contains("warning: full NAT sends from 10.0.0.10, ports 65180-65279");
    assert_eq!(warned, bed.plane != Plane::Dpdk, "{ended}");
}

/// A connection to each server.
fn one_to_each() -> [Connection; 2] {
    ["h2", "h3"].map(|name| {
        until("a connection to each", || {
            let mut connection = Connection::new(SERVICE_PORT);
            (connection.exchange(b"who is it?").expect("it works") == name).then_some(connection)
        })
    })
}

fn connections_of_a_backend_that_is_down_are_as_its_service_says(bed: &Testbed) {
    let backends = ["h2", "h3"].map(|name| Backend::start(bed, name));
    for (on_down, expected) in
        [("keep", None), ("drop", Some(io::ErrorKind::WouldBlock)), ("reset", Some(io::ErrorKind::ConnectionReset))]
    {
        let mut balancer = bed.balance_config(&both(&format!("on-down = \"{on_down}\"\n{}", checks(HTTP))));
        wait_until_up(bed);
        let mut connections = one_to_each();
        backends[1].answer_health("503 Service Unavailable");
        wait_until_down(bed, &["HTTP 503, wanted 200"]);
        connections[1].set_patience(Duration::from_secs(2));
        let outcome = connections[1].exchange(b"still there?").map_err(|error| error.kind());
        assert_eq!(outcome, expected.map_or(Ok("h3".to_owned()), Err), "{on_down}");
        assert_eq!(connections[0].exchange(b"still there?").expect("it is up"), "h2");
        let load = Load::start(0);
        load.next(MANY).assert_on(&["h2"]);
        backends[1].answer_health("200 OK");
        wait_until_up(bed);

        // Whoever is drained first finishes what he has, whatever the service says.
        let mut connections = one_to_each();
        bed.told(&["drain", "web", "10.0.0.3"]);
        backends[1].answer_health("503 Service Unavailable");
        wait_until_down(bed, &["HTTP 503, wanted 200"]);
        for (connection, name) in connections.iter_mut().zip(["h2", "h3"]) {
            assert_eq!(connection.exchange(&[7; 3000]).expect("it goes on"), name, "{on_down}");
        }
        backends[1].answer_health("200 OK");
        bed.told(&["undrain", "web", "10.0.0.3"]);
        wait_until_up(bed);
        assert_eq!(balancer.interrupt().code, Some(0));
        bed.wait_for_the_dead();
    }
}
