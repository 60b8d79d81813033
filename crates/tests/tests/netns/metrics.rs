//! What Prometheus reads of a balancer at work, and what becomes of those who ask in bad faith.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{self, DEADLINE, Load, Running, Servers, Testbed, file, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

on_every_plane! {
    prometheus_reads_every_metric_and_the_values_agree["curl"],
    what_was_removed_is_counted_until_its_connections_end["curl"],
    promtool_accepts_metrics_alerts_and_dashboard["curl"],
    metrics_are_served_where_the_file_says_and_nowhere_else["curl"],
    who_asks_in_bad_faith_disturbs_nobody["curl"],
}

const LISTEN: &str = "127.0.0.1:9400";

/// Prometheus' own parser; one sample a line of JSON.
const PARSE: &str = r#"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps({"name": sample.name, "labels": sample.labels, "value": sample.value}))
"#;

/// Debian's own, which is the one that python3-prometheus-client is installed for.
const PYTHON: &str = "/usr/bin/python3";

/// Ports from 1024 on, since the file says nothing else, without those of health checks.
const NAT_PORTS: f64 = 64256.0;

/// A TCP service and a UDP service.
fn balance(bed: &Testbed) -> Running {
    bed.balance_config(&config(&[(2, ""), (3, "")]))
}

fn config(backends: &[(u8, &str)]) -> String {
    let text = file(&format!("[metrics]\nlisten = \"{LISTEN}\""), "", backends);
    let (_, service) = text.split_at(text.find("[[service]]").expect("there is one"));
    let udp = service.replace("\"web\"", "\"datagrams\"").replace("\"tcp\"", "\"udp\"");
    format!("{text}{udp}")
}

/// What curl gets, where the balancer is.
fn scrape(bed: &Testbed) -> String {
    scrape_as(bed, OPEN_METRICS).1
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of what curl gets that takes this, and the text.
fn scrape_as(bed: &Testbed, accept: &str) -> (String, String) {
    let url = format!("http://{LISTEN}/metrics");
    let accept = format!("Accept: {accept}");
    let words = ["curl", "-sS", "--fail", "-H", &accept, "-w", "%{stderr}%{content_type}", &url];
    let ended = bed.do_in(bed.plane.namespace(), &words);
    (ended.stderr, ended.stdout)
}

type Labels = BTreeMap<String, String>;

/// Samples by name and labels.
fn samples(bed: &Testbed) -> BTreeMap<(String, Labels), f64> {
    let text = scrape(bed);
    let mut parser = bed.start("", &[PYTHON, "-c", PARSE]);
    parser.type_text(&text);
    parser.end_input();
    let ended = parser.finish();
    assert_eq!(ended.code, Some(0), "{ended}\n{text}");
    let sample = |line: &str| {
        let sample: Value = serde_json::from_str(line).expect("JSON");
        let labels: Labels = serde_json::from_value(sample["labels"].clone()).expect("texts by name");
        ((sample["name"].as_str().expect("text").to_owned(), labels), sample["value"].as_f64().expect("a number"))
    };
    ended.stdout.lines().map(sample).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const DATAGRAMS: u16 = 50;
const PAYLOAD: [u8; 100] = [7; 100];

fn prometheus_reads_every_metric_and_the_values_agree(bed: &Testbed) {
    let _tcp = Servers::tcp(8080);
    let udp = Servers::udp(8080);
    let _balancer = balance(bed);
    let mut connections: Vec<_> = (0..20).map(|_| testbed::Connection::new(8080)).collect();
    for connection in &mut connections {
        connection.exchange(b"hello").expect("the server answers");
    }
    let socket = UdpSocket::bind("10.0.0.1:20000").expect("the port is free");
    socket.connect("10.0.0.10:8080").expect("there is a route");
    socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
    for _ in 0..DATAGRAMS {
        socket.send(&PAYLOAD).expect("it leaves");
        socket.recv(&mut [0; 200]).expect("an answer");
    }
    bed.told(&["drain", "web", "10.0.0.3"]);

    let before = bed.told_json(&["counters"]);
    let samples = samples(bed);
    let after = bed.told_json(&["counters"]);
    let value = |name: &str, pairs: &[(&str, &str)]| -> f64 {
        let key = (name.to_owned(), labels(pairs));
        *samples.get(&key).unwrap_or_else(|| panic!("{key:?} is not among {samples:#?}"))
    };
    for (reason, before) in before.as_object().expect("counters by name") {
        let (before, after) = (before.as_f64().expect("a number"), after[reason].as_f64().expect("a number"));
        // Verdicts and events are counters of different things.
        let of = |metric: &str, label: &str| samples.get(&(metric.to_owned(), labels(&[(label, reason)]))).copied();
        let now = match (of("evenkeel_verdicts_total", "reason"), of("evenkeel_events_total", "event")) {
            (Some(now), None) | (None, Some(now)) => now,
            both => panic!("{reason}: {both:?}"),
        };
        assert!((before..=after).contains(&now), "{reason}: {before}, {now}, {after}");
    }
    let services = bed.told_json(&["services"]);
    let home = udp.that_got(&PAYLOAD)[0].clone();
    let mut busiest: f64 = 0.0;
    for service in services.as_array().expect("a list") {
        let name = service["name"].as_str().expect("text");
        let mut flows = 0.0;
        for backend in service["backends"].as_array().expect("a list") {
            let address = backend["address"].as_str().expect("text");
            let target = format!("{address}:8080");
            let of = |metric: &str, direction: &str| {
                value(metric, &[("service", name), ("backend", &target), ("direction", direction)])
            };
            let both = |metric: &str| of(metric, "client") + of(metric, "backend");
            assert_eq!(Some(both("evenkeel_packets_total")), backend["packets"].as_f64());
            assert_eq!(Some(both("evenkeel_bytes_total")), backend["bytes"].as_f64());
            if name == "datagrams" {
                let count = if address.ends_with(&home[1..]) { f64::from(DATAGRAMS) } else { 0.0 };
                assert_eq!(of("evenkeel_packets_total", "client"), count);
                assert_eq!(of("evenkeel_packets_total", "backend"), count);
                // Headers of Ethernet, IPv4 and UDP; the answer has the server's name as well.
                assert_eq!(of("evenkeel_bytes_total", "client"), count * 142.0);
                assert_eq!(of("evenkeel_bytes_total", "backend"), count * 144.0);
            }
            let is_drained = name == "web" && address == "10.0.0.3";
            let up = value("evenkeel_backend_up", &[("service", name), ("backend", &target)]);
            assert_eq!(up, if is_drained { 0.0 } else { 1.0 });
            let open = backend["flows"].as_f64().expect("a number");
            assert_eq!(value("evenkeel_nat_ports_in_use", &[("service", name), ("backend", &target)]), open);
            busiest = busiest.max(open);
            flows += open;
        }
        assert_eq!(flows, if name == "web" { connections.len() as f64 } else { 1.0 });
        assert_eq!(value("evenkeel_flows", &[("service", name)]), flows);
    }
    assert_eq!(value("evenkeel_nat_ports_free", &[]), NAT_PORTS - busiest);
    let class = |class| value("evenkeel_flow_table", &[("class", class)]);
    let established = connections.len() as f64;
    assert_eq!((class("established"), class("udp-answered")), (established, 1.0));
    for nobody in ["half-open", "half-closed", "closing", "udp-opening", "udp-established"] {
        assert_eq!(class(nobody), 0.0, "{nobody}");
    }
    assert_eq!(class("free"), f64::from(1 << 20) - established - 1.0);
    for nobody in ["half-open", "closing", "udp"] {
        assert_eq!(value("evenkeel_evictions_total", &[("class", nobody)]), 0.0);
    }
    assert_eq!(value("evenkeel_nat_ports_taken_over_total", &[]), 0.0);
    assert_eq!(value("evenkeel_nat_target_ports", &[]), NAT_PORTS);
    let towards =
        |protocol, target| value("evenkeel_nat_target_ports_in_use", &[("protocol", protocol), ("target", target)]);
    assert_eq!(towards("tcp", "10.0.0.2:8080") + towards("tcp", "10.0.0.3:8080"), established);
    let table = |metric, table| value(metric, &[("table", table)]);
    assert_eq!(table("evenkeel_table_size", "flows"), f64::from(1 << 20));
    assert_eq!(table("evenkeel_table_used", "flows"), established + 1.0);
    assert_eq!((table("evenkeel_table_used", "services"), table("evenkeel_table_used", "backends")), (2.0, 4.0));
    let status = bed.told_json(&["status"]);
    let (interface, mode) = (status["interface"].as_str().expect("text"), status["mode"].as_str().expect("text"));
    assert_eq!(value("evenkeel_attach_mode", &[("interface", interface), ("mode", mode)]), 1.0);
    let read = value("evenkeel_config_last_reload_success_timestamp_seconds", &[]);
    assert_eq!(value("evenkeel_config_last_reload_successful", &[]), 1.0);
    bed.rewrite("nonsense");
    assert_eq!(bed.evenkeel(&["reload"]).finish().code, Some(1));
    let refused = self::samples(bed);
    let of = |name: &str| refused[&(name.to_owned(), Labels::new())];
    assert_eq!(of("evenkeel_config_last_reload_successful"), 0.0);
    assert_eq!(of("evenkeel_config_last_reload_success_timestamp_seconds"), read);

    // Who has left the file is there for its last connections, and no alert shall miss it.
    bed.reload(&config(&[(2, "")]));
    let later = self::samples(bed);
    let up =
        |target| later.get(&("evenkeel_backend_up".to_owned(), labels(&[("service", "web"), ("backend", target)])));
    assert_eq!((up("10.0.0.2:8080"), up("10.0.0.3:8080")), (Some(&1.0), None));
    assert_eq!(later[&("evenkeel_flows".to_owned(), labels(&[("service", "web")]))], connections.len() as f64);
}

fn what_was_removed_is_counted_until_its_connections_end(bed: &Testbed) {
    let _tcp = Servers::tcp(8080);
    let _udp = Servers::udp(8080);
    let _balancer = balance(bed);
    let mut connections: Vec<_> = (0..20).map(|_| testbed::Connection::new(8080)).collect();
    for connection in &mut connections {
        connection.exchange(b"hello").expect("the server answers");
    }
    let carried = || -> f64 {
        let of_web = |(name, labels): &(String, Labels)| name == "evenkeel_bytes_total" && labels["service"] == "web";
        samples(bed).iter().filter(|(key, _)| of_web(key)).map(|(_, value)| value).sum()
    };
    let before = carried();
    // The service goes, and the other stays.
    let text = config(&[(2, ""), (3, "")]);
    let (head, services) = text.split_at(text.find("[[service]]").expect("there is one"));
    let (_, datagrams) = services.split_at(services.rfind("[[service]]").expect("there are two"));
    bed.reload(&format!("{head}{datagrams}"));
    for connection in &mut connections {
        connection.exchange(b"still there").expect("it goes on");
    }
    assert!(carried() > before, "under the name that the service had");
    let flows = |samples: &BTreeMap<(String, Labels), f64>| {
        samples.get(&("evenkeel_flows".to_owned(), labels(&[("service", "web")]))).copied()
    };
    assert_eq!(flows(&samples(bed)), Some(connections.len() as f64));
    // The name is another's now.
    let other = datagrams.replace("\"datagrams\"", "\"web\"").replace("port = 8080\nprotocol", "port = 8081\nprotocol");
    bed.reload(&format!("{head}{datagrams}{other}"));
    let both = samples(bed);
    assert_eq!(flows(&both), Some(0.0));
    let removed = labels(&[("service", "tcp 10.0.0.10:8080")]);
    assert_eq!(both.get(&("evenkeel_flows".to_owned(), removed)).copied(), Some(connections.len() as f64));
}

/// Debian's, or what the set-up has taken out of Debian's package.
fn promtool(bed: &Testbed, words: &[&str]) -> Running {
    let ours = testbed::repository().join(".tools/bin/promtool").display().to_string();
    let program = if std::path::Path::new(&ours).exists() { ours.as_str() } else { "promtool" };
    bed.start("", &[&[program], words].concat())
}

fn promtool_accepts_metrics_alerts_and_dashboard(bed: &Testbed) {
    let _balancer = balance(bed);
    for (accept, content_type) in [("*/*", PLAIN), ("text/plain", PLAIN), (OPEN_METRICS, OPEN_METRICS)] {
        let (told, text) = scrape_as(bed, accept);
        assert_eq!(told, content_type, "{accept}");
        assert_eq!(text.ends_with("# EOF\n"), content_type == OPEN_METRICS, "{text}");
    }
    let (_, plain) = scrape_as(bed, "*/*");
    let mut check = promtool(bed, &["check", "metrics"]);
    check.type_text(&plain);
    check.end_input();
    let ended = check.finish();
    assert!(ended.code == Some(0) && ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended}\n{plain}");

    let packaging = testbed::repository().join("packaging");
    let alerts = packaging.join("prometheus-alerts.yml").display().to_string();
    let ended = promtool(bed, &["check", "rules", &alerts]).finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    // Everything that they ask for is there.
    let there: Vec<_> = plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in ["prometheus-alerts.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(packaging.join(file)).expect("it is there");
        let names = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let asked: Vec<_> = names.filter(|name| name.starts_with("evenkeel_")).collect();
        assert!(asked.len() >= 8, "{file}: {asked:?}");
        let missing: Vec<_> = asked.iter().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{file}: {missing:?} of {there:?}");
    }
    let dashboard = std::fs::read_to_string(packaging.join("grafana-dashboard.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let rules: String = queries
        .enumerate()
        .map(|(number, target)| {
            // A variable is Grafana's; what it stands for is a regular expression.
            let expr = target["expr"].as_str().expect("text").replace("$service", ".*");
            format!("  - record: panel:number{number}\n    expr: {}\n", Value::from(expr))
        })
        .collect();
    let rules = bed.config("panels.yml", &format!("groups:\n- name: panels\n  rules:\n{rules}")).display().to_string();
    let ended = promtool(bed, &["check", "rules", &rules]).finish();
    assert_eq!(ended.code, Some(0), "{ended}");
}

fn metrics_are_served_where_the_file_says_and_nowhere_else(bed: &Testbed) {
    let mut balancer = balance(bed);
    let namespace = bed.plane.namespace();
    let listeners = bed.do_in(namespace, &["ss", "-Hltun"]).stdout;
    let places: Vec<_> = listeners.lines().filter_map(|line| line.split_whitespace().nth(4)).collect();
    assert_eq!(places, [LISTEN], "{listeners}");
    // Nothing but metrics: orders are for those who may open the socket.
    for (method, resource) in [("GET", "/"), ("GET", "/v1/status"), ("POST", "/v1/reload"), ("POST", "/v1/drain")] {
        let url = format!("http://{LISTEN}{resource}");
        let words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, &url];
        assert_eq!(bed.do_in(namespace, &words).stdout, "404", "{method} {resource}");
    }
    // The address is taken: the next balancer says so.
    balancer.interrupt();
    let _other = testbed::within(namespace, || std::net::TcpListener::bind(LISTEN)).expect("it is free again");
    let mut balancer = bed.start_with_file(&bed.work.join("evenkeel.toml"));
    let ended = balancer.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    let sentence = format!("cannot listen for Prometheus at {LISTEN}");
    assert!(ended.stderr.lines().last().is_some_and(|line| line.contains(&sentence)), "{ended}");
    assert!(!bed.is_occupied());
}

/// More than are served at once.
const CROWD: usize = 100;

fn connect(bed: &Testbed) -> TcpStream {
    let stream = testbed::within(bed.plane.namespace(), || TcpStream::connect(LISTEN)).expect("somebody listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
    stream
}

/// Waits until the other side has closed; it must be the other side that ends this.
fn assert_closed(stream: &TcpStream) {
    match io::copy(&mut stream.take(1 << 20), &mut io::sink()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

/// Sends again and again, at this pace, until the other side has had enough; returns how much that was.
fn send_until_closed(mut stream: TcpStream, piece: &[u8], pause: Duration) -> usize {
    let end = Instant::now() + DEADLINE;
    let mut sent = 0;
    while stream.write_all(piece).is_ok() {
        sent += piece.len();
        assert!(Instant::now() < end, "it takes {sent} bytes and goes on");
        thread::sleep(pause);
    }
    sent
}

fn who_asks_in_bad_faith_disturbs_nobody(bed: &Testbed) {
    let _servers = Servers::tcp(8080);
    let balancer = balance(bed);
    let descriptors = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("it lives");
        open.count()
    };
    let load = Load::start(20);
    load.goes_on(&["h2", "h3"]);
    scrape(bed);
    let before = descriptors();

    for garbage in
        [&b"\0\xff\x01garbage\r\n\r\n"[..], b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"]
    {
        let mut stream = connect(bed);
        stream.write_all(garbage).expect("it is taken");
        assert_closed(&stream);
    }
    let mut endless = connect(bed);
    endless.write_all(b"GET /metrics HTTP/1.1\r\n").expect("it is taken");
    // What the kernel keeps for either side comes on top of what the balancer reads.
    assert!(send_until_closed(endless, &[b'a'; 4096], Duration::ZERO) < 32 << 20);

    // As many as are served at once and more, who all say little, and one who says it slowly.
    let mut slow = connect(bed);
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").expect("it is taken");
    let slow = thread::spawn(|| send_until_closed(slow, b"a", Duration::from_millis(200)));
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut stream = connect(bed);
            stream.write_all(b"GET /metr").expect("it is taken");
            stream
        })
        .collect();
    bed.told(&["status"]);
    load.goes_on(&["h2", "h3"]);
    load.next(60).assert_on(&["h2", "h3"]);
    assert!(descriptors() < before + CROWD, "not all of them are served at once");
    assert!(scrape(bed).contains("evenkeel_flows"), "whoever waits comes to his turn");
    crowd.iter().for_each(assert_closed);
    slow.join().expect("it was closed");
    until("what they had is given back", || (descriptors() <= before + 1).then_some(()));
    scrape(bed);
    load.goes_on(&["h2", "h3"]);
    load.assert_whole();
}
