//! A large configuration: it starts, it answers, and a small change of it is small work. How much memory it takes is told.

use evenkeel_tests::scenarios;
use evenkeel_tests::testbed::{Connection, Plane, Running, Servers, Testbed, note, until};
use serde_json::Value;
use std::fmt::Write as _;

scenarios! {
    on_native_xdp, testbed::on(Plane::NativeXdp),
    a_thousand_services_with_twenty_backends_each["bpftool"],
}

scenarios! { on_dpdk, testbed::on(Plane::Dpdk), a_thousand_services_with_twenty_backends_each[] }

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
