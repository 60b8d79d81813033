//! `[[service]]` and its backends.

use super::health::Health;
use super::id::{BackendId, ServiceId};
use super::protocol::Protocol;
use serde::Deserialize;
use std::net::Ipv4Addr;
use std::time::Duration;

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

impl Service {
    /// What it is known by.
    pub fn id(&self) -> ServiceId {
        ServiceId { address: self.address.into(), port: self.port, protocol: self.protocol }
    }

    /// What a backend of it is known by.
    pub fn backend_id(&self, backend: &Backend) -> BackendId {
        BackendId { service: self.id(), address: backend.address.into(), port: backend.port }
    }

    /// What its backends are known by, in the order of the file.
    pub fn backend_ids(&self) -> impl Iterator<Item = BackendId> {
        self.backends.iter().map(|backend| self.backend_id(backend))
    }
}
