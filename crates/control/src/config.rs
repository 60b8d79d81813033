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
    /// The plane.
    pub kind: Kind,
    /// The network interface (XDP).
    pub interface: Option<String>,
    /// Where in the interface's path the program runs (XDP).
    pub xdp_mode: XdpMode,
    /// Connections that the flow table is made for.
    pub max_flows: u32,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { kind: Kind::Xdp, interface: None, xdp_mode: XdpMode::Auto, max_flows: 1 << 20 }
    }
}

/// Which plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In the kernel.
    Xdp,
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

    fn contradiction(&self) -> Option<String> {
        if self.nat.addresses.is_empty() {
            return Some("[nat] needs at least one address, or full NAT has nothing to send from.".to_owned());
        }
        if !(64..=1 << 26).contains(&self.dataplane.max_flows) {
            return Some(format!("max-flows must be between 64 and {}.", 1 << 26));
        }
        let ours: Vec<_> =
            self.nat.addresses.iter().chain(self.services.iter().map(|service| &service.address)).collect();
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
}
