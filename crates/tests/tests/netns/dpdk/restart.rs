//! Connections over a restart of the balancer on DPDK: with `--keep` they go on, though the TAP device and its Ethernet
//! address are others afterwards; whatever does not fit is said, and they are forgotten.

use evenkeel_tests::testbed::{self, Connection, Plane, Running, Servers, TAP, Testbed, connect_tap, repository};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PORT: u16 = 8080;
const CONNECTIONS: usize = 40;

fn config(max_flows: u32) -> String {
    format!(
        r#"
        [dataplane]
        max-flows = {max_flows}
        [nat]
        addresses = ["10.0.0.10"]
        [[service]]
        name = "web"
        address = "10.0.0.10"
        port = {PORT}
        protocol = "tcp"
        backends = [{{ address = "10.0.0.2", port = {PORT} }}, {{ address = "10.0.0.3", port = {PORT} }}]
        "#
    )
}

fn state(bed: &Testbed) -> PathBuf {
    bed.work.join("state")
}

/// The daemon with these options, whatever may come of it.
fn launch(bed: &Testbed, text: &str, options: &[&str]) -> Running {
    let (file, state) = (bed.config("evenkeel.toml", text), state(bed));
    let socket = bed.work.join("socket");
    let path = |path: &Path| path.display().to_string();
    let mut words = vec![repository().join("build/evenkeel-dpdk").display().to_string()];
    words.extend(bed.eal(TAP));
    words.extend(
        ["--", "--config", &path(&file), "--state", &path(&state), "--socket", &path(&socket)].map(str::to_owned),
    );
    words.extend(options.iter().map(|option| (*option).to_owned()));
    bed.start("", &words)
}

/// The same, at work.
fn start(bed: &Testbed, text: &str, options: &[&str]) -> Running {
    let balancer = launch(bed, text, options);
    balancer.wait_for(": ready on net_tap0");
    connect_tap();
    for backend in ["10.0.0.2", "10.0.0.3"] {
        balancer.wait_for(&format!("backend {backend} is at "));
    }
    balancer
}

fn stop(mut balancer: Running) -> String {
    balancer.signal(libc::SIGTERM);
    let ended = balancer.finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    ended.stderr
}

fn open() -> Vec<(Connection, String)> {
    let connect = |number: usize| {
        let mut connection = Connection::new(PORT);
        let server = connection.exchange(format!("hello {number}").as_bytes()).expect("a new connection works");
        (connection, server)
    };
    (0..CONNECTIONS).map(connect).collect()
}

fn assert_go_on(connections: &mut [(Connection, String)], tag: &str) {
    for (number, (connection, home)) in connections.iter_mut().enumerate() {
        let payload = format!("{tag} {number} ").repeat(500);
        assert_eq!(connection.exchange(payload.as_bytes()).expect("the connection holds"), *home);
    }
}

#[test]
fn connections_go_on_over_restarts_that_keep_them() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let _servers = Servers::tcp(PORT);
        let balancer = start(bed, &config(4096), &["--keep"]);
        let mut connections = open();
        assert!(stop(balancer).contains("connections are kept for the next start"));
        assert!(state(bed).exists());

        // A start that fails late costs nothing.
        let occupied = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let listen = occupied.local_addr().expect("it is bound");
        let ended = launch(bed, &format!("{}\n[metrics]\nlisten = \"{listen}\"", config(4096)), &["--keep"]).finish();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains("cannot listen for Prometheus"), "{ended}");
        assert!(state(bed).exists());
        bed.wait_for_the_dead();

        for round in 0..2 {
            // What is sent while nobody balances is sent again.
            for (number, (connection, _)) in connections.iter_mut().enumerate() {
                connection.send(format!("meanwhile {round} {number}").as_bytes()).expect("it is only sent");
            }
            let balancer = start(bed, &config(4096), &["--keep", "--idle", "poll"]);
            balancer.wait_for("connections of the process before go on.");
            // What the command line says is no change of the file.
            balancer.signal(libc::SIGHUP);
            balancer.wait_for("read the configuration again; nothing changes.");
            assert!(!state(bed).exists(), "what was kept is taken once");
            for (number, (connection, home)) in connections.iter_mut().enumerate() {
                let server = connection.receive(format!("meanwhile {round} {number}").as_bytes());
                assert_eq!(server.expect("the connection holds"), *home);
            }
            assert_go_on(&mut connections, "afterwards");
            let mut more = open();
            assert_go_on(&mut more, "new ones");
            connections.append(&mut more);
            let said = stop(balancer);
            assert!(!said.contains("flow-missing"), "{said}");
        }
    });
}

/// Whether a connection of the time before still works.
fn is_alive((connection, _): &mut (Connection, String)) -> bool {
    connection.set_patience(Duration::from_secs(2));
    connection.exchange(b"anybody there?").is_ok()
}

#[test]
fn what_does_not_fit_is_said_and_new_connections_work() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let _servers = Servers::tcp(PORT);
        let mut connections = {
            let balancer = start(bed, &config(4096), &["--keep"]);
            let connections = open();
            stop(balancer);
            connections
        };
        let balancer = start(bed, &config(65536), &["--keep"]);
        balancer
            .wait_for("warning: the connections of the process before are forgotten: max-flows or [nat] is not what");
        assert!(!is_alive(&mut connections[0]));
        let mut connections = open();
        stop(balancer);

        std::fs::write(state(bed), "not a file of ours").expect("the sandbox's directory can be written");
        let balancer = start(bed, &config(65536), &["--keep"]);
        balancer.wait_for("is damaged, or not evenkeel's");
        assert!(!is_alive(&mut connections[0]));
        let mut connections = open();
        stop(balancer);

        // Asked to forget, and without --keep nothing is left for the next one.
        let balancer = start(bed, &config(65536), &["--fresh"]);
        assert!(!is_alive(&mut connections[0]));
        open();
        stop(balancer);
        assert!(!state(bed).exists());
    });
}
