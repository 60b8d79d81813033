//! Connections one by one, for whoever asks: looked up beside everything else, and in parts, because a walk through a large flow
//! table takes seconds.

use super::wanted::Operator;
use crate::config::{BackendId, ServiceId};
use crate::plane::{FlowView, FlowWalk, Plane, WalkError};
use evenkeel_core::{BackendRef, flow};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most buckets that are looked through for one part: 32 MB of them, a few hundredths of a second if all are full.
const MOST_BUCKETS: usize = 1 << 17;
/// For how long one part is searched for. Less is done than [`MOST_BUCKETS`] where the machine has other work.
const MOST_TIME: Duration = Duration::from_millis(40);
/// A part ends when it has so many connections: written down, they are 4 MB.
const MOST_IN_A_PART: usize = 1 << 14;
/// Buckets that are looked at in one go. A part ends between two of them.
const PIECE: usize = 512;

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

/// Which connections are meant: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Of this service, by its name.
    pub service: Option<String>,
    /// From there.
    pub client: Option<Place>,
    /// To there.
    pub backend: Option<Place>,
    /// In this state, as [`FlowStatus::state`] has it.
    pub state: Option<String>,
}

/// An address, and a port if it matters: `10.0.0.2`, `10.0.0.2:8080`, `fd00::2` or `[fd00::2]:8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Place {
    address: IpAddr,
    port: Option<u16>,
}

impl Place {
    fn is(&self, end: SocketAddr) -> bool {
        self.address == end.ip() && self.port.is_none_or(|port| port == end.port())
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
        match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
            (Ok(end), _) => Ok(Self { address: end.ip(), port: Some(end.port()) }),
            (_, Ok(address)) => Ok(Self { address, port: None }),
            _ => Err(format!("\"{text}\" is neither an address nor an address and a port, as in 10.0.0.2:8080.")),
        }
    }
}

/// What connections are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowOrder {
    /// Those first that have been idle for longest.
    Idle,
    /// By the client's address and port.
    Client,
    /// By the backend's.
    Backend,
    /// By state, and within one by the client.
    State,
}

impl FlowOrder {
    /// Leaves the first ones of these, at most so many, in this order.
    pub fn first(self, flows: &mut Vec<FlowStatus>, limit: usize) {
        self.sort(flows);
        flows.truncate(limit);
    }

    fn sort(self, flows: &mut [FlowStatus]) {
        match self {
            Self::Idle => flows.sort_by_key(|flow| Reverse(flow.idle_seconds)),
            Self::Client => flows.sort_by_key(|flow| flow.client),
            Self::Backend => flows.sort_by_key(|flow| (flow.backend, flow.client)),
            Self::State => flows.sort_by(|a, b| (&a.state, a.client).cmp(&(&b.state, b.client))),
        }
    }
}

/// How far a search has come: the bucket that it goes on with, in a table of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cursor {
    bucket: usize,
    of: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.bucket, self.of)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (bucket, of) = text.split_once('-')?;
            Some(Self { bucket: bucket.parse().ok()?, of: of.parse().ok()? })
        };
        read().ok_or_else(|| format!("\"{text}\" is not where a search has ended: leave \"from\" out to begin."))
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a search has found in its part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPart {
    /// The connections; if there is an order, the first ones of this part in it.
    pub flows: Vec<FlowStatus>,
    /// Where to go on; nothing if the whole table has been looked through, or there are as many as wanted and no order.
    pub next: Option<Cursor>,
    /// The buckets that were looked at for it.
    pub walked: Range<usize>,
}

/// Why a search has found nothing.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The clock that flows are stamped with cannot be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Connections are elsewhere in another table than they were in the one before.
    #[error("the flow table has been exchanged for a larger one meanwhile: begin again, without \"from\".")]
    Exchanged,
}

/// A search for connections, which needs no operator any more.
#[expect(missing_debug_implementations, reason = "the table is a plane's")]
pub struct FlowSearch {
    table: Arc<dyn FlowWalk>,
    backends: HashMap<BackendRef, BackendId>,
    /// Of this service alone.
    only: Option<ServiceId>,
    filter: FlowFilter,
    order: Option<FlowOrder>,
    limit: usize,
}

impl<P: Plane> Operator<P> {
    /// A search for at most so many of these connections; if there is an order, for the first ones in it. Nothing if there is no
    /// service of the name that is asked for.
    pub fn search_flows(&self, limit: usize, filter: FlowFilter, order: Option<FlowOrder>) -> Option<FlowSearch> {
        let only = match &filter.service {
            Some(name) => Some(self.config.services.iter().find(|service| service.name == *name)?.id()),
            None => None,
        };
        let backends = self.balancer.backends().map(|view| (view.reference, view.id)).collect();
        Some(FlowSearch { table: self.balancer.plane().flow_walk(), backends, only, filter, order, limit })
    }
}

impl FlowSearch {
    /// Searches a part of the table, from its beginning or where another part has ended: as long as nobody waits for too long, there
    /// are not as many connections as wanted, and somebody is there to want them.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub fn run(&self, from: Option<Cursor>, is_wanted: impl Fn() -> bool) -> Result<FlowPart, SearchError> {
        let begun = Instant::now();
        let of = self.table.buckets();
        let first = match from {
            Some(cursor) if cursor.of == of => cursor.bucket.min(of),
            Some(_) => return Err(SearchError::Exchanged),
            None => 0,
        };
        let end = first.saturating_add(MOST_BUCKETS).min(of);
        let (mut found, mut at) = (Vec::new(), first);
        let mut has_all = false;
        while at < end && is_wanted() {
            let piece = at..(at + PIECE).min(end);
            at = piece.end;
            self.table.visit(piece, &mut |flow| found.extend(self.status(&flow)))?;
            match self.order {
                // Whoever comes later may come first: all are looked at, and no more than twice as many as wanted are kept.
                Some(order) if found.len() > self.limit.saturating_mul(2) => order.first(&mut found, self.limit),
                None if found.len() >= self.limit => {
                    has_all = true;
                    break;
                }
                _ => {}
            }
            if found.len() >= MOST_IN_A_PART || begun.elapsed() >= MOST_TIME {
                break;
            }
        }
        if self.table.buckets() != of {
            return Err(SearchError::Exchanged);
        }
        match self.order {
            Some(order) => order.first(&mut found, self.limit),
            None => found.truncate(self.limit),
        }
        let next = (at < of && !has_all).then_some(Cursor { bucket: at, of });
        Ok(FlowPart { flows: found, next, walked: first..at })
    }

    /// What there is to tell of a connection, if it is meant.
    fn status(&self, flow: &FlowView) -> Option<FlowStatus> {
        // A flow whose backend has just gone is none any more.
        let BackendId { service, address, port } = *self.backends.get(&flow.backend)?;
        if self.only.is_some_and(|only| only != service) {
            return None;
        }
        let (client, asked) = (flow.client, flow.service);
        let backend = SocketAddr::new(address, if port == 0 { asked.port() } else { port });
        let state = state_name(flow.state);
        let FlowFilter { client: wanted_client, backend: wanted_backend, state: wanted_state, service: _ } =
            &self.filter;
        let is_meant = wanted_client.is_none_or(|place| place.is(client))
            && wanted_backend.is_none_or(|place| place.is(backend))
            && wanted_state.as_ref().is_none_or(|wanted| wanted == state);
        is_meant.then(|| FlowStatus {
            protocol: service.protocol.to_string(),
            client,
            service: asked,
            backend,
            nat: flow.nat,
            state: state.to_owned(),
            idle_seconds: flow.idle.as_secs(),
        })
    }
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
