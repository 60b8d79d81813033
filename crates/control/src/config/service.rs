//! `[[service]]` and its backends.

use super::health::{Health, Target};
use super::id::{BackendId, ServiceId};
use super::protocol::Protocol;
use evenkeel_core::flow::IdleTimes;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// `[[service]]`: what clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name, for people and metrics.
    pub name: String,
    /// Address.
    pub address: IpAddr,
    /// Port, or the first of several; 0: any.
    pub port: u16,
    /// The last port, if there are several: one service, which is known by its first.
    pub last_port: Option<u16>,
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
    /// What becomes of a TCP segment of a connection that is not known.
    pub on_missing: OnMissing,
    /// What becomes of a backend's connections while its checks fail.
    pub on_down: OnDown,
    /// Where answers go.
    pub reply: Reply,
    /// How many connections a second may be opened by who asks for the first time; without it, any number.
    pub newcomers: Option<u32>,
    /// How long connections may be idle.
    pub idle: IdleTimes,
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

/// What becomes of a TCP segment of a connection that is not known, because it has ended, or began elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissing {
    /// It is dropped, and whoever has sent it tries again.
    #[default]
    Drop,
    /// It is answered by a reset, and whoever has sent it begins anew.
    Reset,
}

/// What becomes of a backend's connections while its checks fail. It gets no new ones, and datagrams go to another if one
/// takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDown {
    /// They go on, as far as the backend does.
    #[default]
    Keep,
    /// They stand still, and go on if the backend comes back in time.
    Drop,
    /// Both ends are told by a reset that they are over.
    Reset,
}

/// Where answers go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To the Ethernet address that the client's packets come from.
    #[default]
    Source,
    /// Where the host's routes lead.
    Route,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Address, of the same family as its service's.
    pub address: IpAddr,
    /// Port; 0: the one that the client asked for.
    pub port: u16,
    /// Share of new connections, relative to the service's other backends.
    pub weight: u16,
    /// Whether it keeps its connections but gets no new ones.
    pub drain: bool,
    /// Where it is asked whether it serves, as far as its service does not say so.
    pub health: Target,
}

impl Service {
    /// What it is known by.
    pub fn id(&self) -> ServiceId {
        ServiceId { address: self.address, port: self.port, protocol: self.protocol }
    }

    /// Its ports; 0 stands for any.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.port..=self.last_port.unwrap_or(self.port)
    }

    /// Whether its backends are asked at the port that the client asked for.
    pub fn keeps_ports(&self) -> bool {
        self.port == 0 || self.last_port.is_some()
    }

    /// What the packet path finds it by: one a port.
    pub fn keys(&self) -> impl Iterator<Item = ServiceId> {
        let id = self.id();
        self.ports().map(move |port| ServiceId { port, ..id })
    }

    /// What a backend of it is known by.
    pub fn backend_id(&self, backend: &Backend) -> BackendId {
        BackendId { service: self.id(), address: backend.address, port: backend.port }
    }

    /// Where a backend is asked whether it serves; port 0: nobody has said which.
    pub fn asked_at(&self, backend: &Backend) -> SocketAddr {
        let address = backend.health.address.or(self.health.target.address);
        let port = backend.health.port.or(self.health.target.port);
        SocketAddr::new(address.unwrap_or(backend.address), port.unwrap_or(backend.port))
    }

    /// Its backends, each with its rank among those at its address: how many of them have lower ports.
    pub fn ranked(&self) -> impl Iterator<Item = (u16, &Backend)> {
        let mut order: Vec<_> = (0..self.backends.len()).collect();
        order.sort_unstable_by_key(|&index| (self.backends[index].address, self.backends[index].port));
        let mut ranks = vec![0; self.backends.len()];
        for pair in order.windows(2) {
            if self.backends[pair[0]].address == self.backends[pair[1]].address {
                ranks[pair[1]] = ranks[pair[0]] + 1;
            }
        }
        ranks.into_iter().zip(&self.backends)
    }

    /// What its backends are known by, in the order of the file.
    pub fn backend_ids(&self) -> impl Iterator<Item = BackendId> {
        self.backends.iter().map(|backend| self.backend_id(backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walkthrough;

    #[test]
    fn ranks_follow_ports_and_not_the_order_of_the_file() {
        let mut service = walkthrough().services.remove(0);
        let backend = |last, port| Backend {
            address: [10, 0, 0, last].into(),
            port,
            weight: 1,
            drain: false,
            health: Target::default(),
        };
        service.backends = vec![backend(2, 8081), backend(3, 9000), backend(2, 80), backend(2, 9000)];
        let ranks: Vec<_> = service.ranked().map(|(rank, backend)| (rank, backend.port)).collect();
        assert_eq!(ranks, [(1, 8081), (0, 9000), (0, 80), (2, 9000)]);
    }
}
