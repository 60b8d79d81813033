//! Tables that become too small: a reload or a restart makes larger ones, and no connection notices.

use super::{BOTH, CONNECTIONS, assert_nothing_missed, launch, start, stop};
use evenkeel_tests::scenarios;
use evenkeel_tests::testbed::{Load, Plane, Running, SERVICE_PORT, Servers, Testbed, note};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

scenarios! {
    on_generic_xdp, testbed::on(Plane::GenericXdp),
    a_reload_makes_room["nsenter", "bpftool"],
    a_restart_makes_room["nsenter", "bpftool"],
    killed_at_any_moment_while_it_makes_room["nsenter", "bpftool"],
}

scenarios! {
    on_native_xdp, testbed::on(Plane::NativeXdp),
    a_reload_makes_room["nsenter", "bpftool"],
    a_restart_makes_room["nsenter", "bpftool"],
}

scenarios! {
    on_dpdk, testbed::on(Plane::Dpdk),
    a_reload_makes_room[],
    a_restart_makes_room[],
}

const FEW_FLOWS: u32 = 65_536;
const MANY_FLOWS: u32 = 1 << 20;
const FEW_SERVICES: u16 = 4;
/// With two backends each, more than there is room for at first.
const MANY_SERVICES: u16 = 3_000;
/// The ports of as many clients, of which each sends one datagram and gets one answer.
const CLIENTS: std::ops::Range<u16> = 10_000..60_000;

/// So many services with two backends each, the first two of which are used.
fn config(flows: u32, services: u16) -> String {
    let mut text = format!("[dataplane]\nmax-flows = {flows}\n[nat]\naddresses = [\"10.0.0.10\"]\n");
    for number in 0..services {
        let (port, protocol, more) = match number {
            0 => (SERVICE_PORT, "tcp", ""),
            1 => (SERVICE_PORT, "udp", "idle = { udp-answered = \"9m\" }"),
            _ => (10_000 + number, "tcp", ""),
        };
        let _ = writeln!(
            text,
            "[[service]]\nname = \"s{number}\"\naddress = \"10.0.0.10\"\nport = {port}\nprotocol = \"{protocol}\"\n{more}"
        );
        let backend = |host| format!("{{ address = \"10.0.0.{host}\", port = {SERVICE_PORT} }}");
        let _ = writeln!(text, "backends = [{}, {}]", backend(2), backend(3));
    }
    text
}

/// Of those, how few may have no connection: at this fill, three in a thousand buckets are full.
const FEW: usize = 250;

/// What every client of the second service has: its backend and its NAT port.
type Kept = BTreeMap<String, (String, String)>;

fn kept(bed: &Testbed) -> Kept {
    let flows = bed.told_json(&["flows", "--service", "s1", "--limit", "200000"]);
    let flows = flows.as_array().expect("a list");
    let text = |flow: &Value, key: &str| flow[key].as_str().expect("text").to_owned();
    let kept = flows.iter().map(|flow| (text(flow, "client"), (text(flow, "backend"), text(flow, "nat"))));
    let kept: Kept = kept.collect();
    assert_eq!(kept.len(), flows.len(), "a client is there twice");
    kept
}

/// One datagram from each of these ports. Returns how many get an answer.
fn ask(ports: impl Iterator<Item = u16>) -> usize {
    let is_answered = |port: &u16| {
        let socket = UdpSocket::bind(("10.0.0.1", *port)).expect("nobody else has the port");
        socket.connect(("10.0.0.10", SERVICE_PORT)).expect("there is a route");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("not zero");
        // A datagram may be lost; what its client has is the same if it is sent again.
        (0..3).any(|_| socket.send(b"?").is_ok() && socket.recv(&mut [0; 2048]).is_ok())
    };
    ports.filter(is_answered).count()
}

/// The packets of the second service, by backend: nobody sends any while tables are exchanged.
fn counted(bed: &Testbed) -> Vec<Value> {
    let status = bed.told_json(&["status"]);
    let service = status["services"].as_array().expect("a list").iter().find(|service| service["name"] == "s1");
    let backends = service.expect("it is there")["backends"].as_array().expect("a list").clone();
    backends.iter().map(|backend| backend["packets"].clone()).collect()
}

/// Everything that must be as before, before and after.
struct Before {
    kept: Kept,
    counted: Vec<Value>,
}

impl Before {
    /// Every client has asked once. A few have no place in a table that is as full as this, and some make room for others.
    fn all_have_asked(bed: &Testbed) -> Self {
        let answered = ask(CLIENTS);
        assert!(answered + FEW >= CLIENTS.len(), "{answered} clients have got an answer");
        let (kept, counted) = (kept(bed), counted(bed));
        assert!(kept.len() + FEW >= CLIENTS.len(), "{} clients have a connection", kept.len());
        Self { kept, counted }
    }

    /// So many may have made room for new connections, as long as the table was small.
    #[track_caller]
    fn assert_is_so_still(&mut self, bed: &Testbed, gone: usize) {
        assert_eq!(counted(bed), self.counted, "what was counted before counts");
        let after = kept(bed);
        let another = after.iter().find(|(client, now)| self.kept.get(*client) != Some(now));
        assert_eq!(another, None, "a connection is another");
        assert!(after.len() + gone >= self.kept.len(), "{} of {} connections are left", after.len(), self.kept.len());
        self.kept = after;
        let ports = || self.kept.keys().step_by(500).filter_map(|client| client.rsplit(':').next()?.parse().ok());
        assert_eq!(ask(ports()), ports().count());
        // Who has lost a place in the small table may have lost only one of two, and be told so when it speaks.
        let now = kept(bed);
        let others = now.iter().filter(|(client, now)| self.kept.get(*client) != Some(now)).count();
        assert!(others <= gone, "{others} clients have opened another connection");
        (self.kept, self.counted) = (now, counted(bed));
    }
}

fn a_reload_makes_room(bed: &Testbed) {
    let _servers = (Servers::tcp(SERVICE_PORT), Servers::udp(SERVICE_PORT));
    let balancer = start(bed, &config(FEW_FLOWS, FEW_SERVICES), &[]);
    let mut before = Before::all_have_asked(bed);
    let load = Load::start(CONNECTIONS);
    load.goes_on(BOTH);

    // One after the other, and back: what is there stays there.
    let (mut gone, mut had) = (FEW, FEW_FLOWS);
    for (what, flows, services) in [
        ("flows", MANY_FLOWS, FEW_SERVICES),
        ("services and backends", MANY_FLOWS, MANY_SERVICES),
        ("fewer of everything", FEW_FLOWS, FEW_SERVICES),
        ("more of both", 2 * MANY_FLOWS, MANY_SERVICES + 1),
    ] {
        let begun = Instant::now();
        let said = bed.reload(&config(flows, services));
        let change = format!("max-flows from {had} to {flows}");
        assert_eq!(said.contains(&change), had != flows, "{said}");
        had = flows;
        note(&format!("{what}: in force after {:?}", begun.elapsed()));
        load.goes_on(BOTH);
        before.assert_is_so_still(bed, std::mem::take(&mut gone));
    }
    load.next(20).assert_on(BOTH);
    load.assert_whole();
    drop(load);
    assert_nothing_missed(&stop(balancer));
}

fn a_restart_makes_room(bed: &Testbed) {
    let _servers = (Servers::tcp(SERVICE_PORT), Servers::udp(SERVICE_PORT));
    let mut balancer = start(bed, &config(FEW_FLOWS, FEW_SERVICES), &["--keep"]);
    let mut before = Before::all_have_asked(bed);
    // While nobody balances on DPDK, new ones do not come about.
    let opens = bed.plane != Plane::Dpdk;
    let load = if opens { Load::start(CONNECTIONS) } else { Load::of_long_connections(CONNECTIONS) };
    load.goes_on(BOTH);
    let mut gone = FEW;
    // There nothing but the flow table has to grow, and a start says something of every service.
    let services = if opens { MANY_SERVICES } else { FEW_SERVICES + 1 };
    for (flows, services) in
        [(MANY_FLOWS, FEW_SERVICES), (MANY_FLOWS, services), (FEW_FLOWS, FEW_SERVICES), (2 * MANY_FLOWS, FEW_SERVICES)]
    {
        assert_nothing_missed(&stop(balancer));
        balancer = start(bed, &config(flows, services), &["--keep"]);
        balancer.wait_for("go on.");
        if bed.plane == Plane::Dpdk {
            // Counters are the process's there.
            before.counted = counted(bed);
        }
        load.goes_on(BOTH);
        before.assert_is_so_still(bed, std::mem::take(&mut gone));
    }
    if opens {
        load.next(20).assert_on(BOTH);
    }
    load.assert_whole();
    drop(load);
    assert_nothing_missed(&stop(balancer));
}

/// Whatever a process is in the midst of: the next one has all connections.
fn killed_at_any_moment_while_it_makes_room(bed: &Testbed) {
    let _servers = (Servers::tcp(SERVICE_PORT), Servers::udp(SERVICE_PORT));
    let mut balancer = start(bed, &config(FEW_FLOWS, FEW_SERVICES), &["--keep"]);
    let mut before = Before::all_have_asked(bed);
    let load = Load::of_long_connections(CONNECTIONS);
    load.goes_on(BOTH);
    let kill = |mut balancer: Running| {
        balancer.signal(libc::SIGKILL);
        assert_eq!(balancer.finish().signal, Some(libc::SIGKILL));
    };
    kill(balancer);
    for pause in (0..16).map(|number| 200 + 60 * number) {
        balancer = launch(bed, &config(2 * FEW_FLOWS, 3000), &["--keep"]);
        thread::sleep(Duration::from_millis(pause));
        kill(balancer);
        bed.wait_for_the_dead();
    }
    balancer = start(bed, &config(MANY_FLOWS, FEW_SERVICES), &["--keep"]);
    balancer.wait_for("go on.");
    // A program over larger tables that was there for a moment has counted nothing yet.
    before.counted = counted(bed);
    load.goes_on(BOTH);
    before.assert_is_so_still(bed, FEW);
    load.talk(CONNECTIONS);
    load.goes_on(BOTH);
    load.assert_whole();
    drop(load);
    stop(balancer);
}
