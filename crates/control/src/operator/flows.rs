//! Connections one by one, for whoever asks: looked up beside everything else, because that may take as long as it takes to
//! walk through the flow table.

use super::wanted::Operator;
use crate::census::pieces;
use crate::config::{BackendId, ServiceId};
use crate::plane::{FlowView, FlowWalk, Plane, WalkError};
use evenkeel_core::{BackendRef, flow};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where the client speaks from.
    pub client: SocketAddr,
    /// Where the client believes to speak to.
    pub service: SocketAddr,
    /// Where its backend listens.
    pub backend: SocketAddr,
    /// Where the backend sees it come from.
    pub nat: SocketAddr,
    /// How far it has come.
    pub state: String,
    /// For how long nothing was seen of it, accurate to some seconds.
    pub idle_seconds: u64,
}

/// A search for connections, which needs no operator any more.
#[expect(missing_debug_implementations, reason = "the table is a plane's")]
pub struct FlowSearch {
    table: Arc<dyn FlowWalk>,
    backends: HashMap<BackendRef, BackendId>,
    /// Of this service alone.
    only: Option<ServiceId>,
    limit: usize,
}

impl<P: Plane> Operator<P> {
    /// A search for at most so many connections, of one service if it is named. Nothing if there is no service of that name.
    pub fn search_flows(&self, limit: usize, service: Option<&str>) -> Option<FlowSearch> {
        let only = match service {
            Some(name) => Some(self.config.services.iter().find(|service| service.name == name)?.id()),
            None => None,
        };
        let backends = self.balancer.backends().map(|view| (view.reference, view.id)).collect();
        Some(FlowSearch { table: self.balancer.plane().flow_walk(), backends, only, limit })
    }
}

impl FlowSearch {
    /// Searches until there are as many as wanted, or nobody is there to want them.
    ///
    /// # Errors
    /// The clock that flows are stamped with cannot be read.
    pub fn run(&self, is_wanted: impl Fn() -> bool) -> Result<Vec<FlowStatus>, WalkError> {
        let mut found = Vec::new();
        for piece in pieces(self.table.buckets()) {
            if found.len() >= self.limit || !is_wanted() {
                break;
            }
            self.table.visit(piece, &mut |flow| found.extend(self.status(&flow)))?;
        }
        found.truncate(self.limit);
        Ok(found)
    }

    /// What there is to tell of a connection, if it is meant.
    fn status(&self, flow: &FlowView) -> Option<FlowStatus> {
        // A flow whose backend has just gone is none any more.
        let BackendId { service, address, port } = *self.backends.get(&flow.backend)?;
        if self.only.is_some_and(|only| only != service) {
            return None;
        }
        let asked = end(flow.key.destination());
        Some(FlowStatus {
            protocol: service.protocol.to_string(),
            client: end(flow.key.source()),
            service: asked,
            backend: SocketAddr::new(address, if port == 0 { asked.port() } else { port }),
            nat: end(flow.nat),
            state: state_name(flow.state).to_owned(),
            idle_seconds: flow.idle.as_secs(),
        })
    }
}

fn end(peer: flow::Peer) -> SocketAddr {
    SocketAddrV4::new(peer.address.into(), peer.port.number()).into()
}

fn state_name(state: flow::State) -> &'static str {
    match state {
        flow::State::Free | flow::State::Claimed => "none",
        flow::State::Opening => "opening",
        flow::State::Answered => "answered",
        flow::State::Established => "established",
        flow::State::HalfClosed => "half-closed",
        flow::State::Closing | flow::State::Reset => "closing",
    }
}
