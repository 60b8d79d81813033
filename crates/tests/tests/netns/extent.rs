//! A large configuration: it starts, it answers, and a small change of it is small work. How much memory it takes is told.

use evenkeel_tests::scenarios;
use evenkeel_tests::testbed::{Connection, Plane, Running, Servers, Testbed, connect_tap, is_up, note, until};
use serde_json::Value;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

scenarios! {
    on_native_xdp, testbed::on(Plane::NativeXdp),
    a_thousand_services_with_twenty_backends_each["bpftool"],
    twenty_thousand_hosts[],
}

scenarios! {
    on_dpdk, testbed::on(Plane::Dpdk),
    a_thousand_services_with_twenty_backends_each[],
    twenty_thousand_hosts[],
}

const SERVICES: u16 = 1000;
/// Of each service, half of them on each host.
const BACKENDS: u16 = 20;
/// The service that changes.
const CHANGED: u16 = 500;

fn config(weight: u16) -> String {
    let mut text = "[dataplane]\nmax-flows = 4096\n[nat]\naddresses = [\"10.0.0.10\"]\n".to_owned();
    for service in 0..SERVICES {
        let port = 10000 + service;
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"10.0.0.10\"\nport = {port}\nprotocol = \"tcp\"\nbackends = [\n"
        );
        for backend in 0..BACKENDS {
            let (host, port) = (2 + backend % 2, 8080 + backend / 2);
            let weight = if (service, backend) == (CHANGED, 7) { weight } else { 1 };
            let _ = writeln!(text, "{{ address = \"10.0.0.{host}\", port = {port}, weight = {weight} }},");
        }
        text.push_str("]\n");
    }
    text
}

fn a_thousand_services_with_twenty_backends_each(bed: &Testbed) {
    let _servers: Vec<_> = (0..BACKENDS / 2).map(|port| Servers::tcp(8080 + port)).collect();
    let balancer = bed.balance_config(&config(1));
    let services = until("it answers", || {
        let ended = bed.evenkeel(&["services", "--json"]).finish();
        (ended.code == Some(0)).then_some(ended.stdout)
    });
    let services: Value = serde_json::from_str(&services).expect("JSON");
    let services = services.as_array().expect("a list of services");
    assert_eq!(services.len(), usize::from(SERVICES));
    assert!(services.iter().all(|service| service["backends"].as_array().map(Vec::len) == Some(BACKENDS.into())));
    assert!(bed.told(&["status"]).contains("s999"));
    for port in [10000, 10000 + CHANGED, 10000 + SERVICES - 1] {
        Connection::new(port).exchange(b"hello").expect("every service works");
    }
    note(&format!("{SERVICES} services with {BACKENDS} backends each: {}", memory(bed, &balancer)));

    let before = Tables::of(bed);
    bed.rewrite(&config(2));
    let rehearsed = bed.told(&["reload", "--dry-run"]);
    let said = bed.told(&["reload"]);
    for said in [rehearsed, said] {
        assert!(
            said.contains("s500") && said.matches("weight of 10.0.0.3:8083 from 1 to 2").count() == 1,
            "one service changes: {said}"
        );
    }
    if let (Some(before), Some(after)) = (before, Tables::of(bed)) {
        assert_eq!(before.0.len(), usize::from(SERVICES));
        let replaced = before.0.iter().zip(&after.0).filter(|(before, after)| before != after).count();
        assert_eq!((after.0.len(), replaced), (usize::from(SERVICES), 1), "one table is another");
    }
    Connection::new(10000 + CHANGED).exchange(b"hello").expect("the changed service works");
}

/// What the process has, and what the kernel has for it.
fn memory(bed: &Testbed, balancer: &Running) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", balancer.id())).expect("it lives");
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).expect("every process has memory");
    let mut text = resident.split_whitespace().collect::<Vec<_>>().join(" ");
    if bed.plane != Plane::Dpdk {
        let bytes = |map: &Value| map["bytes_memlock"].as_u64().unwrap_or(0);
        let own: u64 = maps(bed).iter().map(bytes).sum();
        let tables = Tables::of(bed).expect("it is XDP").0;
        let one = bpftool(bed, &["map", "show", "id", &tables[0].to_string()]);
        let _ = write!(text, ", maps: {} kB", (own + tables.len() as u64 * bytes(&one)) / 1024);
    }
    text
}

fn bpftool(bed: &Testbed, words: &[&str]) -> Value {
    let text = bed.do_in("lb", &[&["bpftool", "-j"], words].concat()).stdout;
    serde_json::from_str(&text).expect("bpftool -j writes JSON")
}

/// The maps of the program on veth6.
fn maps(bed: &Testbed) -> Vec<Value> {
    let link = bed.do_in("lb", &["ip", "-j", "-d", "link", "show", "dev", "veth6"]).stdout;
    let link: Value = serde_json::from_str(&link).expect("ip -j writes JSON");
    let program = bpftool(bed, &["prog", "show", "id", &link[0]["xdp"]["prog"]["id"].to_string()]);
    let ids = program["map_ids"].as_array().expect("it has maps");
    ids.iter().map(|id| bpftool(bed, &["map", "show", "id", &id.to_string()])).collect()
}

/// The kernel's numbers of the Maglev tables in force. The kernel gives a number to one map only, so a table that was
/// written again shows.
struct Tables(Vec<u64>);

impl Tables {
    /// Nothing on DPDK, whose tables have no numbers.
    fn of(bed: &Testbed) -> Option<Self> {
        if bed.plane == Plane::Dpdk {
            return None;
        }
        let maps = maps(bed);
        let outer = maps.iter().find(|map| map["type"] == "array_of_maps").expect("the Maglev tables are in one");
        let entries = bpftool(bed, &["map", "dump", "id", &outer["id"].to_string()]);
        // Bytes, the least first.
        let digit = |byte: &Value| u64::from_str_radix(byte.as_str()?.strip_prefix("0x")?, 16).ok();
        let number = |entry: &Value| {
            entry["value"].as_array()?.iter().rev().try_fold(0, |number, byte| Some(number << 8 | digit(byte)?))
        };
        Some(Self(entries.as_array().expect("a list").iter().filter_map(number).collect()))
    }
}

/// How many hosts there are, each with an address of its own: h2 has them all.
const HOSTS: usize = 20_000;
/// Services that share them.
const POOLS: usize = 200;

fn host(number: usize) -> String {
    format!("10.1.{}.{}", number / 250, 1 + number % 250)
}

/// So many services in front of a hundred hosts each; one of the last one's has this weight.
fn pools(dataplane: &str, services: usize, weight: u16) -> String {
    let mut text = format!("[dataplane]\nmax-flows = 4096\n{dataplane}[nat]\naddresses = [\"10.0.0.10\"]\n");
    let each = HOSTS / POOLS;
    for service in 0..services {
        let port = 10000 + service;
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"10.0.0.10\"\nport = {port}\nprotocol = \"tcp\"\n\
             health = {{ kind = \"none\" }}\nbackends = [\n"
        );
        for backend in 0..each {
            let weight = if (service, backend) == (services - 1, 7) { weight } else { 1 };
            let host = host(service * each + backend);
            let _ = writeln!(text, "{{ address = \"{host}\", port = 8080, weight = {weight} }},");
        }
        text.push_str("]\n");
    }
    text
}

/// What a process has used of the CPUs, in hundredths of a second.
fn cpu_time(process: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it lives");
    let (_, after) = stat.rsplit_once(')').expect("a name is in brackets");
    let times = after.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// All are found, commands are answered, and little is done where nothing changes.
fn twenty_thousand_hosts(bed: &Testbed) {
    // One machine that answers for all of them, and takes their connections.
    bed.do_in("h2", &["ip", "route", "add", "local", "10.1.0.0/16", "dev", "lo"]);
    let dataplane = if bed.plane == Plane::Dpdk {
        "address = \"10.0.0.10/8\"\n"
    } else {
        bed.do_in("lb", &["ip", "route", "add", "10.1.0.0/16", "dev", "veth6"]);
        // The kernel's neighbour table is one for all namespaces, and what it has learned by itself may be no more than a thousand by
        // default. What an operator or a routing daemon enters is not counted. (scripts/test-kernel.sh has a kernel of its own, which
        // learns as many.)
        let mut entries = String::new();
        for number in 0..HOSTS {
            let _ = writeln!(entries, "neigh add {} lladdr de:ad:be:ef:00:02 dev veth6 nud permanent", host(number));
        }
        let entries = bed.config("entries", &entries).display().to_string();
        bed.do_in("lb", &["ip", "-batch", &entries]);
        ""
    };
    let _servers = Servers::tcp_in(&["h2"], 8080);
    let path = bed.config("evenkeel.toml", &pools(dataplane, 1, 1));
    let mut balancer = bed.start_with_file(&path);
    balancer.wait_for(": ready on ");
    if bed.plane == Plane::Dpdk {
        connect_tap();
    }
    let said = bed.reload(&pools(dataplane, POOLS, 1));
    assert_eq!(said.matches("added").count(), POOLS - 1, "{said}");

    // Who does not answer is said to be silent within a few seconds.
    thread::sleep(Duration::from_secs(6));
    let before = cpu_time(&balancer);
    thread::sleep(Duration::from_secs(10));
    // Timing is no test; whoever reads may want to know.
    note(&format!("{HOSTS} hosts: {} ms of CPU time a second", cpu_time(&balancer) - before));
    let services = bed.told_json(&["services"]);
    let services = services.as_array().expect("a list of services");
    let backends = services.iter().flat_map(|service| service["backends"].as_array().expect("a list"));
    let (found, others): (Vec<_>, Vec<_>) = backends.partition(|it| is_up(it) && it["trouble"].is_null());
    assert_eq!(found.len(), HOSTS, "{:?}", others.first());
    assert!(bed.told(&["status"]).contains(&host(HOSTS - 1)));
    for service in 0..POOLS {
        Connection::new(10000 + service as u16).exchange(b"hello").expect("every service works");
    }
    let said = bed.reload(&pools(dataplane, POOLS, 2));
    assert!(
        said.contains("weight of") && said.lines().filter(|line| line.contains("weight of")).count() == 1,
        "{said}"
    );

    balancer.signal(libc::SIGTERM);
    let ended = balancer.finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    // Not twenty thousand lines, in which others would be lost.
    let lines = ended.stderr.lines().filter(|line| line.contains(" is at ")).count();
    assert!((1..1000).contains(&lines), "{lines} lines of where somebody is");
    assert!(ended.stderr.contains(" more; `evenkeel status` says"), "{ended}");
    assert!(!ended.stderr.contains("because nobody was reading"), "{ended}");
    assert!(!bed.is_occupied());
}
