//! The configuration file: TOML, read once into typed values that nobody checks again.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `[dataplane]`
    #[serde(default)]
    pub dataplane: Dataplane,
    /// `[nat]`
    pub nat: Nat,
    /// `[[service]]`
    #[serde(rename = "service")]
    pub services: Vec<Service>,
}

/// `[dataplane]`: where packets are met.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dataplane {
    /// The plane that this file is for; if it does not say, for either.
    pub kind: Option<Kind>,
    /// The network interface (XDP).
    pub interface: Option<String>,
    /// Where in the interface's path the program runs (XDP).
    pub xdp_mode: XdpMode,
    /// Connections that the flow table is made for.
    pub max_flows: u32,
    /// The host's own address and network, such as 192.0.2.5/24 (DPDK; on XDP the kernel has it). Without it, everybody
    /// is reached directly.
    pub address: Option<HostAddress>,
    /// The way to backends outside that network (DPDK; on XDP the kernel's routes say).
    pub gateway: Option<Ipv4Addr>,
    /// What lcores do when nothing arrives (DPDK).
    pub idle: Idle,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            kind: None,
            interface: None,
            xdp_mode: XdpMode::Auto,
            max_flows: 1 << 20,
            address: None,
            gateway: None,
            idle: Idle::Sleep,
        }
    }
}

/// Which plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In the kernel.
    Xdp,
    /// In user space.
    Dpdk,
}

/// What an lcore does when nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Sleeps between polls, up to a millisecond, after it has found nothing for a while.
    Sleep,
    /// Polls without a pause, and keeps its CPU busy.
    Poll,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits that the network's addresses have in common, up to 32.
    pub prefix: u8,
}

impl HostAddress {
    /// Whether `other` is in the same network.
    pub fn has_near(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        (u32::from(self.address) ^ u32::from(other)) & mask == 0
    }
}

impl<'de> Deserialize<'de> for HostAddress {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let address = address.parse().ok()?;
            Some(Self { address, prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)? })
        });
        parts.ok_or_else(|| {
            D::Error::custom(format!("an address with its network is like 192.0.2.5/24, not \"{text}\""))
        })
    }
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// Native where it works, else generic.
    Auto,
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In front of the network stack; works on every interface, slower.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// `[nat]`: what full NAT sends from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nat {
    /// Source addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// First and last source port.
    #[serde(default = "all_ports", deserialize_with = "port_range")]
    pub ports: (u16, u16),
}

fn all_ports() -> (u16, u16) {
    (1024, 65535)
}

fn port_range<'de, D: Deserializer<'de>>(input: D) -> Result<(u16, u16), D::Error> {
    let text = String::deserialize(input)?;
    let range = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match range {
        Some((first, last)) if first > 0 && first <= last => Ok((first, last)),
        _ => Err(D::Error::custom(format!("ports must be FIRST-LAST, from 1 to 65535, not \"{text}\""))),
    }
}

/// `[[service]]`: what clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// Name, for people and metrics.
    pub name: String,
    /// Address.
    pub address: Ipv4Addr,
    /// Port; 0: any.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach a backend.
    #[serde(default)]
    pub forward: Forward,
    /// What keeps together.
    #[serde(default)]
    pub affinity: Affinity,
    /// Who serves it.
    pub backends: Vec<Backend>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// Source and destination are translated; works with any backend.
    #[default]
    Fullnat,
}

/// What goes to the same backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Affinity {
    /// The packets of one connection.
    #[default]
    Connection,
    /// Every connection of one client address.
    ClientAddress,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backend {
    /// Address.
    pub address: Ipv4Addr,
    /// Port; 0: the one that the client asked for.
    pub port: u16,
    /// Share of new connections, relative to the service's other backends.
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{path}:{line}:{column}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Well-formed, but contradicts itself.
    #[error("{path}: {message}")]
    Meaning {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something that cannot be done.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text),
            Err(source) => Err(ConfigError::Read { path: name, source }),
        }
    }

    /// Reads a text; `name` is what messages call it.
    ///
    /// # Errors
    /// The text says something that cannot be done.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
            ConfigError::Syntax {
                path: name.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
                message: error.message().replace('\n', " "),
            }
        })?;
        match config.contradiction() {
            Some(message) => Err(ConfigError::Meaning { path: name.to_owned(), message }),
            None => Ok(config),
        }
    }

    /// Whether this file is for another plane.
    ///
    /// # Errors
    /// It is; `name` is what the message calls it.
    pub fn check_kind(&self, name: &str, kind: Kind) -> Result<(), ConfigError> {
        let (is, program) = match self.dataplane.kind {
            Some(Kind::Xdp) if kind != Kind::Xdp => ("xdp", "evenkeel run"),
            Some(Kind::Dpdk) if kind != Kind::Dpdk => ("dpdk", "evenkeel-dpdk"),
            _ => return Ok(()),
        };
        let message = format!("[dataplane] kind is \"{is}\": start it with `{program}`, or leave kind out.");
        Err(ConfigError::Meaning { path: name.to_owned(), message })
    }

    fn contradiction(&self) -> Option<String> {
        if self.nat.addresses.is_empty() {
            return Some("[nat] needs at least one address, or full NAT has nothing to send from.".to_owned());
        }
        if !(64..=1 << 26).contains(&self.dataplane.max_flows) {
            return Some(format!("max-flows must be between 64 and {}.", 1 << 26));
        }
        let Dataplane { address: own, gateway, .. } = &self.dataplane;
        if let (Some(own), Some(gateway)) = (own, gateway)
            && (own.address == *gateway || !own.has_near(*gateway))
        {
            return Some(format!("gateway {gateway} must be another host of the network of {}.", own.address));
        }
        let services = self.services.iter().map(|service| &service.address);
        let own = own.as_ref().map(|own| &own.address);
        let ours: Vec<_> = self.nat.addresses.iter().chain(services).chain(own).collect();
        for (index, service) in self.services.iter().enumerate() {
            let name = &service.name;
            for other in &self.services[..index] {
                if other.name == *name {
                    return Some(format!("two services are called \"{name}\": give one of them another name."));
                }
                if (other.address, other.port, other.protocol) == (service.address, service.port, service.protocol) {
                    return Some(format!("services \"{}\" and \"{name}\" have the same address and port.", other.name));
                }
            }
            for (place, backend) in service.backends.iter().enumerate() {
                let Backend { address, port, .. } = backend;
                if ours.contains(&address) {
                    return Some(format!("service \"{name}\": backend {address} is the balancer itself."));
                }
                if (service.port == 0) != (*port == 0) {
                    return Some(format!(
                        "service \"{name}\": backend {address}: a service for any port needs backends with port 0, \
                         and a service with a port needs backends with one."
                    ));
                }
                if service.backends[..place].iter().any(|other| (other.address, other.port) == (*address, *port)) {
                    return Some(format!("service \"{name}\": backend {address} port {port} is listed twice."));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_small_file_says_everything_needed() {
        let config = Config::parse("good.toml", GOOD).expect("the file is right");
        assert_eq!(config.dataplane.max_flows, 1 << 20);
        assert_eq!(config.services[0].backends[0].weight, 1);
        assert_eq!(config.nat.ports, (1024, 65535));
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (wrong, right, expected) in [
            ("colour = 1\nname = \"web\"", "name = \"web\"", "bad.toml:10:1: unknown field `colour`"),
            ("ports = \"9-1\"", "ports = \"1024-65535\"", "bad.toml:7:9: ports must be FIRST-LAST"),
            ("weight = 70000", "weight = 3", "bad.toml:14:"),
            (
                "port = 0\nprotocol",
                "port = 80\nprotocol",
                "bad.toml: service \"web\": backend 10.0.0.2: a service for any",
            ),
            (
                "10.0.0.10\", port = 8080 }, {",
                "10.0.0.2\", port = 8080 }, {",
                "backend 10.0.0.10 is the balancer itself",
            ),
            ("10.0.0.3\", port = 8080 }, {", "10.0.0.2\", port = 8080 }, {", "listed twice"),
        ] {
            assert!(GOOD.contains(right));
            let message =
                Config::parse("bad.toml", &GOOD.replace(right, wrong)).expect_err("the file is wrong").to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains('\n'), "one line: {message}");
        }
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
    fn what_only_a_host_of_its_own_needs_is_read_and_checked() {
        let with = |lines: &str| {
            Config::parse("host.toml", &GOOD.replace("interface = \"veth6\"", lines)).map(|config| config.dataplane)
        };
        let own = HostAddress { address: Ipv4Addr::new(10, 0, 0, 10), prefix: 24 };
        let read = with("kind = \"dpdk\"\naddress = \"10.0.0.10/24\"\ngateway = \"10.0.0.254\"\nidle = \"poll\"");
        let read = read.expect("it is right");
        assert_eq!((read.kind, read.address, read.idle), (Some(Kind::Dpdk), Some(own), Idle::Poll));
        for wrong in ["10.0.0.10", "10.0.0.10/33", "10.0.0/24", "/24", "10.0.0.10/"] {
            let message = with(&format!("address = \"{wrong}\"")).expect_err("it is wrong").to_string();
            assert!(message.starts_with("host.toml:3:11: ") && message.contains("192.0.2.5/24"), "{message}");
        }
        for gateway in ["10.0.1.1", "10.0.0.10"] {
            let message =
                with(&format!("address = \"10.0.0.10/24\"\ngateway = \"{gateway}\"")).expect_err("it is wrong");
            assert!(message.to_string().contains("another host of the network"), "{message}");
        }
        let message = with("address = \"10.0.0.2/24\"").expect_err("a backend has it").to_string();
        assert!(message.contains("backend 10.0.0.2 is the balancer itself"), "{message}");
    }

    #[test]
    fn a_file_for_the_other_plane_is_refused_with_the_program_that_it_is_for() {
        let kind = |line: &str| Config::parse("kind.toml", &GOOD.replace("interface", &format!("{line}interface")));
        let either = kind("").expect("it is right");
        assert!(
            either.check_kind("kind.toml", Kind::Xdp).is_ok() && either.check_kind("kind.toml", Kind::Dpdk).is_ok()
        );
        let dpdk = kind("kind = \"dpdk\"\n").expect("it is right");
        let message = dpdk.check_kind("kind.toml", Kind::Xdp).expect_err("it is for DPDK").to_string();
        assert!(message.starts_with("kind.toml: ") && message.contains("evenkeel-dpdk"), "{message}");
    }
}
