//! Next hops on XDP: the kernel's neighbour table is used as it is found, whoever has made its entries, and what happens to it
//! stops nobody.

use evenkeel_tests::testbed::{self, Connection, GOOD_CONFIG, Plane, SERVICE_PORT, Servers, Testbed};
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

/// Longer than the interval at which next hops are looked at.
const A_WHILE: Duration = Duration::from_secs(7);

fn config(backends: impl IntoIterator<Item = String>) -> String {
    let (head, _) = GOOD_CONFIG.split_once("backends").expect("it has some");
    let backends = backends.into_iter().map(|address| format!("{{ address = \"{address}\", port = {SERVICE_PORT} }}"));
    format!("{head}health = {{ kind = \"none\" }}\nbackends = [{}]", backends.collect::<Vec<_>>().join(", "))
}

fn both() -> String {
    config(["10.0.0.2", "10.0.0.3"].map(str::to_owned))
}

fn neighbours(bed: &Testbed) -> String {
    bed.do_in("lb", &["ip", "neigh", "show", "dev", "veth6", "nud", "all"]).stdout
}

#[track_caller]
fn assert_all_answer() {
    for _ in 0..10 {
        let mut connection = Connection::new(SERVICE_PORT);
        connection.exchange(b"hello").expect("an answer comes through the balancer");
    }
}

#[test]
fn what_others_have_entered_is_used_and_left_as_it_is() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        // Servers that do not speak ARP, with everybody's Ethernet address entered by hand or by a routing daemon.
        // The kernel's table is one for all namespaces: with many hosts in other tests it would throw a NOARP entry out that
        // nobody is said to have learned.
        for (host, device, how) in [(2, "veth2", &["permanent"][..]), (3, "veth4", &["noarp", "extern_learn"])] {
            let (name, address, mac) =
                (format!("h{host}"), format!("10.0.0.{host}"), format!("de:ad:be:ef:00:0{host}"));
            let entry = ["ip", "neigh", "replace", &address, "lladdr", &mac, "dev", "veth6", "nud"];
            bed.do_in("lb", &[&entry, how].concat());
            bed.do_in(&name, &["ip", "link", "set", "dev", device, "arp", "off"]);
            for (address, mac) in [("10.0.0.10", "de:ad:be:ef:00:10"), ("10.0.0.1", "de:ad:be:ef:00:01")] {
                bed.do_in(
                    &name,
                    &["ip", "neigh", "replace", address, "lladdr", mac, "dev", device, "nud", "permanent"],
                );
            }
        }
        let _servers = Servers::tcp(SERVICE_PORT);
        let _balancer = bed.balance_config(&both());
        thread::sleep(A_WHILE);
        assert_all_answer();
        let entries = neighbours(bed);
        for (address, state) in [("10.0.0.2 ", "PERMANENT"), ("10.0.0.3 ", "NOARP")] {
            let is_kept = |line: &str| line.starts_with(address) && line.contains(state);
            assert!(entries.lines().any(is_kept), "{address}{state}: {entries}");
        }

        // And so is what is entered, or changed, under way.
        let learned = ["lladdr", "de:ad:be:ef:00:03", "dev", "veth6", "nud", "stale", "extern_learn"];
        bed.do_in("lb", &[&["ip", "neigh", "replace", "10.0.0.3"], &learned[..]].concat());
        thread::sleep(A_WHILE);
        assert_all_answer();
        let entries = neighbours(bed);
        let is_kept =
            |line: &str| line.starts_with("10.0.0.3 ") && line.contains("extern_learn") && line.contains("STALE");
        assert!(entries.lines().any(is_kept), "{entries}");
    });
}

#[test]
fn a_router_of_the_other_family_is_one_as_well() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        // h2 has the backend's address inside, and is reached by its own of IPv6.
        bed.do_in("h2", &["ip", "address", "add", "192.0.2.2/32", "dev", "lo"]);
        bed.do_in("h2", &["ip", "address", "add", "fd00::2/64", "dev", "veth2", "nodad"]);
        bed.do_in("h2", &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.all.arp_ignore=1"]);
        bed.do_in("lb", &["ip", "address", "add", "fd00::10/64", "dev", "veth6", "nodad"]);
        bed.do_in("lb", &["ip", "route", "add", "192.0.2.2/32", "via", "inet6", "fd00::2", "dev", "veth6"]);
        let _servers = Servers::tcp_in(&["h2"], SERVICE_PORT);
        let balancer = bed.balance_config(&config(["192.0.2.2".to_owned()]));
        balancer.wait_for("backend 192.0.2.2 is at de:ad:be:ef:00:02");
        assert_all_answer();
    });
}

#[test]
fn routes_are_those_of_packets_from_the_nat_address() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        bed.do_in("h2", &["ip", "address", "add", "192.0.2.2/32", "dev", "lo"]);
        // From anywhere else the way is another one, to the wrong host.
        bed.do_in("lb", &["ip", "route", "add", "192.0.2.2/32", "via", "10.0.0.3"]);
        bed.do_in("lb", &["ip", "route", "add", "192.0.2.2/32", "via", "10.0.0.2", "table", "100"]);
        bed.do_in("lb", &["ip", "rule", "add", "from", "10.0.0.10", "lookup", "100"]);
        let _servers = Servers::tcp_in(&["h2"], SERVICE_PORT);
        let balancer = bed.balance_config(&config(["192.0.2.2".to_owned()]));
        balancer.wait_for("backend 192.0.2.2 is at de:ad:be:ef:00:02");
        assert_all_answer();
        // And a change of rules is heard of.
        bed.do_in("lb", &["ip", "rule", "del", "from", "10.0.0.10", "lookup", "100"]);
        balancer.wait_for("backend 192.0.2.2 is at de:ad:be:ef:00:03");
        // Also where the route is a number for a way that is changed elsewhere.
        bed.do_in("lb", &["ip", "nexthop", "add", "id", "1", "via", "10.0.0.2", "dev", "veth6"]);
        bed.do_in("lb", &["ip", "route", "replace", "192.0.2.2/32", "nhid", "1"]);
        balancer.wait_for_times("backend 192.0.2.2 is at de:ad:be:ef:00:02", 2);
        bed.do_in("lb", &["ip", "nexthop", "replace", "id", "1", "via", "10.0.0.3", "dev", "veth6"]);
        balancer.wait_for_times("backend 192.0.2.2 is at de:ad:be:ef:00:03", 2);
    });
}

/// How many backends there are that nobody answers for. The kernel's table, which all network namespaces share, has room for
/// 1,024 entries of its own by default, and with more, other tests would get none. With more than 512 the kernel makes room
/// now and then, and tells of all that goes in the midst of a question.
const SILENT: usize = 900;
/// How many neighbours come, and go again.
const PASSING: usize = 4000;

#[test]
fn silent_backends_and_thousands_of_neighbours_that_come_and_go_stop_nothing() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        bed.do_in("lb", &["ip", "route", "add", "10.1.0.0/16", "dev", "veth6"]);
        let silent = (0..SILENT).map(|host| format!("10.1.{}.{}", host / 250, 1 + host % 250));
        let alive = ["10.0.0.2", "10.0.0.3"].map(str::to_owned);
        let text = config(silent.chain(alive));
        let path = bed.config("evenkeel.toml", &text);
        let mut balancer = bed.start_with_file(&path);
        balancer.wait_for(": ready on veth6");

        let (mut come, mut go) = (String::new(), String::new());
        for host in 0..PASSING {
            let address = format!("10.2.{}.{}", host / 250, 1 + host % 250);
            let _ = writeln!(come, "neigh replace {address} lladdr 02:00:00:00:00:01 dev veth6 nud permanent");
            let _ = writeln!(go, "neigh del {address} dev veth6");
        }
        let (come, go) = (bed.config("come", &come), bed.config("go", &go));
        let line = format!("while :; do ip -batch {} && ip -batch {}; done", come.display(), go.display());
        let mut traffic = bed.start("lb", &["sh", "-c", &line]);
        // Longer than next hops are asked for twice. Whoever is late loses what is told meanwhile, and answers with it.
        for _ in 0..12 {
            balancer.signal(libc::SIGSTOP);
            thread::sleep(Duration::from_millis(200));
            balancer.signal(libc::SIGCONT);
            thread::sleep(Duration::from_millis(800));
        }
        assert_eq!(bed.told_json(&["status"])["plane"], "xdp");
        assert!(!traffic.has_ended());
        traffic.signal(libc::SIGKILL);

        // A neighbour that comes now is still heard of, and a route that changes.
        bed.do_in("lb", &["ip", "neigh", "replace", "10.1.0.7", "lladdr", "de:ad:be:ef:00:07", "dev", "veth6"]);
        balancer.wait_for("backend 10.1.0.7 is at de:ad:be:ef:00:07");
        bed.do_in("lb", &["ip", "route", "add", "unreachable", "10.1.0.9/32"]);
        balancer.wait_for("no route to backend 10.1.0.9");

        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish_within(Duration::from_secs(10));
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(!bed.is_occupied());
    });
}
