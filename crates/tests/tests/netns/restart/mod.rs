//! Connections over a restart, an upgrade and a crash of the balancer: none of them may notice, unless it was to forget them.
//! Nothing that a start refuses may cost anything, and nothing is left behind where nothing was to be kept. What is kept
//! between two processes is the kernel's on XDP ([`xdp`]) and in a file on DPDK ([`dpdk`]).

mod dpdk;
mod growth;
mod xdp;

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{
    Connection, Load, Plane, Running, SERVICE_PORT, Servers, TAP, Testbed, connect_tap, file, in_network, repository,
    within,
};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

on_every_plane! {
    connections_go_on_over_restarts_that_keep_them["nsenter", "bpftool"],
    a_start_that_is_told_to_forgets_them["nsenter", "bpftool"],
}

const BOTH: &[&str] = &["h2", "h3"];
const CONNECTIONS: usize = 20;

/// Both servers as backends, with tables for so many flows.
fn config(max_flows: u32) -> String {
    file(&format!("[dataplane]\nmax-flows = {max_flows}"), "", &[(2, ""), (3, "")])
}

/// Where the balancer on DPDK keeps what the next process shall find.
fn state(bed: &Testbed) -> PathBuf {
    bed.work.join("state")
}

/// A program of the build.
fn built(name: &str) -> String {
    repository().join("build").join(name).display().to_string()
}

/// The daemon with these options, whatever may come of it.
fn launch(bed: &Testbed, text: &str, options: &[&str]) -> Running {
    let path = bed.config("evenkeel.toml", text).display().to_string();
    let (state, mode) = (state(bed).display().to_string(), bed.plane.xdp_mode().to_string());
    let mut words = match bed.plane {
        Plane::Dpdk => {
            let ours = ["--", "--config", &path, "--state", &state].map(str::to_owned);
            [&[built("evenkeel-dpdk")], bed.eal(TAP).as_slice(), &ours].concat()
        }
        _ => {
            let mode = if options.contains(&"--xdp-mode") { vec![] } else { vec!["--xdp-mode", mode.as_str()] };
            let program = built("evenkeel");
            let words = [&[program.as_str(), "run", "--config", &path, "--interface", "veth6"], mode.as_slice()];
            in_network("lb", &words.concat())
        }
    };
    words.extend(options.iter().map(|option| (*option).to_owned()));
    bed.start("", &words)
}

/// The same, at work.
fn start(bed: &Testbed, text: &str, options: &[&str]) -> Running {
    let balancer = launch(bed, text, options);
    balancer.wait_for(": ready on ");
    if bed.plane == Plane::Dpdk {
        connect_tap();
        for backend in ["10.0.0.2", "10.0.0.3"] {
            balancer.wait_for(&format!("backend {backend} is at "));
        }
    }
    balancer
}

/// Tells it to end, by this signal, and returns what it has said.
#[track_caller]
fn end_by(signal: i32, mut balancer: Running) -> String {
    balancer.signal(signal);
    let ended = balancer.finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    ended.stderr
}

#[track_caller]
fn stop(balancer: Running) -> String {
    end_by(libc::SIGTERM, balancer)
}

/// Fails if a packet met no connection.
#[track_caller]
fn assert_nothing_missed(said: &str) {
    assert!(!said.contains("flow-missing"), "packets found no connection: {said}");
}

/// Nothing is there for a next process.
#[track_caller]
fn assert_nothing_left(bed: &Testbed) {
    assert!(!state(bed).exists());
    if bed.plane != Plane::Dpdk {
        xdp::assert_nothing_left(bed);
    }
}

fn connections_go_on_over_restarts_that_keep_them(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    // What the command line says is no change of the file, see below.
    let options: &[&str] = if bed.plane == Plane::Dpdk { &["--keep", "--idle", "poll"] } else { &["--keep"] };
    let mut balancer = start(bed, &config(4096), options);
    let load = Load::of_long_connections(CONNECTIONS);
    load.goes_on(BOTH);
    for round in 0..3 {
        let before = xdp::InKernel::of(bed);
        let said = stop(balancer);
        assert_nothing_missed(&said);
        if let Some(before) = &before {
            assert!(said.contains("left at work"), "{said}");
            assert_eq!(xdp::InKernel::of(bed).as_ref(), Some(before), "what is left is what was there");
            load.goes_on(BOTH);
        } else {
            assert!(said.contains("connections are kept for the next start"), "{said}");
            assert!(state(bed).exists());
        }
        if round == 0 {
            a_start_that_fails_late_costs_nothing(bed, options, before.as_ref());
        }
        let counted = before.as_ref().map(|_| xdp::counters());
        balancer = start(bed, &config(4096), options);
        balancer.wait_for("go on.");
        if let Some(before) = before {
            let after = xdp::InKernel::of(bed).expect("it balances");
            assert_ne!(after.program, before.program, "the program is the old one");
            assert_eq!(after.tables, before.tables, "the tables are others");
            load.goes_on(BOTH);
            assert_ne!(Some(xdp::counters()), counted, "the counters stand still");
        }
        assert!(!state(bed).exists(), "what was kept is taken once");
        balancer.signal(libc::SIGHUP);
        balancer.wait_for("read the configuration again; nothing changes.");
        // What was sent while nobody balanced on DPDK has been sent again.
        load.goes_on(BOTH);
        load.talk(CONNECTIONS / 2);
        load.goes_on(BOTH);
    }
    load.assert_whole();
    assert_nothing_missed(&stop(balancer));
}

/// Whoever shall read metrics finds the port occupied.
fn a_start_that_fails_late_costs_nothing(bed: &Testbed, options: &[&str], before: Option<&xdp::InKernel>) {
    let occupied = within(bed.plane.namespace(), || TcpListener::bind("127.0.0.1:0").expect("there is a port"));
    let listen = occupied.local_addr().expect("it is bound");
    let ended = launch(bed, &format!("{}\n[metrics]\nlisten = \"{listen}\"", config(4096)), options).finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("cannot listen for Prometheus"), "{ended}");
    assert_eq!(state(bed).exists(), bed.plane == Plane::Dpdk);
    assert_eq!(xdp::InKernel::of(bed).as_ref(), before);
    bed.wait_for_the_dead();
}

fn a_start_that_is_told_to_forgets_them(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let balancer = start(bed, &config(4096), &["--keep"]);
    let mut connections = open();
    assert_nothing_missed(&stop(balancer));
    let before = xdp::InKernel::of(bed);

    let balancer = start(bed, &config(4096), &["--fresh"]);
    if let Some(before) = before {
        balancer.wait_for("its connections are forgotten");
        let after = xdp::InKernel::of(bed).expect("it balances");
        assert_ne!(after.tables, before.tables, "the tables are the old ones");
    }
    assert!(!is_alive(&mut connections[0]));
    assert_go_on(&mut open(), "new ones");
    let said = end_by(libc::SIGINT, balancer);
    assert!(said.contains("flow-missing"), "{said}");
    // Without --keep.
    assert_nothing_left(bed);
}

/// New connections, each with the server that it is on.
fn open() -> Vec<(Connection, String)> {
    let connect = |number: usize| {
        let mut connection = Connection::new(SERVICE_PORT);
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

/// Whether a connection of the time before still works.
fn is_alive((connection, _): &mut (Connection, String)) -> bool {
    connection.set_patience(Duration::from_secs(2));
    connection.exchange(b"anybody there?").is_ok()
}
