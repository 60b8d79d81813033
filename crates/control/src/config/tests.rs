//! Files that are right, and a collection of those that are not.

use super::*;
use crate::{Secrets, Sizes};
use evenkeel_core::Features;
use evenkeel_core::flow::IdleTimes;
use evenkeel_wire::MacAddress;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const GOOD: &str = r#"
[dataplane]
interface = "veth6"

[nat]
addresses = ["10.0.0.10"]
ports = "1024-65535"

[[service]]
name = "web"
address = "10.0.0.10"
port = 80
protocol = "tcp"
backends = [{ address = "10.0.0.2", port = 8080 }, { address = "10.0.0.3", port = 8080, weight = 3 }]
"#;

/// The faults of the good file with this put in the place of that.
fn faults(right: &str, wrong: &str) -> Vec<String> {
    assert_eq!(GOOD.matches(right).count(), 1, "{right:?} is one place of the good file");
    lines(&GOOD.replace(right, wrong))
}

fn lines(text: &str) -> Vec<String> {
    match Config::parse("bad.toml", text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_small_file_says_everything_needed() {
    let config = Config::parse("good.toml", GOOD).expect("the file is right");
    assert_eq!(config.dataplane.max_flows, 1 << 20);
    assert_eq!(config.services[0].backends[0].weight, 1);
    assert_eq!(config.services[0].backends[1].weight, 3);
    assert_eq!(config.nat.ports, (1024, 65535));
}

#[test]
fn every_fault_is_named_with_its_place() {
    let mut wrong_places = Vec::new();
    // What of the good file, what instead, and how the message begins after the name or what it holds.
    for (right, wrong, place, words) in [
        // Not TOML.
        ("[nat]", "[nat", "5:5: ", "expected `]`"),
        ("[nat]", "nat]", "5:4: ", ""),
        ("port = 80\n", "port = 80 80\n", "12:8: ", ""),
        ("port = 80\n", "port 80\n", "12:", ""),
        ("\"veth6\"", "\"veth6", "3:19: ", "invalid basic string"),
        ("\"veth6\"", "veth6", "3:13: ", ""),
        ("\"veth6\"", "\"ve\\qth6\"", "3:", "escape"),
        ("port = 80\n", "port = 080\n", "12:8: ", ""),
        ("port = 80\n", "port = 80\nport = 81\n", "13:1: ", "duplicate key"),
        ("[nat]", "[dataplane]", "5:2: ", "duplicate key"),
        ("protocol = \"tcp\"", "protocol = ", "13:", ""),
        ("[[service]]", "[service]", "9:1: ", "service must be a list of tables"),
        ("[[service]]", "[[service]]\n[[service]", "10:11: ", "expected `]`"),
        // Unknown keys.
        (
            "[dataplane]",
            "colour = 1\n[dataplane]",
            "2:1: ",
            "unknown key `colour` in the file: the keys are dataplane, nat, service, metrics.",
        ),
        ("interface", "interfaces", "3:1: ", "did you mean `interface`?"),
        ("interface", "Interface", "3:1: ", "did you mean `interface`?"),
        ("interface = \"veth6\"", "xdp_mode = \"auto\"", "3:1: ", "did you mean `xdp-mode`?"),
        ("interface = \"veth6\"", "maxflows = 1000", "3:1: ", "did you mean `max-flows`?"),
        ("ports =", "port =", "7:1: ", "unknown key `port` in [nat]: did you mean `ports`?"),
        ("name = \"web\"", "name = \"web\"\nweight = 2", "11:1: ", "unknown key `weight` in [[service]]"),
        ("weight = 3", "wight = 3", "14:89: ", "did you mean `weight`?"),
        (
            "weight = 3",
            "ratio = 3",
            "14:89: ",
            "unknown key `ratio` in a backend: the keys are address, port, weight, drain, health.",
        ),
        ("[nat]", "[nats]", "1:1: ", "the file has no [nat] section"),
        // Values of another kind.
        ("\"veth6\"", "6", "3:13: ", "interface: invalid type: integer `6`, expected a string"),
        ("[\"10.0.0.10\"]", "\"10.0.0.10\"", "6:13: ", "addresses: invalid type"),
        ("[\"10.0.0.10\"]", "[10]", "6:14: ", "addresses: invalid type"),
        ("\"1024-65535\"", "1024", "7:9: ", "ports: invalid type"),
        ("port = 80\n", "port = \"80\"\n", "12:8: ", "port: invalid value: string \"80\", expected a port, or a range"),
        ("port = 80\n", "port = 80.5\n", "12:8: ", "port: invalid type: floating point"),
        ("port = 80\n", "port = true\n", "12:8: ", "port: invalid type: boolean"),
        ("port = 80\n", "port = 2026-11-24\n", "12:8: ", "port: "),
        ("weight = 3", "weight = \"heavy\"", "14:98: ", "weight: invalid type"),
        ("{ address = \"10.0.0.2\", port = 8080 }", "\"10.0.0.2\"", "14:13: ", "backends holds tables, not a string"),
        ("interface = \"veth6\"", "idle = false", "3:8: ", "idle: "),
        ("[dataplane]\ninterface = \"veth6\"", "dataplane = 5", "2:13: ", "dataplane must be a table, not an integer"),
        ("[dataplane]\ninterface = \"veth6\"", "[[dataplane]]", "2:1: ", "dataplane must be a table, not a list"),
        // Values out of bounds.
        ("port = 80\n", "port = 808080\n", "12:8: ", "port: invalid value: integer `808080`, expected a port"),
        ("port = 80\n", "port = -1\n", "12:8: ", "port: invalid value: integer `-1`"),
        ("port = 80\n", "port = 99999999999999999999\n", "12:8: ", "port: "),
        ("weight = 3", "weight = 65536", "14:98: ", "weight: invalid value: integer `65536`"),
        ("weight = 3", "weight = -3", "14:98: ", "weight: invalid value"),
        ("\"1024-65535\"", "\"9-1\"", "7:9: ", "ports: FIRST-LAST is wanted"),
        ("\"1024-65535\"", "\"0-1\"", "7:9: ", "ports: FIRST-LAST is wanted"),
        ("\"1024-65535\"", "\"1-65536\"", "7:9: ", "ports: FIRST-LAST is wanted"),
        ("\"1024-65535\"", "\"1024\"", "7:9: ", "ports: FIRST-LAST is wanted"),
        ("\"1024-65535\"", "\"1 024-65535\"", "7:9: ", "ports: FIRST-LAST is wanted"),
        ("interface = \"veth6\"", "max-flows = 63", "3:13: ", "max-flows must be between 64 and 67108864"),
        ("interface = \"veth6\"", "max-flows = 67108865", "3:13: ", "max-flows must be between"),
        ("interface = \"veth6\"", "max-flows = -1", "3:13: ", "max-flows: invalid value"),
        ("interface = \"veth6\"", "mtu = 575", "3:7: ", "mtu must be between 576 and 65535"),
        ("interface = \"veth6\"", "mtu = 65536", "3:7: ", "mtu: invalid value"),
        // Words that are none of those that there are.
        ("\"tcp\"", "\"sctp\"", "13:12: ", "protocol: unknown variant `sctp`, expected `tcp` or `udp`"),
        ("\"tcp\"", "\"TCP\"", "13:12: ", "protocol: unknown variant `TCP`"),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nforward = \"nat64\"",
            "14:11: ",
            "forward: unknown variant `nat64`",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\naffinity = \"client\"",
            "14:12: ",
            "expected `connection` or `client-address`",
        ),
        ("interface = \"veth6\"", "kind = \"ebpf\"", "3:8: ", "kind: unknown variant `ebpf`, expected `xdp` or `dpdk`"),
        ("interface = \"veth6\"", "xdp-mode = \"skb\"", "3:12: ", "xdp-mode: unknown variant `skb`"),
        ("interface = \"veth6\"", "idle = \"nap\"", "3:8: ", "idle: unknown variant `nap`"),
        ("interface = \"veth6\"", "unserved = \"pass\"", "3:12: ", "unserved: unknown variant `pass`"),
        // Addresses.
        ("address = \"10.0.0.10\"", "address = \"10.0.0.300\"", "11:11: ", "address: \"10.0.0.300\" is no address"),
        ("address = \"10.0.0.10\"", "address = \"10.0.0\"", "11:11: ", "address: \"10.0.0\" is no address"),
        ("address = \"10.0.0.10\"", "address = \"::1\"", "11:11: ", "::1 cannot be the address of a service"),
        ("address = \"10.0.0.10\"", "address = \"web.example\"", "11:11: ", "address: \"web.example\" is no address"),
        ("address = \"10.0.0.10\"", "address = \"0.0.0.0\"", "11:11: ", "cannot be the address of a service"),
        ("address = \"10.0.0.10\"", "address = \"224.0.0.1\"", "11:11: ", "cannot be the address of a service"),
        ("\"10.0.0.2\"", "\"127.0.0.1\"", "14:25: ", "cannot be the address of a backend"),
        ("\"10.0.0.2\"", "\"10.0.0.10\"", "14:25: ", "backend 10.0.0.10 is the balancer itself"),
        ("\"10.0.0.2\"", "\"10.0.0.3\"", "14:64: ", "backend 10.0.0.3 port 8080 is listed twice"),
        ("[\"10.0.0.10\"]", "[]", "6:13: ", "[nat] needs at least one address"),
        ("[\"10.0.0.10\"]", "[\"10.0.0.10\", \"10.0.0.10\"]", "6:13: ", "10.0.0.10 is listed twice"),
        ("[\"10.0.0.10\"]", "[\"10.0.0.10\", \"255.255.255.255\"]", "6:13: ", "cannot be the address of [nat]"),
        ("[\"10.0.0.10\"]", "[\"10.0.0.10\", \"10.0.0.\"]", "6:27: ", "addresses: \"10.0.0.\" is no address"),
        // Health checks.
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = \"tcp\"",
            "14:10: ",
            "health must be a table, not a string",
        ),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nhealth = {}", "14:10: ", "health has no kind"),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"ping\" }",
            "14:19: ",
            "expected one of `tcp`, `tls`, `udp`, `dns`, `http`, `https`, `none`",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", every = \"1s\" }",
            "14:26: ",
            "unknown key `every` in health",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", interval = 1 }",
            "14:37: ",
            "interval: invalid type",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", interval = \"1\" }",
            "14:37: ",
            "a time is like 500ms, 1s or 2m",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", interval = \"1ms\" }",
            "14:37: ",
            "interval must be between 10ms and 1h",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", timeout = \"2s\" }",
            "14:36: ",
            "timeout must not be longer than interval",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", rise = 0 }",
            "14:33: ",
            "rise must be between 1 and 100",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", fall = 101 }",
            "14:33: ",
            "fall must be between 1 and 100",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"tcp\", status = 200 }",
            "14:35: ",
            "status is for kind = \"http\" or \"https\" only",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"http\", status = 99 }",
            "14:36: ",
            "between 100 and 599",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"http\", path = \"up\" }",
            "14:34: ",
            "path begins with /",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nhealth = { kind = \"http\", path = \"/\\r\\nX: y\" }",
            "14:34: ",
            "path begins with / and holds no",
        ),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nall-down = \"reject\"", "14:12: ", "expected `drop` or `reset`"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\ndrain-time = \"soon\"", "14:14: ", "a time is like"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\ndrain-time = \"300000000000y\"", "14:14: ", "at most 365 days"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nnewcomers = 9", "14:13: ", "newcomers is 10 to 10000000 a second"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nnewcomers = 10000001", "14:13: ", "without it there is no limit"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\non-missing = \"keep\"", "14:14: ", "expected `drop` or `reset`"),
        ("protocol = \"tcp\"", "protocol = \"udp\"\non-missing = \"reset\"", "14:14: ", "UDP has no resets"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\non-down = \"wait\"", "14:11: ", "one of `keep`, `drop`, `reset`"),
        ("protocol = \"tcp\"", "protocol = \"udp\"\non-down = \"reset\"", "14:11: ", "UDP has no resets"),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nidle = \"1m\"", "14:8: ", "idle must be a table, not a string"),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { open = \"1m\" }",
            "14:10: ",
            "unknown key `open` in idle: the keys are opening, ",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { half_closed = \"1m\" }",
            "14:10: ",
            "did you mean `half-closed`?",
        ),
        ("protocol = \"tcp\"", "protocol = \"tcp\"\nidle = { opening = 60 }", "14:20: ", "opening: invalid type"),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { opening = \"10m\" }",
            "14:20: ",
            "opening must be between 1s and 9m",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { established = \"10h\" }",
            "14:24: ",
            "established must be between 1s and 9h",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { closing = \"500ms\" }",
            "14:20: ",
            "closing must be between 1s and 9m",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { udp-opening = \"10s\" }",
            "14:24: ",
            "udp-opening is for services of protocol = \"udp\", and this one's is \"tcp\"",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"udp\"\nidle = { closing = \"10s\" }",
            "14:20: ",
            "closing is for services of protocol = \"tcp\", and this one's is \"udp\"",
        ),
        (
            "interface = \"veth6\"",
            "secret-file = \"/nowhere/secret\"",
            "3:15: ",
            "secret-file: /nowhere/secret: No such file",
        ),
        (
            "interface = \"veth6\"",
            "secret-file = \"/dev/zero\"",
            "3:15: ",
            "secret-file: /dev/zero is no ordinary file",
        ),
        ("[nat]", "[metrics]\nlisten = \"9400\"\n[nat]", "6:10: ", "listen: invalid socket address"),
        ("[nat]", "[metrics]\nport = 9400\n[nat]", "6:1: ", "unknown key `port` in [metrics]: the keys are listen."),
        // What is missing.
        ("addresses = [\"10.0.0.10\"]\n", "", "5:1: ", "[nat] has no addresses"),
        ("name = \"web\"\n", "", "9:1: ", "[[service]] has no name"),
        ("address = \"10.0.0.10\"\n", "", "9:1: ", "[[service]] has no address"),
        ("port = 80\n", "", "9:1: ", "[[service]] has no port"),
        ("protocol = \"tcp\"\n", "", "9:1: ", "[[service]] has no protocol"),
        ("address = \"10.0.0.2\", ", "", "14:13: ", "a backend has no address"),
        ("[nat]\naddresses = [\"10.0.0.10\"]\nports = \"1024-65535\"\n", "", "1:1: ", "the file has no [nat] section"),
        // What contradicts itself.
        ("port = 80\n", "port = 0\n", "14:44: ", "a service for any port (0) needs backends with port 0"),
        ("port = 8080 }, {", "port = 0 }, {", "14:44: ", "a service with a port needs backends with one"),
        ("name = \"web\"", "name = \"\"", "10:8: ", "a service's name is 1 to 64 bytes"),
        ("name = \"web\"", "name = 'we\\b'", "10:8: ", "without quotes, backslashes or control characters"),
        ("name = \"web\"", "name = \"we\\tb\"", "10:8: ", "without quotes, backslashes or control characters"),
        ("\"veth6\"", "\"\"", "3:13: ", "cannot be an interface's name"),
        ("\"veth6\"", "\"a-name-longer-than-any\"", "3:13: ", "cannot be an interface's name"),
        ("\"veth6\"", "\"../x\"", "3:13: ", "cannot be an interface's name"),
        ("interface = \"veth6\"", "address = \"10.0.0.9\"", "3:11: ", "192.0.2.5/24"),
        ("interface = \"veth6\"", "address = \"10.0.0.9/33\"", "3:11: ", "192.0.2.5/24"),
        ("interface = \"veth6\"", "address = \"/24\"", "3:11: ", "192.0.2.5/24"),
        ("interface = \"veth6\"", "address = \"127.0.0.9/8\"", "3:11: ", "cannot be the address of the balancer"),
        ("interface = \"veth6\"", "address = \"10.0.0.2/24\"", "14:25: ", "backend 10.0.0.2 is the balancer itself"),
        (
            "interface = \"veth6\"",
            "address = \"10.0.0.9/24\"\ngateway = \"10.0.1.1\"",
            "4:11: ",
            "another host of the network of 10.0.0.9",
        ),
        (
            "interface = \"veth6\"",
            "address = \"10.0.0.9/24\"\ngateway = \"10.0.0.9\"",
            "4:11: ",
            "another host of the network of 10.0.0.9",
        ),
        ("interface = \"veth6\"", "address6 = \"2001:db8::9\"", "3:12: ", "2001:db8::5/64"),
        ("interface = \"veth6\"", "address6 = \"2001:db8::9/129\"", "3:12: ", "2001:db8::5/64"),
        ("interface = \"veth6\"", "address6 = \"10.0.0.9/24\"", "3:12: ", "2001:db8::5/64"),
        ("interface = \"veth6\"", "address6 = \"fe80::9/64\"", "3:12: ", "it is link-local"),
        ("interface = \"veth6\"", "address6 = \"ff02::9/64\"", "3:12: ", "cannot be the address of the balancer"),
        ("interface = \"veth6\"", "gateway6 = \"fe80::1\"", "3:12: ", "gateway6 needs address6"),
        (
            "interface = \"veth6\"",
            "address6 = \"2001:db8::9/64\"\ngateway6 = \"2001:db8:1::1\"",
            "4:12: ",
            "another host of the network of 2001:db8::9",
        ),
        (
            "interface = \"veth6\"",
            "address6 = \"2001:db8::9/64\"\ngateway6 = \"2001:db8::9\"",
            "4:12: ",
            "another host of the network of 2001:db8::9",
        ),
        (
            "interface = \"veth6\"",
            "address6 = \"2001:db8::9/0\"\ngateway6 = \"ff02::2\"",
            "4:12: ",
            "another host of the network of 2001:db8::9",
        ),
        ("interface = \"veth6\"", "vlan = 0", "3:8: ", "vlan must be between 1 and 4094"),
        ("interface = \"veth6\"", "vlan = 4095", "3:8: ", "vlan must be between 1 and 4094"),
        ("interface = \"veth6\"", "gateway = \"10.0.0.1\"", "3:11: ", "gateway needs address"),
        ("interface = \"veth6\"", "gateway = \"router\"", "3:11: ", "gateway: invalid IPv4 address"),
    ] {
        let faults = faults(right, wrong);
        let fault = faults.first().unwrap_or_else(|| panic!("{wrong:?} instead of {right:?} is taken"));
        let said = fault.strip_prefix("bad.toml:").unwrap_or_default();
        if !said.starts_with(place) || !said.contains(words) {
            wrong_places.push(format!("{wrong:?}: {fault}, and not {place}{words}"));
        }
    }
    assert!(wrong_places.is_empty(), "{}", wrong_places.join("\n"));
}

#[test]
fn health_checks_have_defaults_and_follow_the_interval() {
    let health = |health: &str| {
        let text = GOOD.replace("protocol = \"tcp\"", &format!("protocol = \"tcp\"\nhealth = {health}"));
        Config::parse("health.toml", &text).expect("it is right").services[0].health.clone()
    };
    assert_eq!(Config::parse("good.toml", GOOD).expect("it is right").services[0].health.probe, None);
    let tcp = health("{ kind = \"tcp\" }");
    let times = (tcp.interval, tcp.timeout, tcp.rise, tcp.fall);
    assert_eq!(
        (tcp.probe, times),
        (Some(Probe::Tcp(Talk::default())), (Duration::from_secs(1), Duration::from_millis(500), 2, 3))
    );
    assert_eq!(health("{ kind = \"tcp\", interval = \"100ms\" }").timeout, Duration::from_millis(100));
    let http = health("{ kind = \"http\", path = \"/up\", status = 204, body = \"fine\" }");
    let (path, status, body) = ("/up".to_owned(), Statuses::one(204), Some("fine".to_owned()));
    let check = HttpCheck { tls: None, path, host: None, status, body };
    assert_eq!(http.probe, Some(Probe::Http(check)));
    assert_eq!(health("{ kind = \"none\" }").probe, None);
}

fn health(health: &str) -> Result<Health, String> {
    let text = GOOD.replace("protocol = \"tcp\"", &format!("protocol = \"tcp\"\nhealth = {health}"));
    Config::parse("health.toml", &text)
        .map(|config| config.services[0].health.clone())
        .map_err(|error| error.to_string())
}

#[test]
fn a_check_is_what_its_kind_has_keys_for() {
    let talk = |send: Option<&[u8]>, expect: Option<&[u8]>| Talk {
        send: send.map(<[u8]>::to_vec),
        expect: expect.map(<[u8]>::to_vec),
    };
    let name = |name: &str| Some(CertifiedName(name.to_owned().try_into().expect("a name")));
    let tls = |verify, name| TlsCheck { verify, name, authorities: None };
    let page = |tls, host: &str| HttpCheck {
        tls: Some(tls),
        path: "/".to_owned(),
        host: Some(host.to_owned()),
        status: Statuses::one(200),
        body: None,
    };
    for (written, expected) in [
        (
            r#"kind = "tcp", send = "PING\r\n", expect = { hex = "2b50" }"#,
            Probe::Tcp(talk(Some(b"PING\r\n"), Some(b"+P"))),
        ),
        (r#"kind = "tls""#, Probe::Tls(tls(true, None), talk(None, None))),
        (r#"kind = "tls", verify = false, expect = "220 ""#, Probe::Tls(tls(false, None), talk(None, Some(b"220 ")))),
        (r#"kind = "tls", server-name = "a.example""#, Probe::Tls(tls(true, name("a.example")), talk(None, None))),
        (
            r#"kind = "https", host = "a.example:8443""#,
            Probe::Http(page(tls(true, name("a.example")), "a.example:8443")),
        ),
        (r#"kind = "https", host = "10.0.0.7""#, Probe::Http(page(tls(true, name("10.0.0.7")), "10.0.0.7"))),
        (
            r#"kind = "https", host = "a.example", server-name = "b.example""#,
            Probe::Http(page(tls(true, name("b.example")), "a.example")),
        ),
        (r#"kind = "udp", send = "?""#, Probe::Udp(talk(Some(b"?"), None))),
        (
            r#"kind = "dns", name = "www.example.", record = "aaaa""#,
            Probe::Dns(DnsCheck { transport: Protocol::Tcp, name: "www.example.".to_owned(), record: Record::Aaaa }),
        ),
    ] {
        assert_eq!(health(&format!("{{ {written} }}")).expect(written).probe, Some(expected), "{written}");
    }
}

#[test]
fn what_a_check_cannot_want_is_refused() {
    for (written, words) in [
        (r#"kind = "tcp", verify = false"#, "verify is for kind = \"tls\" or \"https\" only"),
        (r#"kind = "http", send = "x""#, "send is for kind = \"tcp\" or \"tls\" or \"udp\" only"),
        (r#"kind = "tcp", send = """#, "send is 1 to 4096 bytes"),
        (r#"kind = "tcp", expect = { hex = "0" }"#, "a text is wanted, or bytes as in { hex = \"0d0a\" }"),
        (r#"kind = "tcp", expect = { hex = "00", text = "" }"#, "a text is wanted, or bytes"),
        (r#"kind = "udp""#, "kind = \"udp\" needs send"),
        (r#"kind = "dns""#, "kind = \"dns\" needs name"),
        (r#"kind = "dns", name = "www..example""#, "name is a DNS name"),
        (r#"kind = "dns", name = "www example""#, "name is a DNS name"),
        (r#"kind = "dns", name = ".", record = "mx""#, "expected one of `a`, "),
        (r#"kind = "http", status = "200-""#, "not \"200-\""),
        (r#"kind = "http", status = true"#, "an HTTP status is like 200, or several like \"200-399,401\""),
        (
            r#"kind = "tls", server-name = "a b""#,
            "a certificate is for a name like web.example, or an address, not \"a b\"",
        ),
        (r#"kind = "tls", ca-file = "/nowhere/ca.pem""#, "/nowhere/ca.pem: No such file"),
        (r#"kind = "tls", ca-file = "/dev/null""#, "/dev/null has no certificate in PEM form"),
        (r#"kind = "tcp", port = 0"#, "port must be between 1 and 65535"),
        (r#"kind = "tcp", source = "::1""#, "10.0.0.2:8080 cannot be asked from an address of the other family"),
        (r#"kind = "tcp", initial = "maybe""#, "expected `up` or `down`"),
    ] {
        let said = health(&format!("{{ {written} }}")).expect_err(written);
        assert!(said.contains(words), "{written}: {said}");
    }
}

#[test]
fn a_backend_is_asked_where_it_or_its_service_says() {
    let places = |service: &str, backend: &str| {
        let text = GOOD
            .replace("protocol = \"tcp\"", &format!("protocol = \"tcp\"\nhealth = {{ kind = \"tcp\"{service} }}"))
            .replace("port = 8080 },", &format!("port = 8080{backend} }},"));
        let service = Config::parse("places.toml", &text).expect("it is right").services.remove(0);
        service.backends.iter().map(|backend| service.asked_at(backend).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(places("", ""), ["10.0.0.2:8080", "10.0.0.3:8080"]);
    assert_eq!(places(", port = 81", ""), ["10.0.0.2:81", "10.0.0.3:81"]);
    assert_eq!(places(", port = 81, address = \"fd00::1\"", ""), ["[fd00::1]:81", "[fd00::1]:81"]);
    let own = ", health = { address = \"10.9.0.2\" }";
    assert_eq!(places(", port = 81", own), ["10.9.0.2:81", "10.0.0.3:81"]);
    assert_eq!(places("", ", health = { port = 9 }"), ["10.0.0.2:9", "10.0.0.3:8080"]);
    // Who serves any port is asked at one that is named.
    let any = GOOD.replace("port = 80\n", "port = 0\n").replace("port = 8080", "port = 0");
    let checked =
        |health: &str| lines(&any.replace("protocol = \"tcp\"", &format!("protocol = \"tcp\"\nhealth = {health}")));
    assert_eq!(checked("{ kind = \"tcp\", port = 22 }"), [""; 0]);
    let faults = checked("{ kind = \"tcp\" }");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("15:25: it is not known at which port to ask this backend"), "{faults:?}");
}

#[test]
fn a_service_may_have_several_ports() {
    let with = |ports: &str, backend: &str| {
        GOOD.replace("port = 80\n", &format!("port = {ports}\n")).replace(", port = 8080", backend)
    };
    let read = |text: &str| Config::parse("range.toml", text).expect("it is right").services.remove(0);
    for backend in ["", ", port = 0"] {
        let service = read(&with("\"20000-29999\"", backend));
        assert_eq!((service.ports(), service.keeps_ports()), (20000..=29999, true));
        assert!(service.backends.iter().all(|backend| backend.port == 0));
        assert_eq!(service.keys().count(), 10_000);
    }
    let one = read(&with("\"443-443\"", ", port = 8080"));
    assert_eq!(
        (one.ports(), one.last_port, one.keeps_ports()),
        (443..=443, None, false),
        "one is one, however it is written"
    );
    for (ports, backend, words) in [
        ("\"443-\"", "", "port: invalid value: string \"443-\", expected a port, or a range"),
        ("\"0-10\"", "", "expected a port, or a range of them such as"),
        ("\"10-9\"", "", "expected a port, or a range of them such as"),
        ("\"1-65536\"", "", "expected a port, or a range of them such as"),
        ("\"1-9\"", ", port = 8080", "backends of a service for several ports have none of their own"),
        ("80", "", "a backend has no port"),
        ("0", "", "a backend has no port"),
    ] {
        let said = lines(&with(ports, backend));
        assert!(said.iter().any(|said| said.contains(words)), "{ports} {backend}: {said:?}");
    }
    let checked = with("\"1-9\"", "").replace("protocol", "health = { kind = \"tcp\" }\nprotocol");
    assert!(lines(&checked)[0].contains("it is not known at which port to ask"), "{:?}", lines(&checked));
}

#[test]
fn services_have_no_port_in_common() {
    let file = |services: &[(&str, &str)]| {
        let mut text = "[nat]\naddresses = [\"10.0.0.10\"]\n".to_owned();
        for (number, (ports, more)) in services.iter().enumerate() {
            text += &format!(
                "[[service]]\nname = \"s{number}\"\naddress = \"10.0.0.10\"\nport = {ports}\n{more}backends = []\n"
            );
        }
        lines(&text)
    };
    let (tcp, udp) = ("protocol = \"tcp\"\n", "protocol = \"udp\"\n");
    for services in [
        &[("\"1-9\"", tcp), ("\"10-19\"", tcp), ("20", tcp), ("0", tcp)][..],
        &[("\"1-9\"", tcp), ("\"1-9\"", udp)],
        &[("\"10-19\"", tcp), ("\"1-9\"", tcp), ("\"20-29\"", tcp)],
    ] {
        assert_eq!(file(services), [""; 0], "{services:?}");
    }
    for (one, other) in
        [("\"1-9\"", "9"), ("9", "\"1-9\""), ("\"5-9\"", "\"1-5\""), ("\"1-9\"", "\"3-4\""), ("\"3-4\"", "\"1-9\"")]
    {
        let said = file(&[(one, tcp), (other, tcp)]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("service \"s0\" has one of these ports as well"), "{said:?}");
    }
    assert!(file(&[("80", tcp), ("80", tcp)])[0].contains("has the same address, port and protocol"));
    let all = ("\"1-65535\"", tcp);
    let text = |number: usize| {
        let mut text = "[nat]\naddresses = [\"10.0.0.10\"]\n".to_owned();
        for nth in 0..number {
            text += &format!(
                "[[service]]\nname = \"s{nth}\"\naddress = \"10.0.1.{}\"\nport = {}\n{}backends = []\n",
                nth + 1,
                all.0,
                all.1
            );
        }
        lines(&text)
    };
    assert_eq!(text(4), [""; 0]);
    assert!(text(5)[0].contains("services may have 262144 ports in all"), "{:?}", text(5));
}

#[test]
fn idle_times_are_those_that_are_said_and_the_rest_defaults() {
    let idle = |more: &str| {
        let text = GOOD.replace("protocol = \"tcp\"", more);
        Config::parse("idle.toml", &text).expect("it is right").services[0].idle
    };
    assert_eq!(idle("protocol = \"tcp\""), IdleTimes::DEFAULT);
    let all = "protocol = \"tcp\"\nidle = { opening = \"10s\", answered = \"1500ms\", established = \"9h\", half-closed = \"2m 30s\", \
               closing = \"9m\" }";
    let (opening, answered, established) = (10_000, 1500, 9 * 3_600_000);
    let (half_closed, closing) = (150_000, 540_000);
    let expected = IdleTimes { opening, answered, established, half_closed, closing, ..IdleTimes::DEFAULT };
    assert_eq!(idle(all), expected);
    let udp = "protocol = \"udp\"\nidle = { udp-opening = \"1s\", udp-answered = \"5s\", udp-established = \"1h\" }";
    let (udp_opening, udp_answered, udp_established) = (1000, 5000, 3_600_000);
    assert_eq!(idle(udp), IdleTimes { udp_opening, udp_answered, udp_established, ..IdleTimes::DEFAULT });
}

#[test]
fn no_more_sets_of_idle_times_than_there_are_numbers() {
    let service = &GOOD[GOOD.find("[[service]]").expect("there is one")..];
    let mut text = GOOD.to_owned();
    // The first has the defaults, and the last two of these have the same.
    for (number, seconds) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 7)] {
        let idle = format!("protocol = \"tcp\"\nidle = {{ opening = \"{seconds}s\" }}");
        let service = service
            .replace("\"web\"", &format!("\"web{number}\""))
            .replace("port = 80\n", &format!("port = {number}\n"));
        text += &service.replace("protocol = \"tcp\"", &idle);
    }
    assert_eq!(lines(&text), [""; 0]);
    let ninth = text.replace("\"4s\"", "\"444s\"").replacen("\"7s\"", "\"77s\"", 1);
    assert_eq!(lines(&ninth).len(), 1);
    assert!(lines(&ninth)[0].contains("there may be 8 different sets"), "{:?}", lines(&ninth));
}

#[test]
fn services_that_clash_are_named_at_the_second() {
    let again = &GOOD[GOOD.find("[[service]]").expect("there is one")..];
    assert_eq!(
        lines(&format!("{GOOD}\n{again}")),
        [
            "bad.toml:17:8: another service is called \"web\": give one of them another name",
            "bad.toml:18:11: service \"web\" has the same address, port and protocol: leave one of them out",
        ]
    );
    let udp = again.replace("\"web\"", "\"dns\"").replace("tcp", "udp");
    assert_eq!(lines(&format!("{GOOD}\n{udp}")), [""; 0], "the other protocol is another service");
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("\"veth6\"", "6")
        .replace("1024-65535", "9-1")
        .replace("port = 80\n", "port = 808080\n")
        .replace("\"tcp\"", "\"sctp\"")
        .replace("weight = 3", "wight = 3, weight = 70000");
    let places: Vec<_> =
        lines(&text).iter().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        places,
        ["bad.toml:3:13", "bad.toml:7:9", "bad.toml:12:8", "bad.toml:13:12", "bad.toml:14:89", "bad.toml:14:109"]
    );
    let contradictions = GOOD.replace("port = 80\n", "port = 0\n").replace("\"10.0.0.3\"", "\"10.0.0.10\"");
    assert_eq!(lines(&contradictions).len(), 3, "{:?}", lines(&contradictions));
    assert_eq!(lines("").len(), 2, "an empty file lacks two things");
    assert_eq!(lines("a = \nb = \n").len(), 2, "broken lines, each");
}

#[test]
fn columns_are_counted_in_characters() {
    assert_eq!(
        faults("\"web\"", "\"wéb\\u0007\" # ☃"),
        ["bad.toml:10:8: a service's name is 1 to 64 bytes, without quotes, backslashes or control characters"]
    );
    assert!(
        faults("\"web\"", "\"wéb☃\" x")[0].starts_with("bad.toml:10:15: "),
        "{:?}",
        faults("\"web\"", "\"wéb☃\" x")
    );
}

#[test]
fn prefixes_of_every_length_contain_what_they_should() {
    let own = Ipv4Addr::new(10, 0, 0, 10);
    let near = |prefix, other| HostAddress { address: own, prefix }.has_near(other);
    let neighbour = Ipv4Addr::new(10, 0, 0, 11);
    assert!(near(31, neighbour) && !near(32, neighbour) && near(32, own) && near(24, neighbour));
    let far = Ipv4Addr::new(192, 0, 2, 1);
    assert!(near(0, far) && !near(1, far) && !near(24, far));
}

#[test]
fn what_a_host_needs_for_ipv6_and_in_a_vlan_is_read() {
    for (gateway, expected) in [("fe80::1", "fe80::1"), ("2001:DB8::1", "2001:db8::1")] {
        let lines = format!("address6 = \"2001:db8::5/64\"\ngateway6 = \"{gateway}\"\nvlan = 4094");
        let config = Config::parse("host.toml", &GOOD.replace("interface = \"veth6\"", &lines)).expect("it is right");
        let Dataplane { address6, gateway6, vlan, .. } = config.dataplane;
        let own = HostAddress6 { address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5), prefix: 64 };
        assert_eq!((address6, vlan), (Some(own), Some(4094)));
        assert_eq!(gateway6.map(|gateway| gateway.to_string()).as_deref(), Some(expected));
        assert_eq!(config.dataplane.own_addresses().collect::<Vec<_>>(), [IpAddr::from(own.address)]);
        let near = |prefix, other: &str| HostAddress6 { prefix, ..own }.has_near(other.parse().expect("an address"));
        assert!(near(64, "2001:db8::ffff:0:0:1") && near(0, "::1") && near(128, "2001:db8::5"));
        assert!(!near(64, "2001:db8:0:1::5") && !near(128, "2001:db8::4") && !near(1, "fe80::1"));
    }
}

#[test]
fn what_only_a_host_of_its_own_needs_is_read() {
    let lines = "kind = \"dpdk\"\naddress = \"10.0.0.10/24\"\ngateway = \"10.0.0.254\"\nidle = \"poll\"\nmtu = 9000";
    let config = Config::parse("host.toml", &GOOD.replace("interface = \"veth6\"", lines)).expect("it is right");
    let Dataplane { kind, address, gateway, idle, mtu, .. } = config.dataplane;
    let own = HostAddress { address: Ipv4Addr::new(10, 0, 0, 10), prefix: 24 };
    assert_eq!((kind, address, idle), (Some(Kind::Dpdk), Some(own), Idle::Poll));
    assert_eq!((gateway, mtu), (Some(Ipv4Addr::new(10, 0, 0, 254)), Some(9000)));
}

#[test]
fn what_nobody_serves_is_refused_unless_the_file_says_otherwise() {
    for (line, unserved, refuses) in [
        ("", Unserved::Refuse, 1),
        ("unserved = \"refuse\"\n", Unserved::Refuse, 1),
        ("unserved = \"drop\"\n", Unserved::Drop, 0),
    ] {
        let text = GOOD.replace("interface = \"veth6\"", &format!("{line}interface = \"veth6\""));
        let config = Config::parse("unserved.toml", &text).expect("it is right");
        assert_eq!(config.dataplane.unserved, unserved);
        let secrets = Secrets { pick: [0; 2], flow: [0; 4] };
        let sizes = Sizes::for_config(&config);
        assert_eq!(sizes.settings(&config, &secrets, MacAddress::default(), IdleTimes::DEFAULT).refuses, refuses);
        assert_eq!(crate::features(&config).include(Features::REFUSE), refuses != 0);
    }
}

#[test]
fn a_file_for_the_other_plane_is_refused_with_the_program_that_it_is_for() {
    let kind = |line: &str| Config::parse("kind.toml", &GOOD.replace("interface", &format!("{line}interface")));
    let either = kind("").expect("it is right");
    assert!(either.check_kind("kind.toml", Kind::Xdp).is_ok() && either.check_kind("kind.toml", Kind::Dpdk).is_ok());
    let dpdk = kind("kind = \"dpdk\"\n").expect("it is right");
    let message = dpdk.check_kind("kind.toml", Kind::Xdp).expect_err("it is for DPDK").to_string();
    assert!(message.starts_with("kind.toml: ") && message.contains("evenkeel-dpdk"), "{message}");
}

proptest! {
    /// Whatever the text, reading it ends, and its faults lie within it.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        check_places(&text)?;
    }

    /// The good file with a piece cut out, doubled, or put elsewhere.
    #[test]
    fn damaged_files_are_read_or_refused(at in 0..GOOD.len(), length in 0..60_usize, to in 0..GOOD.len(), piece in "[\\[\\]{}=\",.#\n0-9a-z-]{0,6}") {
        let end = (at + length).min(GOOD.len());
        let cut = [&GOOD[..at], &GOOD[end..]].concat();
        check_places(&cut)?;
        let to = to.min(cut.len());
        check_places(&[&cut[..to], &GOOD[at..end], &cut[to..]].concat())?;
        check_places(&[&cut[..to], &piece, &cut[to..]].concat())?;
    }
}

fn check_places(text: &str) -> Result<(), TestCaseError> {
    match Config::parse("any.toml", text) {
        Err(ConfigError::Faults { faults, .. }) => {
            prop_assert!(!faults.is_empty());
            for Fault { line, column, message } in faults {
                prop_assert!(line >= 1 && line <= text.split('\n').count().max(1), "{line}:{column}: {message}");
                let width = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
                prop_assert!(column >= 1 && column <= width + 2, "{line}:{column}: {message}");
                prop_assert!(!message.is_empty() && !message.contains('\n'));
            }
        }
        Err(other) => prop_assert!(false, "{other}"),
        Ok(config) => prop_assert!(!config.nat.addresses.is_empty()),
    }
    Ok(())
}

#[test]
fn what_no_table_has_room_for_is_refused_where_it_begins_to_be_too_much() {
    use std::fmt::Write as _;
    let head = "[nat]\naddresses = [\"192.0.2.1\"]\n";
    let file = |services: u32, backends: u32| {
        let mut text = head.to_owned();
        for service in 0..services {
            let (address, port) = (Ipv4Addr::from(0x0a00_0001 + service / 50_000), 1 + service % 50_000);
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service}\"\naddress = \"{address}\"\nport = {port}\nprotocol = \"tcp\""
            );
            text += "backends = [";
            for backend in 0..backends {
                let address = Ipv4Addr::from(0x0b00_0001 + backend);
                let _ = write!(text, "\n{{ address = \"{address}\", port = 80 }},");
            }
            text += "]\n";
        }
        text
    };
    // 16 services with 4,096 backends each fill the table; a service and a backend have lines of their own.
    assert_eq!(lines(&file(16, 4096)), [""; 0]);
    let refused = lines(&file(16, 4097));
    assert_eq!(refused.len(), 1, "{refused:?}");
    // The first two lines are [nat]'s; a service has six lines and one for each backend.
    let line = 2 + 15 * (6 + 4097) + 6 + (65_536 - 15 * 4097) + 1;
    assert!(refused[0].starts_with(&format!("bad.toml:{line}:13: there may be 65536 backends")), "{refused:?}");
    assert!(refused[0].ends_with("and these are 65552"), "{refused:?}");
    let refused = lines(&file(65_537, 0));
    assert!(refused[0].contains("there may be 65536 services, and these are 65537"), "{refused:?}");
    assert_eq!(lines(&file(65_536, 0)), [""; 0]);
}
