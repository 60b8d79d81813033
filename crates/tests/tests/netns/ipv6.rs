//! IPv6 clients and IPv6 backends, beside IPv4 ones: everything that an operator does, with real programs.

use evenkeel_tests::scenarios;
use evenkeel_tests::testbed::{
    self, Backend, Connection, Running, SERVICE_PORT, Servers, Testbed, Transfer, assert_refused, echo_servers,
    in_network, is_up, repository, until,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

scenarios! {
    on_generic_xdp, testbed::on(Plane::GenericXdp),
    clients_of_both_families_are_served_and_told_of[],
    usual_programs_work["curl", "nc", "iperf3", "ping"],
    the_first_ipv6_service_comes_by_a_reload_and_costs_nobody_anything[],
    connections_go_on_over_a_restart_and_a_crash["nsenter"],
    checks_go_to_ipv6_backends_and_their_answers_to_the_kernel[],
    who_is_not_reached_is_told[],
}

scenarios! {
    on_native_xdp, testbed::on(Plane::NativeXdp),
    clients_of_both_families_are_served_and_told_of[],
    usual_programs_work["curl", "nc", "iperf3", "ping"],
    the_first_ipv6_service_comes_by_a_reload_and_costs_nobody_anything[],
    connections_go_on_over_a_restart_and_a_crash["nsenter"],
}

scenarios! {
    on_dpdk, testbed::on(Plane::Dpdk),
    clients_of_both_families_are_served_and_told_of[],
    usual_programs_work["curl", "nc", "iperf3", "ping"],
    the_first_ipv6_service_comes_by_a_reload_and_costs_nobody_anything[],
}

const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10));
const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));

/// Both families' addresses for full NAT, and what is put in front of that and behind.
fn file(dataplane: &str, services: &[String]) -> String {
    format!("[dataplane]\n{dataplane}\n[nat]\naddresses = [\"10.0.0.10\", \"fd00::10\"]\n{}", services.concat())
}

/// A service at an address, any port of the backends' if `port` is 0; `more` are lines of it.
fn service(name: &str, address: IpAddr, protocol: &str, port: u16, more: &str) -> String {
    let network = if address.is_ipv6() { "fd00::" } else { "10.0.0." };
    format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\nprotocol = \"{protocol}\"\n{more}\nbackends = [\n  \
         {{ address = \"{network}2\", port = {port} }},\n  {{ address = \"{network}3\", port = {port} }},\n]\n"
    )
}

fn web(address: IpAddr) -> String {
    service(if address.is_ipv6() { "six" } else { "four" }, address, "tcp", SERVICE_PORT, "")
}

/// The servers that so many new connections come to.
fn servers_of(place: SocketAddr, connections: usize) -> BTreeSet<String> {
    let exchange = |_| Connection::to(place)?.exchange(b"hello");
    (0..connections).map(|n| exchange(n).unwrap_or_else(|error: std::io::Error| panic!("{place}: {error}"))).collect()
}

/// As many as leave out one of two servers by chance with 2^-60.
const MANY: usize = 60;

fn both() -> BTreeSet<String> {
    ["h2", "h3"].map(str::to_owned).into()
}

fn clients_of_both_families_are_served_and_told_of(bed: &Testbed) {
    bed.add_ipv6();
    let _servers = Servers::tcp(SERVICE_PORT);
    let datagrams = Servers::udp(5353);
    let services = [
        web(SIX),
        web(FOUR),
        service("dns", SIX, "udp", 5353, ""),
        service("any", SIX, "udp", 0, "").replace("::10", "::11"),
    ];
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9400\"\n".to_owned();
    let text = file("max-flows = 4096", &[services.concat(), metrics]);
    let _balancer = bed.balance_config(&text);
    let (six, four) = (SocketAddr::new(SIX, SERVICE_PORT), SocketAddr::new(FOUR, SERVICE_PORT));
    for place in [six, four] {
        assert_eq!(servers_of(place, MANY), both(), "{place}");
    }
    // Datagrams: an answer to each, from where it was sent to, and both servers have some.
    let got = |n: u16| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("there is a port");
        socket.connect((SIX, 5353)).and_then(|()| socket.set_read_timeout(Some(testbed::DEADLINE))).expect("a route");
        socket.send(&n.to_be_bytes()).expect("it is sent");
        let mut answer = [0; 16];
        let length = socket.recv(&mut answer).expect("an answer");
        assert_eq!(answer[2..length], n.to_be_bytes());
        String::from_utf8_lossy(&answer[..2]).into_owned()
    };
    assert_eq!((0..60).map(got).collect::<BTreeSet<_>>(), both());
    assert_eq!(datagrams.total(), 60);

    // Every way of asking says it with brackets where a port follows.
    let mut open = Connection::to(six).expect("it is taken");
    let server = open.exchange(b"hello").expect("an answer");
    let flows = bed.told_json(&["flows", "--limit", "100000"]);
    let flows = flows.as_array().expect("a list");
    let of = |flow: &&Value, service: &str| flow["service"] == service;
    let sixes: Vec<_> = flows.iter().filter(|flow| of(flow, "[fd00::10]:8080")).collect();
    assert_eq!(sixes.len(), MANY + 1, "{flows:?}");
    for flow in sixes {
        let starts = |key: &str, with: &str| flow[key].as_str().is_some_and(|end| end.starts_with(with));
        assert!(
            starts("client", "[fd00::1]:") && starts("nat", "[fd00::10]:") && starts("backend", "[fd00::"),
            "{flow}"
        );
    }
    assert_eq!(flows.iter().filter(|flow| of(flow, "[fd00::10]:5353") && flow["protocol"] == "udp").count(), 60);
    assert_eq!(flows.iter().filter(|flow| of(flow, "10.0.0.10:8080")).count(), MANY);
    assert_eq!(bed.told(&["flows", "--client", "fd00::1", "--state", "established"]).matches("[fd00::1]:").count(), 1);
    assert!(bed.told(&["flows", "--backend", "[fd00::2]:8080"]).contains("[fd00::2]:8080"));
    let status = bed.told(&["status"]);
    assert!(status.contains("tcp [fd00::10]:8080") && status.contains("[fd00::2]:8080"), "{status}");
    assert!(status.contains("udp [fd00::11]:any"), "{status}");
    let listed = bed.told_json(&["services"]);
    assert_eq!((&listed[0]["address"], &listed[0]["backends"][1]["address"]), (&"fd00::10".into(), &"fd00::3".into()));
    assert!(listed[0]["backends"].as_array().expect("a list").iter().all(is_up), "{listed}");
    let scraped = bed.do_in(bed.plane.namespace(), &["python3", "-c", SCRAPE]).stdout;
    for line in [
        "evenkeel_backend_up{service=\"six\",backend=\"[fd00::2]:8080\"} 1",
        "evenkeel_table_used{table=\"flows\"} 60",
        "evenkeel_table_size{table=\"flows-ipv6\"} 4096",
    ] {
        assert!(scraped.contains(line), "{line}: {scraped}");
    }

    // Orders, by address alone or with brackets and port.
    bed.told(&["drain", "six", "fd00::2"]);
    assert_eq!(servers_of(six, 20), ["h3".to_owned()].into());
    assert_eq!(open.exchange(b"again").expect("it goes on"), server);
    bed.told(&["undrain", "six", "[fd00::2]:8080"]);
    bed.told(&["weight", "six", "[fd00::3]", "0"]);
    assert_eq!(servers_of(six, 20), ["h2".to_owned()].into());
    assert_eq!(servers_of(four, MANY), both(), "the other family's backends are others");
    bed.refused(&["drain", "six", "fd00::4"], 1, &["has no backend fd00::4", "[fd00::2]:8080, [fd00::3]:8080"]);
}

/// What Prometheus would read.
const SCRAPE: &str =
    "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9400/metrics').read().decode())";

fn usual_programs_work(bed: &Testbed) {
    bed.add_ipv6();
    let servers = ["h2", "h3"].map(|name| Backend::start(bed, name));
    let one = |name: &str, protocol: &str, port: u16| {
        let text = service(name, SIX, protocol, port, "");
        text.lines().filter(|line| !line.contains("::3")).map(|line| format!("{line}\n")).collect::<String>()
    };
    let balancer = bed.balance_config(&file(
        "max-flows = 4096",
        &[web(SIX), one("iperf", "tcp", 5201), one("iperf-udp", "udp", 5201)],
    ));
    bed.do_in("", &["ping", "-6", "-c", "2", "-W", "5", "fd00::10"]);
    let got: BTreeSet<_> = (0..MANY)
        .map(|_| bed.do_in("", &["curl", "-sg", "--max-time", "20", "http://[fd00::10]:8080/"]).stdout)
        .collect();
    assert_eq!(got, both());
    let line = "GET / HTTP/1.0\r\n\r\n";
    let mut nc = bed.start("", &["nc", "-6", "fd00::10", "8080"]);
    nc.type_text(line);
    until("nc has an answer", || nc.stdout().contains("200 OK").then_some(()));
    nc.interrupt();
    for options in [&["-n", "20M"][..], &["-n", "20M", "-R"], &["-u", "-b", "50M", "-n", "5M"]] {
        let mut server = bed.start("h2", &["iperf3", "-s", "-1", "-J"]);
        bed.wait_for_listener("h2", "tcp", 5201);
        let client = bed.do_in("", &[&["iperf3", "-6", "-c", "fd00::10", "-J"], options].concat()).stdout;
        let report: Value = serde_json::from_str(&client).expect("iperf3 -J writes JSON");
        let sum = if options.contains(&"-u") { &report["end"]["sum"] } else { &report["end"]["sum_received"] };
        assert!(sum["bytes"].as_u64().is_some_and(|bytes| bytes >= 5_000_000), "{options:?}: {report}");
        assert_eq!(server.finish().code, Some(0));
    }
    drop((servers, balancer));
}

/// Connections that carry noise without a pause, to each of these places.
fn transfers(places: &[SocketAddr], each: u64) -> Vec<Transfer> {
    let start =
        |(seed, place): (u64, &SocketAddr)| Transfer::start(*place, testbed::DEADLINE, Duration::from_millis(5), seed);
    (0..each).flat_map(|_| places).zip(0..).map(|(place, seed)| start((seed, place))).collect()
}

/// Waits until each of them has carried more than now.
#[track_caller]
fn go_on(transfers: &[Transfer]) {
    let before: Vec<_> = transfers.iter().map(Transfer::carried).collect();
    for (transfer, before) in transfers.iter().zip(before) {
        until("every connection carries bytes", || (transfer.carried() > before + (1 << 15)).then_some(()));
    }
}

#[track_caller]
fn all_whole(transfers: Vec<Transfer>) {
    for transfer in transfers {
        transfer.finish().expect("every byte came back as it went");
    }
}

fn size(bed: &Testbed) -> String {
    let scraped = bed.do_in(bed.plane.namespace(), &["python3", "-c", SCRAPE]).stdout;
    let line = scraped.lines().find(|line| line.starts_with("evenkeel_table_size{table=\"flows-ipv6\"}"));
    line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
}

/// From a table of a single bucket to one of many; then to more.
fn the_first_ipv6_service_comes_by_a_reload_and_costs_nobody_anything(bed: &Testbed) {
    bed.add_ipv6();
    echo_servers(&["h2", "h3"], SERVICE_PORT);
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9400\"\n".to_owned();
    let text =
        |flows: u32, services: &[String]| file(&format!("max-flows = {flows}"), &[services.concat(), metrics.clone()]);
    let balancer = bed.balance_config(&text(4096, &[web(FOUR)]));
    let (six, four) = (SocketAddr::new(SIX, SERVICE_PORT), SocketAddr::new(FOUR, SERVICE_PORT));
    let mut all = transfers(&[four], 8);
    go_on(&all);
    assert_eq!(size(bed), "0", "what nobody uses has no room");
    let refused = std::net::TcpStream::connect_timeout(&six, Duration::from_secs(5));
    assert!(refused.is_err(), "nobody serves it yet");
    bed.reload(&text(4096, &[web(FOUR), web(SIX)]));
    for backend in ["fd00::2", "fd00::3"] {
        balancer.wait_for(&format!("backend {backend} is at "));
    }
    assert_eq!(size(bed), "4096");
    all.extend(transfers(&[six, four], 8));
    go_on(&all);
    for flows in [16384, 65536] {
        bed.reload(&text(flows, &[web(FOUR), web(SIX)]));
        assert_eq!(size(bed), flows.to_string());
        go_on(&all);
    }
    // One that has left the file: its connections go on.
    bed.reload(&text(65536, &[web(FOUR)]));
    go_on(&all);
    let flows = bed.told_json(&["flows", "--limit", "1000", "--state", "established"]);
    assert_eq!(flows.as_array().map(Vec::len), Some(24), "{flows}");
    assert!(Connection::to(four).is_ok());
    all_whole(all);
    // Addresses of services and of [nat] must fit together, before anything is changed.
    bed.rewrite(&text(65536, &[web(FOUR), web(SIX)]).replace(", \"fd00::10\"]", "]"));
    assert_refused(&bed.evenkeel(&["reload"]).finish(), 1, &["[nat] addresses has none"]);
}

/// The daemon in lb, where names of BPF maps last.
fn start(bed: &Testbed, text: &str) -> Running {
    let path = bed.config("evenkeel.toml", text).display().to_string();
    let (program, mode) = (repository().join("build/evenkeel").display().to_string(), bed.plane.xdp_mode().to_string());
    let words = [&program, "run", "--config", &path, "--interface", "veth6", "--xdp-mode", &mode, "--keep"];
    let balancer = bed.start("", &in_network("lb", &words));
    balancer.wait_for(": ready on ");
    balancer
}

fn connections_go_on_over_a_restart_and_a_crash(bed: &Testbed) {
    bed.add_ipv6();
    echo_servers(&["h2", "h3"], SERVICE_PORT);
    let text = |flows: u32| file(&format!("max-flows = {flows}"), &[web(FOUR), web(SIX)]);
    let (six, four) = (SocketAddr::new(SIX, SERVICE_PORT), SocketAddr::new(FOUR, SERVICE_PORT));
    let mut balancer = start(bed, &text(4096));
    let all = transfers(&[six, four], 8);
    go_on(&all);
    // A good end, then a killed one, and both with larger tables the next time.
    for (signal, flows) in
        [(libc::SIGTERM, 4096), (libc::SIGKILL, 4096), (libc::SIGTERM, 16384), (libc::SIGKILL, 32768)]
    {
        balancer.signal(signal);
        balancer.finish();
        go_on(&all);
        balancer = start(bed, &text(flows));
        balancer.wait_for("took over from the evenkeel that was here before; its connections go on.");
        go_on(&all);
        let flows = bed.told_json(&["flows", "--limit", "1000", "--service", "six"]);
        assert_eq!(flows.as_array().map(Vec::len), Some(8), "none is lost, and none was opened anew: {flows}");
    }
    // A service that has left the file while nobody was there: its connections go on, whatever the program is loaded for.
    balancer.signal(libc::SIGTERM);
    balancer.finish();
    balancer = start(bed, &file("max-flows = 32768", &[web(FOUR)]));
    go_on(&all);
    all_whole(all);
    // Another order of the families is no other [nat]; other addresses are.
    balancer.signal(libc::SIGTERM);
    balancer.finish();
    let swapped = text(32768).replace("\"10.0.0.10\", \"fd00::10\"", "\"fd00::10\", \"10.0.0.10\"");
    balancer = start(bed, &swapped);
    balancer.wait_for("took over from the evenkeel");
    balancer.signal(libc::SIGTERM);
    balancer.finish();
}

fn checks_go_to_ipv6_backends_and_their_answers_to_the_kernel(bed: &Testbed) {
    bed.add_ipv6();
    let mut h2 = Backend::start(bed, "h2");
    let _h3 = Backend::start(bed, "h3");
    // The service has every port of the host's address, so an answer to a check is told apart by its port alone.
    let check = |source: &str| {
        let health = format!(
            "health = {{ kind = \"http\", path = \"/health\", port = {SERVICE_PORT}, interval = \"100ms\", timeout = \"100ms\"{source} }}"
        );
        file("max-flows = 4096", &[service("six", SIX, "tcp", 0, &health)])
    };
    let _balancer = bed.balance_config(&check(""));
    let six = SocketAddr::new(SIX, SERVICE_PORT);
    let states =
        || bed.backends().iter().map(|backend| (is_up(backend), backend["since"].is_u64())).collect::<Vec<_>>();
    until("both have passed", || (states() == [(true, true); 2]).then_some(()));
    assert_eq!(servers_of(six, MANY), both());
    h2.answer_health("503 Not now");
    until("h2 is down", || (states() == [(false, true), (true, true)]).then_some(()));
    assert_eq!(servers_of(six, 20), ["h3".to_owned()].into());
    h2.answer_health("200 OK");
    until("h2 is up", || (states() == [(true, true); 2]).then_some(()));
    h2.kill();
    until("h2 is down", || (states() == [(false, true), (true, true)]).then_some(()));
    assert!(
        bed.backends()[0]["reason"].as_str().is_some_and(|reason| reason.contains("refused")),
        "{:?}",
        bed.backends()
    );
    h2.heal(bed);
    // From another address of the host.
    bed.do_in("lb", &["ip", "address", "add", "fd00::12/64", "dev", "veth6", "nodad"]);
    bed.reload(&check(", source = \"fd00::12\""));
    until("both have passed", || (states() == [(true, true); 2]).then_some(()));
}

fn who_is_not_reached_is_told(bed: &Testbed) {
    bed.add_ipv6();
    // Behind a router, by its link-local address; on the host itself; nowhere; and one who does not answer.
    bed.do_in("h2", &["ip", "address", "add", "fd01::2/128", "dev", "lo", "nodad"]);
    let link_local = "fe80::2";
    bed.do_in("h2", &["ip", "address", "add", "fe80::2/64", "dev", "veth2", "nodad"]);
    bed.do_in("lb", &["ip", "-6", "route", "add", "fd01::/64", "via", link_local, "dev", "veth6"]);
    let backends = |addresses: &[&str]| {
        let all: Vec<_> =
            addresses.iter().map(|address| format!("{{ address = \"{address}\", port = {SERVICE_PORT} }}")).collect();
        all.join(", ")
    };
    let text = file(
        "max-flows = 4096",
        &[format!(
            "[[service]]\nname = \"six\"\naddress = \"fd00::99\"\nport = {SERVICE_PORT}\nprotocol = \"tcp\"\nbackends = [{}]\n",
            backends(&["fd01::2", "fd00::12", "fd02::2", "fd00::4"])
        )],
    );
    bed.do_in("lb", &["ip", "address", "add", "fd00::12/64", "dev", "veth6", "nodad"]);
    let path = bed.config("evenkeel.toml", &text);
    let balancer = bed.start_with_file(&path);
    balancer.wait_for("backend fd01::2 is at de:ad:be:ef:00:02");
    balancer.wait_for("warning: backend fd00::12 is an address of this host");
    balancer.wait_for("warning: there is no route to backend fd02::2;");
    balancer.wait_for(
        "warning: backend fd00::4 does not answer neighbour solicitations; it gets no connections until it does",
    );
    balancer.wait_for(
        "warning: this host does not answer neighbour solicitations for fd00::99 (service \"six\"): give it the address with \
         `ip address add fd00::99/128 dev veth6`",
    );
    let states: Vec<_> = bed.backends().iter().map(|backend| (is_up(backend), backend["trouble"].clone())).collect();
    let expected = [Value::Null, "elsewhere".into(), "no-route".into(), "unresolved".into()];
    assert_eq!(states, expected.map(|trouble| (trouble.is_null(), trouble)));
    // He comes, and is found.
    bed.do_in("h3", &["ip", "address", "add", "fd00::4/64", "dev", "veth4", "nodad"]);
    balancer.wait_for("backend fd00::4 is at de:ad:be:ef:00:03");
}
