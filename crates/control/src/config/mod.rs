//! The configuration file: TOML, read once into typed values that nobody checks again.
//!
//! Reading goes on after a fault, so that all of a file's faults are told at once, each with its place: `section` takes
//! keys out of tables, `read` knows which keys there are, `check` what must be true between them, `spans` where they stand.

mod check;
mod fault;
mod health;
mod read;
pub mod reference;
mod section;
mod spans;
#[cfg(test)]
mod tests;

pub use fault::{ConfigError, Fault};
pub use health::{Health, HttpCheck, Probe};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dataplane]`
    pub dataplane: Dataplane,
    /// `[nat]`
    pub nat: Nat,
    /// `[[service]]`
    pub services: Vec<Service>,
    /// `[metrics]`
    pub metrics: Metrics,
}

/// `[metrics]`: what monitoring may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where Prometheus finds `/metrics`; without it, nowhere.
    pub listen: Option<SocketAddr>,
}

/// `[dataplane]`: where packets are met.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// An address and the length of its network's prefix, as in 192.0.2.5/24.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Source addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// First and last source port.
    pub ports: (u16, u16),
}

/// `[[service]]`: what clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub forward: Forward,
    /// What keeps together.
    pub affinity: Affinity,
    /// How it is found out whether a backend serves.
    pub health: Health,
    /// What becomes of new connections while no backend takes any.
    pub all_down: AllDown,
    /// How long the connections of a backend that was taken out of the file may go on; without it, until they end.
    pub drain_time: Option<Duration>,
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

/// What becomes of new connections while no backend takes any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllDown {
    /// Their packets are dropped, and clients try again.
    #[default]
    Drop,
    /// TCP is refused by a reset, and clients give up at once; UDP is dropped.
    Reset,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Address.
    pub address: Ipv4Addr,
    /// Port; 0: the one that the client asked for.
    pub port: u16,
    /// Share of new connections, relative to the service's other backends.
    pub weight: u16,
    /// Whether it keeps its connections but gets no new ones.
    pub drain: bool,
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
    /// The text says something that cannot be done: all such things, in the order of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        read::read(text).map_err(|faults| ConfigError::Faults { path: name.to_owned(), faults })
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
        Err(ConfigError::OtherPlane { path: name.to_owned(), is, program })
    }
}
