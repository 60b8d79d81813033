//! Every key that a file may have, for people and for editors: the one list behind `docs/configuration.md` and the JSON
//! Schema. A test holds it against what is read.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What a key's value is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    /// A text, or bytes in hexadecimal.
    Bytes,
    Statuses,
    Address,
    /// Of either family.
    AnyAddress,
    /// A service's: one, or a range.
    ServicePorts,
    /// A backend's.
    BackendPort,
    Addresses,
    HostAddress,
    /// Of IPv6.
    Address6,
    Socket,
    Ports,
    Time,
    Flag,
    Number(u64, u64),
    Word(&'static [&'static str]),
    Table(&'static Section),
    Tables(&'static Section),
}

/// A key.
#[derive(Debug)]
struct Key {
    name: &'static str,
    kind: Kind,
    /// What it is if it is left out; nothing: it must be there.
    default: Option<&'static str>,
    help: &'static str,
}

/// A table.
#[derive(Debug)]
struct Section {
    /// What messages call it.
    name: &'static str,
    help: &'static str,
    keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

const NONE: Option<&str> = Some("none");

const FILE: Section = Section {
    name: "the file",
    help: "",
    keys: &[
        key("dataplane", Kind::Table(&DATAPLANE), Some("all defaults"), "Where packets are met."),
        key("nat", Kind::Table(&NAT), None, "What full NAT sends from."),
        key("service", Kind::Tables(&SERVICE), None, "What clients connect to; as many as are wanted."),
        key("metrics", Kind::Table(&METRICS), NONE, "What monitoring may ask."),
    ],
};

const DATAPLANE: Section = Section {
    name: "[dataplane]",
    help: "Settled at the start, but for `max-flows`: another value needs a restart.",
    keys: &[
        key("kind", Kind::Word(&["xdp", "dpdk"]), Some("either"), "The plane that the file is for."),
        key("interface", Kind::Text, Some("--interface"), "The network interface (XDP; on DPDK, EAL's arguments say)."),
        key(
            "xdp-mode",
            Kind::Word(&["auto", "native", "generic"]),
            Some("auto"),
            "Where in the interface's path the program runs (XDP).",
        ),
        key(
            "max-flows",
            Kind::Number(64, 1 << 26),
            Some("1048576"),
            "Connections that the flow table is made for, of 128 bytes each; and, if a service has an IPv6 address, as many IPv6 connections in a table of their own, of 256 bytes each. A reload or a restart makes it larger and loses none; it is made smaller by a start with --fresh only.",
        ),
        key(
            "address",
            Kind::HostAddress,
            NONE,
            "The host's own address and network (DPDK; on XDP the kernel has them). Without it every backend is asked for directly.",
        ),
        key(
            "gateway",
            Kind::Address,
            NONE,
            "The way to backends outside that network (DPDK; on XDP the kernel's routes say).",
        ),
        key(
            "address6",
            Kind::HostAddress,
            NONE,
            "The host's own IPv6 address and network, such as `2001:db8::5/64` (DPDK; on XDP the kernel has them). Without it every backend is asked for directly of which no router says otherwise.",
        ),
        key(
            "gateway6",
            Kind::Address6,
            Some("what routers advertise"),
            "The way to backends outside that network, as a rule a link-local address (DPDK; on XDP the kernel's routes say). With it, router advertisements are ignored.",
        ),
        key(
            "vlan",
            Kind::Number(1, 4094),
            Some("none: frames without tags"),
            "The VLAN that the port's network is, if frames there have a tag (DPDK): backends and gateways are asked for in it, and only questions in it are answered. Without it, backends are asked for without a tag, and a question is answered with the tags that it came with.",
        ),
        key(
            "idle",
            Kind::Word(&["sleep", "poll"]),
            Some("sleep"),
            "What lcores do when nothing arrives (DPDK): wait for receive interrupts, or where the port has none sleep between polls for as long as its queue can take what comes; or poll without a pause.",
        ),
        key(
            "mtu",
            Kind::Number(576, u16::MAX as u64),
            Some("as the port has it"),
            "The longest IP packet that the port carries, in bytes, such as 9000 (DPDK; on XDP the interface has it). A port that cannot is refused at the start.",
        ),
        key(
            "secret-file",
            Kind::Text,
            Some("a random secret, as long as connections are kept"),
            "File with the secret that backends are picked by: where it is the same, a fresh start and another node pick alike. 16 to 4096 bytes, white space at the end not counted, such as `openssl rand -hex 16` writes; root's or the balancer's own, and not to be read by everybody.",
        ),
        key(
            "unserved",
            Kind::Word(&["refuse", "drop"]),
            Some("refuse"),
            "What becomes of a packet for a service or NAT address, but for no service there, if the host does not have the address itself: refused by a reset or ICMP port unreachable, or dropped. With `refuse`, a packet whose time to live ends here is answered by ICMP time exceeded. About 1,000 such answers a second.",
        ),
    ],
};

const NAT: Section = Section {
    name: "[nat]",
    help: "Settled at the start: another value needs a restart.",
    keys: &[
        key(
            "addresses",
            Kind::Addresses,
            None,
            "Addresses that backends see connections come from. IPv4 and IPv6 may be mixed: IPv6 backends see the IPv6 ones.",
        ),
        key(
            "ports",
            Kind::Ports,
            Some("1024-65535"),
            "Source ports, first and last. Health checks have ports of their own, which full NAT leaves out: 65280-65535, or if `ports` begins there, the 256 below it.",
        ),
    ],
};

const SERVICE: Section = Section {
    name: "[[service]]",
    help: "",
    keys: &[
        key("name", Kind::Text, None, "Name, for people, commands and metrics; each once."),
        key(
            "address",
            Kind::AnyAddress,
            None,
            "Address that clients connect to. Backends have addresses of the same family.",
        ),
        key(
            "port",
            Kind::ServicePorts,
            None,
            "Port; 0: any; or several, such as `\"20000-29999\"`: one service with one table, known by its first port.",
        ),
        key("protocol", Kind::Word(&["tcp", "udp"]), None, "Transport protocol."),
        key("forward", Kind::Word(&["fullnat"]), Some("fullnat"), "How packets reach a backend."),
        key(
            "affinity",
            Kind::Word(&["connection", "client-address"]),
            Some("connection"),
            "What goes to the same backend: the packets of a connection, or all connections of a client address.",
        ),
        key(
            "all-down",
            Kind::Word(&["drop", "reset"]),
            Some("drop"),
            "What becomes of new connections while no backend takes any: dropped, or TCP refused by a reset. Connections that are there go on.",
        ),
        key(
            "on-missing",
            Kind::Word(&["drop", "reset"]),
            Some("drop"),
            "What becomes of a TCP segment of a connection that is not known, because it has been idle for too long or began elsewhere: dropped, or answered by a reset, so that whoever sent it begins anew at once.",
        ),
        key(
            "on-down",
            Kind::Word(&["keep", "drop", "reset"]),
            Some("keep"),
            "What becomes of a backend's TCP connections while its checks fail: they go on as far as it does; they stand still, unless no backend serves; or both ends are told by a reset. Those of a backend that is drained go on always. Datagrams go to another backend if one takes them.",
        ),
        key(
            "reply",
            Kind::Word(&["source", "route"]),
            Some("source"),
            "Where answers go: to the Ethernet address that the client's packets come from, or to the router that the host's routes name for the client, followed when it changes. With routers that stand in for one another and send from Ethernet addresses of their own (HSRP, VRRP, MLAG) a download goes on only by the latter when one of them dies. Clients in the host's own network are answered where they are. Connections that are there keep what they began with. `route` is for services with an IPv4 address only yet.",
        ),
        key("idle", Kind::Table(&IDLE), Some("all defaults"), "How long connections may be idle."),
        key(
            "newcomers",
            Kind::Number(10, 10_000_000),
            Some("any number"),
            "Connections a second that may be opened at the first try. Beyond that a TCP client is let in when it repeats its SYN, which systems do after a second and strangers with invented addresses do not; a datagram opens no flow. It keeps a flood from machine and backends: more than honest clients ever open, less than these can bear.",
        ),
        key(
            "drain-time",
            Kind::Time,
            Some("until they end"),
            "How long the connections of a backend that was taken out of the file may go on.",
        ),
        key("health", Kind::Table(&HEALTH), Some("kind = \"none\""), "How it is found out whether a backend serves."),
        key("backends", Kind::Tables(&BACKEND), None, "Who serves it; may be an empty list."),
    ],
};

const IDLE: Section = Section {
    name: "idle",
    help: "How long nothing may have been seen of a connection before it is forgotten; `opening`, `answered` and `closing` are counted from \
           when that state began. Times are 1s to 9m, those of established and half-closed connections up to 9h. A file may \
           have 8 different sets of them. A connection keeps the times of its service as they were, and follows a change if no \
           other service had the same ones. Under pressure entries are given up earlier, those that prove nothing first. RFC 5382 \
           asks for at least 2h 4m for established TCP, and 4m where it opens or closes; RFC 4787 for at least 2m for UDP.",
    keys: &[
        key("opening", Kind::Time, Some("1m"), "TCP: the client has sent its SYN."),
        key("answered", Kind::Time, Some("1m"), "TCP: the backend has answered, and the client not confirmed that."),
        key("established", Kind::Time, Some("2h 4m"), "TCP: both have confirmed."),
        key("half-closed", Kind::Time, Some("4m"), "TCP: one side has ended."),
        key("closing", Kind::Time, Some("1m"), "TCP: both have ended, or one has reset."),
        key("udp-opening", Kind::Time, Some("30s"), "UDP: the backend has not answered yet."),
        key("udp-answered", Kind::Time, Some("2m"), "UDP: it has."),
        key("udp-established", Kind::Time, Some("5m"), "UDP: the client has gone on after that, so it is a stream."),
    ],
};

const HEALTH: Section = Section {
    name: "health",
    help: "Checks go by the kernel's own network, on either plane. Backends of all services for which the same is to be asked, as often \
           and as patiently, at the same address and port, are judged by one check. Over TCP and TLS a server that speaks first is heard out before anything is sent or the \
           connection is closed. A server that shuts out clients which break off, as MySQL and MariaDB do by `max_connect_errors`, \
           still takes one for such that only hears its greeting: have `send` say what a client would (`examples/database.toml`), or let \
           checks leave from an address that full NAT does not send from (`source`), or it shuts out all clients. Redirects are not followed: they are answers.",
    keys: &[
        key(
            "kind",
            Kind::Word(&["tcp", "tls", "http", "https", "udp", "dns", "none"]),
            None,
            "What a backend is asked: whether it takes a connection; speaks TLS; answers an HTTP/1.1 GET request, or one over TLS; answers or at least takes a datagram, where ICMP unreachable means that it does not; answers a DNS question without an error, by the service's protocol; or nothing.",
        ),
        key(
            "interval",
            Kind::Time,
            Some("1s"),
            "Time between the beginnings of two checks, 10ms to 1h; each comes up to a tenth of it earlier.",
        ),
        key("timeout", Kind::Time, Some("500ms"), "How long an answer may take; not longer than the interval."),
        key(
            "rise",
            Kind::Number(1, 100),
            Some("2"),
            "Checks in a row that must succeed until a backend that is down is up.",
        ),
        key(
            "fall",
            Kind::Number(1, 100),
            Some("3"),
            "Checks in a row that must fail until a backend that is up is down.",
        ),
        key(
            "initial",
            Kind::Word(&["up", "down"]),
            Some("down"),
            "What a backend that is new, at a start or by a reload, is taken for until its first check: it serves, or it does not as long as others of its service do.",
        ),
        key("port", Kind::Number(1, 65535), Some("the backend's"), "Port that is asked."),
        key(
            "address",
            Kind::AnyAddress,
            Some("the backend's"),
            "Address that is asked; all backends of the service then stand and fall together, unless they have their own `health`.",
        ),
        key("source", Kind::AnyAddress, Some("the kernel's choice"), "Address of this host that checks leave from."),
        key(
            "send",
            Kind::Bytes,
            NONE,
            "What is sent (tcp, tls, udp): up to 4096 bytes, udp 1200 and not without. Without `expect` any answer will do; of udp none is needed.",
        ),
        key(
            "expect",
            Kind::Bytes,
            NONE,
            "What must be in what the server says (tcp, tls, udp), a greeting included, in the first 64 KiB or, of udp, in one datagram.",
        ),
        key(
            "verify",
            Kind::Flag,
            Some("true"),
            "Whether the certificate must be trusted, in force and for the name (tls, https). With `false` any will do: the check then says that somebody speaks TLS, and not who.",
        ),
        key(
            "server-name",
            Kind::Text,
            Some("https: `host`; else the address asked"),
            "Name that is asked for, and that the certificate must be for (tls, https).",
        ),
        key(
            "ca-file",
            Kind::Text,
            Some("those whom the system trusts"),
            "File with the certificates, in PEM form, of those who vouch for backends (tls, https); read again at a reload.",
        ),
        key("name", Kind::Text, Some("none, but must be there for dns"), "Name that is asked about (dns)."),
        key(
            "record",
            Kind::Word(&["a", "aaaa", "ns", "soa", "srv", "txt"]),
            Some("a"),
            "What is asked about it (dns).",
        ),
        key("path", Kind::Text, Some("/"), "Path of the request (http, https)."),
        key("host", Kind::Text, Some("address:port"), "`Host` header of the request (http, https)."),
        key("status", Kind::Statuses, Some("200"), "Status that is wanted, or several (http, https)."),
        key("body", Kind::Text, NONE, "Text that the first 64 KiB of the answer's body must hold (http, https)."),
    ],
};

const BACKEND: Section = Section {
    name: "a backend",
    help: "",
    keys: &[
        key("address", Kind::AnyAddress, None, "Address, of the same family as the service's."),
        key(
            "port",
            Kind::BackendPort,
            Some("several ports: the one that the client asked for; else *must be there*"),
            "Port; 0 for a service for any port or several: the one that the client asked for.",
        ),
        key(
            "weight",
            Kind::Number(0, 65535),
            Some("1"),
            "Share of new connections, relative to the service's other backends; 0: none.",
        ),
        key("drain", Kind::Flag, Some("false"), "Whether it keeps its connections but gets no new ones."),
        key("health", Kind::Table(&OWN_HEALTH), Some("as its service says"), "Where it is asked whether it serves."),
    ],
};

const OWN_HEALTH: Section = Section {
    name: "health of a backend",
    help: "",
    keys: &[
        key("port", Kind::Number(1, 65535), Some("as its service says"), "Port that is asked."),
        key("address", Kind::AnyAddress, Some("as its service says"), "Address that is asked."),
    ],
};

const METRICS: Section = Section {
    name: "[metrics]",
    help: "Settled at the start: another value needs a restart.",
    keys: &[key("listen", Kind::Socket, Some("nowhere"), "Where Prometheus finds `/metrics`, such as 127.0.0.1:9400.")],
};

/// The page `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "<!-- Made by `evenkeel reference` from the list in crates/control/src/config/reference.rs; a test compares them. -->\n\n\
         # The configuration file\n\n\
         TOML. `evenkeel check FILE` says everything that is wrong with one, with line and column; `evenkeel reference --schema`\n\
         prints a JSON Schema for editors. `examples/` has annotated files. Times are like 500ms, 1s or 2m.\n",
    );
    for section in [&FILE, &DATAPLANE, &NAT, &SERVICE, &IDLE, &HEALTH, &BACKEND, &OWN_HEALTH, &METRICS] {
        let title = match section.name {
            "the file" => "At the top".to_owned(),
            "health" | "idle" => format!("`{}` of a service", section.name),
            "a backend" => "`backends` of a service, each".to_owned(),
            "health of a backend" => "`health` of a backend".to_owned(),
            name => format!("`{name}`"),
        };
        let help = if section.help.is_empty() { String::new() } else { format!("{}\n\n", section.help) };
        let _ = write!(page, "\n## {title}\n\n{help}| key | value | if left out | |\n|---|---|---|---|\n");
        for Key { name, kind, default, help } in section.keys {
            let default = default.unwrap_or("*must be there*");
            let _ = writeln!(page, "| `{name}` | {} | {default} | {help} |", kind.words());
        }
    }
    page
}

/// A JSON Schema (draft 2020-12) of the file.
pub fn schema() -> Value {
    let mut schema = FILE.schema();
    if let Value::Object(object) = &mut schema {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("evenkeel configuration"));
    }
    schema
}

impl Kind {
    fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Bytes => "text, or `{ hex = \"0d0a\" }`".to_owned(),
            Self::Statuses => "100 to 599, or a text such as `\"200-399,401\"`".to_owned(),
            Self::AnyAddress => "IP address".to_owned(),
            Self::ServicePorts => "0 to 65535, or `\"FIRST-LAST\"`".to_owned(),
            Self::BackendPort => "0 to 65535".to_owned(),
            Self::Address => "IPv4 address".to_owned(),
            Self::Addresses => "list of IP addresses".to_owned(),
            Self::HostAddress => "address/prefix".to_owned(),
            Self::Address6 => "IPv6 address".to_owned(),
            Self::Socket => "address:port".to_owned(),
            Self::Ports => "FIRST-LAST".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number(least, most) => format!("{least} to {most}"),
            Self::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "list of tables".to_owned(),
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Text | Self::HostAddress | Self::Socket | Self::Time => json!({ "type": "string" }),
            Self::Bytes => {
                let hex = json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2}\\s*)+$" });
                let table = json!({
                    "type": "object", "additionalProperties": false, "required": ["hex"], "properties": { "hex": hex },
                });
                json!({ "anyOf": [{ "type": "string", "minLength": 1 }, table] })
            }
            Self::Statuses => {
                let number = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
                let pattern = r"^\s*[1-5]\d\d\s*(-\s*[1-5]\d\d\s*)?(,\s*[1-5]\d\d\s*(-\s*[1-5]\d\d\s*)?)*$";
                json!({ "anyOf": [number, { "type": "string", "pattern": pattern }] })
            }
            Self::ServicePorts => {
                let number = json!({ "type": "integer", "minimum": 0, "maximum": 65535 });
                json!({ "anyOf": [number, { "type": "string", "pattern": "^[0-9]+-[0-9]+$" }] })
            }
            Self::BackendPort => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
            Self::AnyAddress => json!({ "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }], "type": "string" }),
            Self::Address => json!({ "type": "string", "format": "ipv4" }),
            Self::Address6 => json!({ "type": "string", "format": "ipv6" }),
            Self::Addresses => json!({ "type": "array", "minItems": 1, "items": Self::AnyAddress.schema() }),
            Self::Ports => json!({ "type": "string", "pattern": "^[0-9]+-[0-9]+$" }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Table(section) => section.schema(),
            Self::Tables(section) => json!({ "type": "array", "items": section.schema() }),
        }
    }
}

impl Section {
    fn schema(&self) -> Value {
        let mut properties = Map::new();
        for Key { name, kind, help, .. } in self.keys {
            let mut schema = kind.schema();
            if let Value::Object(object) = &mut schema {
                object.insert("description".to_owned(), json!(help));
            }
            properties.insert((*name).to_owned(), schema);
        }
        let required: Vec<_> = self.keys.iter().filter(|key| key.default.is_none()).map(|key| key.name).collect();
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, idle};

    /// A file in which every table has a key that there is not.
    const UNKNOWN: &str = r#"
unheard-of = 1
[dataplane]
unheard-of = 1
[nat]
addresses = ["10.0.0.10"]
unheard-of = 1
[[service]]
name = "web"
address = "10.0.0.10"
port = 80
protocol = "tcp"
unheard-of = 1
idle = { unheard-of = 1 }
health = { kind = "tcp", unheard-of = 1 }
backends = [{ address = "10.0.0.2", health = { unheard-of = 1 }, port = 80, unheard-of = 1 }]
[metrics]
unheard-of = 1
"#;

    #[test]
    fn the_list_has_the_keys_that_are_read() {
        let said = Config::parse("unknown.toml", UNKNOWN).expect_err("there are no such keys").to_string();
        for section in [&FILE, &DATAPLANE, &NAT, &SERVICE, &IDLE, &HEALTH, &BACKEND, &OWN_HEALTH, &METRICS] {
            let line = said.lines().find(|line| line.contains(&format!("in {}: the keys are ", section.name)));
            let read = line.and_then(|line| line.split("the keys are ").nth(1)).unwrap_or_default();
            let mut read: Vec<_> = read.trim_end_matches('.').split(", ").collect();
            let mut listed: Vec<_> = section.keys.iter().map(|key| key.name).collect();
            read.sort_unstable();
            listed.sort_unstable();
            assert_eq!(read, listed, "{}", section.name);
        }
        assert_eq!(said.lines().count(), 9, "{said}");
    }

    #[test]
    fn words_and_bounds_are_those_that_are_read() {
        let file = |section: &str, key: &str, value: &str| {
            let mut text =
                UNKNOWN.replace("unheard-of = 1\n", "").replace(", unheard-of = 1", "").replace("unheard-of = 1 ", "");
            let place = if section == "a backend" { "port = 80 }".to_owned() } else { format!("{section}\n") };
            let put = match section {
                "a backend" => format!("port = 80, {key} = {value} }}"),
                _ => format!("{section}\n{key} = {value}\n"),
            };
            let taken = text.matches(&place).count();
            assert_eq!(taken, 1, "{section}");
            text = text.replace(&place, &put);
            Config::parse("word.toml", &text)
        };
        for section in [&DATAPLANE, &SERVICE, &BACKEND] {
            for key in section.keys.iter().filter(|key| key.default.is_some()) {
                match key.kind {
                    Kind::Word(words) => {
                        for word in words {
                            assert!(
                                file(section.name, key.name, &format!("\"{word}\"")).is_ok(),
                                "{} {word}",
                                key.name
                            );
                        }
                    }
                    Kind::Number(least, most) => {
                        for (value, right) in [(least, true), (most, true), (most + 1, false)] {
                            let read = file(section.name, key.name, &value.to_string());
                            assert_eq!(read.is_ok(), right, "{} = {value}", key.name);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn idle_times_are_listed_with_their_defaults() {
        for (listed, read) in IDLE.keys.iter().zip(&idle::KEYS) {
            assert_eq!((listed.name, listed.default), (read.name, Some(idle::default_of(read).as_str())));
        }
    }

    #[test]
    fn the_page_is_what_the_list_says() {
        let page = include_str!("../../../../docs/configuration.md");
        assert_eq!(page, markdown(), "write it anew: build/evenkeel reference > docs/configuration.md");
    }
}
