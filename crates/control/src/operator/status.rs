//! What there is to tell: the stable JSON of the command line and the API.

use super::admission::Whole;
use super::health::Condition;
use super::notes::Note;
use super::wanted::Operator;
use crate::balancer::BackendView;
use crate::census::Census;
use crate::config::{BackendId, Forward, Service};
use crate::plane::Plane;
use evenkeel_core::backend::BackendState;
use evenkeel_core::{Event, Reason, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::UNIX_EPOCH;

/// A balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// `xdp` or `dpdk`.
    pub plane: String,
    /// Where packets come and go: an interface, or a port of DPDK's. Nothing until that is known.
    #[serde(default)]
    pub interface: Option<String>,
    /// How it is worked: `native` or `generic` on XDP, the driver's name on DPDK.
    #[serde(default)]
    pub mode: Option<String>,
    /// Why it is that mode and nothing better, in words for people, where there is something to say.
    #[serde(default)]
    pub mode_reason: Option<String>,
    /// Since when it runs, in seconds.
    pub uptime_seconds: u64,
    /// How long ago connections were counted, in seconds. In a large table they are counted every few seconds.
    #[serde(default)]
    pub flows_age_seconds: u64,
    /// In the order of the file, then those that have left it and have connections.
    pub services: Vec<ServiceStatus>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where clients find it.
    pub address: IpAddr,
    /// 0: any port; of several the first.
    pub port: u16,
    /// The last, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_port: Option<u16>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// How packets reach a backend.
    pub forward: String,
    /// In the order of the file, then those that are on their way out.
    pub backends: Vec<BackendStatus>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Where it listens.
    pub address: IpAddr,
    /// 0: the port that the client asked for.
    pub port: u16,
    /// Its share of new connections, as it is now.
    pub weight: u16,
    /// Whether it gets packets.
    pub state: State,
    /// Why it is in that state, in words for people.
    pub reason: String,
    /// What is the matter, in a word for programs: `check` (it fails its checks), `unresolved` (it does not answer ARP or neighbour solicitations),
    /// `elsewhere` (its route leaves by another interface), `no-route`; nothing if nothing is.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Since when, in seconds since 1970; nothing if no check has said so yet.
    pub since: Option<u64>,
    /// Whether it has left the configuration and is there for its last connections only.
    #[serde(default)]
    pub leaving: bool,
    /// Connections that it has.
    pub flows: u64,
    /// Packets in both directions, since the balancer started.
    pub packets: u64,
    /// Bytes in both directions, Ethernet headers included.
    pub bytes: u64,
}

/// Whether a backend gets connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does.
    Up,
    /// It is held to be out of service. What becomes of the connections that it has is as its service says.
    Down,
    /// No new ones; those that it has go on.
    Draining,
}

impl ServiceStatus {
    /// Where clients find it, such as `tcp 192.0.2.10:443`, `tcp 192.0.2.10:any` if any port is meant, or
    /// `tcp 192.0.2.10:20000-29999`.
    pub fn listens(&self) -> String {
        let last = self.last_port.map(|last| format!("-{last}")).unwrap_or_default();
        format!("{} {}{last}", self.protocol, place(self.address, self.port))
    }
}

impl BackendStatus {
    /// Where it listens, such as `10.0.0.2:8080`, or `10.0.0.2:any` for the port that the client asked for.
    pub fn listens(&self) -> String {
        place(self.address, self.port)
    }
}

/// What is wanted of a backend.
#[derive(Clone, Copy)]
struct Listed {
    weight: u16,
    /// Whether the file says so.
    drained: bool,
    /// Whether packets get there.
    reached: bool,
}

impl Listed {
    /// Nothing any more.
    const LEFT: Self = Self { weight: 0, drained: true, reached: true };
}

fn place(address: IpAddr, port: u16) -> String {
    let place = SocketAddr::new(address, port).to_string();
    match place.strip_suffix(":0") {
        Some(address) => format!("{address}:any"),
        None => place,
    }
}

impl<P: Plane> Operator<P> {
    /// Everything about services and backends.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn status(&self) -> Result<Status, P::Error> {
        self.status_by(&*self.census()?)
    }

    /// Notes how things are, for the log.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn sum_up(&mut self, signal: &'static str) -> Result<(), P::Error> {
        let status = self.status()?;
        self.note(Note::Summary { signal, status });
        Ok(())
    }

    /// The same by this count of connections.
    pub(super) fn status_by(&self, flows: &Census) -> Result<Status, P::Error> {
        let views: HashMap<BackendId, _> = self.balancer.backends().map(|view| (view.id, view)).collect();
        let wanted = self.wanted(&self.config);
        let listed: HashSet<_> = wanted.services.iter().map(Service::id).collect();
        let mut services = Vec::new();
        for service in &wanted.services {
            let id = service.id();
            let whole = Whole::of(service, &self.orders, &self.health);
            let mut backends = Vec::new();
            for backend in &service.backends {
                let id = service.backend_id(backend);
                let listed = Listed {
                    weight: backend.weight,
                    drained: backend.drain,
                    reached: whole.reaches(&id, &self.health),
                };
                backends.push(self.backend_status(id, listed, views.get(&id).copied(), flows)?);
            }
            let mut leaving: Vec<_> = views.values().filter(|view| view.leaving && view.id.service == id).collect();
            leaving.sort_by_key(|view| view.id);
            for view in leaving {
                backends.push(self.backend_status(view.id, Listed::LEFT, Some(*view), flows)?);
            }
            services.push(ServiceStatus {
                name: service.name.clone(),
                address: id.address,
                port: id.port,
                last_port: service.last_port,
                protocol: id.protocol.to_string(),
                forward: match service.forward {
                    Forward::Fullnat => "fullnat".to_owned(),
                },
                backends,
            });
        }
        // Services that have left the file, as long as they have connections.
        let mut gone: Vec<_> =
            views.values().filter(|view| view.leaving && !listed.contains(&view.id.service)).collect();
        gone.sort_by_key(|view| view.id);
        for leaving in gone.chunk_by(|a, b| a.id.service == b.id.service) {
            let mut backends = Vec::new();
            for view in leaving {
                backends.push(self.backend_status(view.id, Listed::LEFT, Some(**view), flows)?);
            }
            let id = leaving[0].id.service;
            services.push(ServiceStatus {
                name: format!("{id} (removed)"),
                address: id.address,
                port: id.port,
                last_port: None,
                protocol: id.protocol.to_string(),
                forward: "fullnat".to_owned(),
                backends,
            });
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plane: self.plane.to_owned(),
            interface: self.port.as_ref().map(|port| port.interface.clone()),
            mode: self.port.as_ref().map(|port| port.mode.clone()),
            mode_reason: self.port.as_ref().and_then(|port| port.why.clone()),
            uptime_seconds: self.started.elapsed().as_secs(),
            flows_age_seconds: flows.begun.elapsed().as_secs(),
            services,
        })
    }

    fn backend_status(
        &self,
        id: BackendId,
        listed: Listed,
        view: Option<BackendView>,
        flows: &Census,
    ) -> Result<BackendStatus, P::Error> {
        let (traffic, open) = match view {
            Some(view) => (self.balancer.plane().traffic(view.reference.index)?, flows.flows(view.reference)),
            None => (Traffic::default(), 0),
        };
        let is_leaving = view.is_some_and(|view| view.leaving);
        let is_drained = listed.drained || self.orders.is_drained(&id);
        let waits =
            self.health.is_new(&id) && !is_drained && view.is_some_and(|view| view.state == BackendState::Finishing);
        let serves = self.health.is_up(&id) && listed.reached && !waits;
        let state = match view.map(|view| view.state) {
            Some(BackendState::Up) => State::Up,
            Some(BackendState::Draining | BackendState::Finishing) if serves || is_leaving => State::Draining,
            Some(_) | None => State::Down,
        };
        let judgement = self.health.get(&id);
        let unjudged = if waits { "waits for its first good check" } else { "not checked" };
        let failed = judgement.filter(|judgement| judgement.condition == Condition::Down);
        let way = self.health.trouble(&id);
        let (trouble, reason) = if is_leaving {
            (None, "removed from the configuration".to_owned())
        } else if let Some(failed) = failed {
            (Some("check"), failed.reason.clone())
        } else if let Some((code, words)) = way.and_then(|way| Some((way.code()?, way.trouble(id.address)?))) {
            (Some(code), words)
        } else if self.orders.is_drained(&id) {
            (None, "drained by command".to_owned())
        } else if listed.drained {
            (None, "drained by the configuration".to_owned())
        } else {
            (None, judgement.map_or_else(|| unjudged.to_owned(), |judgement| judgement.reason.clone()))
        };
        let since = judgement.and_then(|judgement| judgement.since.duration_since(UNIX_EPOCH).ok());
        Ok(BackendStatus {
            address: id.address,
            port: id.port,
            weight: listed.weight,
            state,
            reason,
            trouble: trouble.map(str::to_owned),
            since: since.map(|since| since.as_secs()),
            leaving: is_leaving,
            flows: open,
            packets: traffic.client_packets.wrapping_add(traffic.backend_packets),
            bytes: traffic.client_bytes.wrapping_add(traffic.backend_bytes),
        })
    }

    /// Verdicts and events by name.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, P::Error> {
        let counters = self.balancer.plane().counters()?;
        let verdicts = Reason::ALL.iter().zip(counters.verdicts).map(|(reason, count)| (reason.name(), count));
        let events = Event::ALL.iter().zip(counters.events).map(|(event, count)| (event.name(), count));
        Ok(verdicts.chain(events).map(|(name, count)| (name.to_owned(), count)).collect())
    }
}
