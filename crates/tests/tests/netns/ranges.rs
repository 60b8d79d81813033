//! Services with several ports: one service, whose backends are asked at the port that the client asked for.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Connection, Running, Servers, Testbed, until};
use std::net::UdpSocket;
use std::time::Duration;

on_every_plane! {
    every_port_of_a_range_is_served_and_none_beside_it[],
    a_range_that_grows_and_a_restart_end_no_connection[],
}

/// A TCP and a UDP service with these ports, of h2 and h3.
fn file(ports: &str) -> String {
    let service = |protocol: &str| {
        format!(
            "[[service]]\nname = \"{protocol}\"\naddress = \"10.0.0.10\"\nport = \"{ports}\"\nprotocol = \"{protocol}\"\n\
             on-missing = \"drop\"\nbackends = [{{ address = \"10.0.0.2\" }}, {{ address = \"10.0.0.3\" }}]\n"
        )
    };
    format!("[nat]\naddresses = [\"10.0.0.10\"]\n{}{}", service("tcp"), service("udp"))
}

/// Asks by UDP until both have answered from the port that was asked.
fn ask_both(port: u16) {
    let mut waited_for = vec!["h2", "h3"];
    until(&format!("answers from both at UDP port {port}"), || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("there is a port");
        socket.connect(("10.0.0.10", port)).expect("there is a way");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time is not zero");
        socket.send(b"who is it?").expect("it is only sent");
        let mut answer = [0; 64];
        let count = socket.recv(&mut answer).ok()?;
        let answer = std::str::from_utf8(&answer[..count]).expect("text");
        waited_for.retain(|server| answer != format!("{server}who is it?"));
        waited_for.is_empty().then_some(())
    });
}

/// Connects until both have taken a connection, which are given.
fn connect_both(port: u16) -> [Connection; 2] {
    ["h2", "h3"].map(|name| {
        until(&format!("a connection to {name} at TCP port {port}"), || {
            let mut connection = Connection::new(port);
            (connection.exchange(b"who is it?").expect("it works") == name).then_some(connection)
        })
    })
}

fn every_port_of_a_range_is_served_and_none_beside_it(bed: &Testbed) {
    let ports = [20000, 24321, 29999];
    let _servers = ports.map(|port| (Servers::tcp(port), Servers::udp(port)));
    // And where nobody shall come.
    let _beside = [19999, 30000].map(Servers::tcp);
    let mut balancer = bed.balance_config(&file("20000-29999"));
    for port in ports {
        connect_both(port);
        ask_both(port);
    }
    for port in [19999, 30000] {
        assert!(Connection::open_within(Duration::from_secs(1), "", None, port).is_err(), "port {port} is nobody's");
    }
    let status = bed.told_json(&["status"]);
    let told = &status["services"][0];
    assert_eq!((&told["port"], &told["last_port"]), (&20000.into(), &29999.into()), "{told}");
    let text = bed.told(&["status"]);
    assert!(text.contains("tcp 10.0.0.10:20000-29999"), "{text}");
    let flows = bed.told_json(&["flows", "--service", "udp"]);
    let flows = flows.as_array().expect("a list");
    let asked = |flow: &serde_json::Value| flow["backend"].as_str().is_some_and(|backend| backend.ends_with(":24321"));
    assert!(flows.iter().any(asked), "{flows:?}");
    assert_eq!(balancer.interrupt().code, Some(0));
}

fn a_range_that_grows_and_a_restart_end_no_connection(bed: &Testbed) {
    let _servers = [20000, 20005, 20015].map(Servers::tcp);
    let restart = |mut balancer: Running, text: &str| {
        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        bed.wait_for_the_dead();
        bed.balance_config_and_keep(text)
    };
    let goes_on = |connections: &mut [Connection]| {
        for connection in connections {
            connection.exchange(b"still there?").expect("it goes on");
        }
    };
    let balancer = bed.balance_config_and_keep(&file("20000-20009"));
    let mut connections = Vec::from_iter([20000, 20005].into_iter().flat_map(connect_both));
    assert!(Connection::open_within(Duration::from_secs(1), "", None, 20015).is_err());
    bed.config("evenkeel.toml", &file("20000-20019"));
    bed.told(&["reload"]);
    goes_on(&mut connections);
    connections.extend(connect_both(20015));
    let balancer = restart(balancer, &file("20000-20019"));
    goes_on(&mut connections);
    connect_both(20015);
    // Who has asked at a port that is none any more goes on as well.
    let balancer = restart(balancer, &file("20000-20009"));
    goes_on(&mut connections);
    assert!(Connection::open_within(Duration::from_secs(1), "", None, 20015).is_err());
    let places = bed.told_json(&["status"])["services"][0]["backends"].as_array().map(Vec::len);
    assert_eq!(places, Some(2), "it is one service all the time");
    drop(balancer);
}
