//! What the answers say, and what becomes of it from one answer to the next.

use super::history::History;
use super::rate::{per_second, sum};
use evenkeel_control::operator::{BackendStatus, ServiceStatus, State, Status};
use evenkeel_core::{Event, Reason, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Two answers that belong together, and when they came, counted from the screen's beginning.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) status_at: Duration,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) counters_at: Duration,
}

/// A balancer as it was when it last answered.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) version: String,
    pub(super) plane: String,
    pub(super) uptime_seconds: u64,
    pub(super) totals: Totals,
    pub(super) services: Vec<Service>,
    /// Drops first, as they are what one looks for; each kind in the order of the documentation.
    pub(super) counters: Vec<Counter>,
    /// The seconds that the histories have seen, also those that they have forgotten.
    pub(super) seconds: u64,
    /// Why there was no answer since, if there was none.
    pub(super) silence: Option<String>,
    status_at: Duration,
    counters_at: Duration,
}

/// All services together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) flows: u64,
    pub(super) opened: Option<f64>,
    pub(super) packets: Option<f64>,
    pub(super) bits: Option<f64>,
    pub(super) drops: Option<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Protocol, address and port.
    pub(super) listens: String,
    pub(super) forward: String,
    pub(super) flows: u64,
    pub(super) pace: Pace,
    pub(super) backends: Vec<Backend>,
}

impl Service {
    /// How many backends are in a state.
    pub(super) fn count(&self, state: State) -> usize {
        self.backends.iter().filter(|backend| backend.status.state == state).count()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) status: BackendStatus,
    pub(super) pace: Pace,
}

/// Packets and bytes a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    pub(super) packets: Option<f64>,
    pub(super) bytes: Option<f64>,
    /// Of the packets.
    pub(super) history: History,
}

#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) total: u64,
    pub(super) rate: Option<f64>,
    pub(super) history: History,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Verdict(Verdict),
    Event,
    /// A balancer of another version counts what this one does not know.
    Unknown,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.name(),
            Self::Event => "event",
            Self::Unknown => "-",
        }
    }

    pub(super) fn is_drop(self) -> bool {
        self == Self::Verdict(Verdict::Drop)
    }

    /// What a counter of this name counts, and its place among the others.
    fn of(name: &str) -> (Self, usize) {
        if let Some(place) = Reason::ALL.iter().position(|reason| reason.name() == name) {
            let kind = Self::Verdict(Reason::ALL[place].verdict());
            // Reasons stand by verdict, with the drops at the end.
            return (kind, if kind.is_drop() { place } else { Reason::ALL.len() + place });
        }
        match Event::ALL.iter().position(|event| event.name() == name) {
            Some(place) => (Self::Event, 2 * Reason::ALL.len() + place),
            None => (Self::Unknown, usize::MAX),
        }
    }
}

impl Model {
    /// What a first answer says: totals, and no rates yet.
    pub(super) fn new(answer: Answer) -> Self {
        Self::build(answer, None)
    }

    /// Goes on with the next answer.
    pub(super) fn take(&mut self, answer: Answer) {
        let before = std::mem::replace(self, Self::empty());
        *self = Self::build(answer, Some(before));
    }

    /// There was no answer. What was known stays, and no longer counts as news.
    pub(super) fn miss(&mut self, reason: String) {
        self.silence = Some(reason);
    }

    /// How old what is known is.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.status_at)
    }

    fn empty() -> Self {
        Self {
            version: String::new(),
            plane: String::new(),
            uptime_seconds: 0,
            totals: Totals::default(),
            services: Vec::new(),
            counters: Vec::new(),
            seconds: 0,
            silence: None,
            status_at: Duration::ZERO,
            counters_at: Duration::ZERO,
        }
    }

    fn build(answer: Answer, before: Option<Self>) -> Self {
        let Answer { status, status_at, counters, counters_at } = answer;
        let Status { version, plane, uptime_seconds, services, .. } = status;
        // Two answers of two processes are not to be compared, even where the later counter happens to be the larger.
        let same = before.as_ref().is_some_and(|old| uptime_seconds >= old.uptime_seconds && plane == old.plane);
        let first = before.is_none();
        let before = before.unwrap_or_else(Self::empty);
        let step = |span: Duration| Step {
            span: same.then_some(span),
            // Not a second too few if an answer came early: every answer is seen.
            seconds: if first { 0 } else { (span.as_secs_f64().round() as u64).max(1) },
        };
        let status_step = step(status_at.saturating_sub(before.status_at));
        let counters_step =
            Step { seconds: status_step.seconds, ..step(counters_at.saturating_sub(before.counters_at)) };

        let mut known: HashMap<String, Service> =
            before.services.into_iter().map(|service| (service.name.clone(), service)).collect();
        let services: Vec<_> = services
            .into_iter()
            .map(|service| {
                let before = known.remove(&service.name);
                Service::build(service, before, status_step)
            })
            .collect();

        let mut known: HashMap<String, Counter> =
            before.counters.into_iter().map(|counter| (counter.name.clone(), counter)).collect();
        let mut placed: Vec<_> = counters
            .into_iter()
            .map(|(name, total)| {
                let before = known.remove(&name);
                let (kind, place) = Kind::of(&name);
                (place, Counter::build(name, kind, total, before, counters_step))
            })
            .collect();
        placed.sort_by_key(|(place, _)| *place);
        let counters: Vec<_> = placed.into_iter().map(|(_, counter)| counter).collect();

        Self {
            version,
            plane,
            uptime_seconds,
            totals: Totals {
                flows: services.iter().map(|service| service.flows).sum(),
                opened: counters
                    .iter()
                    .find(|counter| counter.name == Event::FlowOpened.name())
                    .and_then(|counter| counter.rate),
                packets: sum(services.iter().map(|service| service.pace.packets)),
                bits: sum(services.iter().map(|service| service.pace.bytes)).map(|bytes| bytes * 8.0),
                drops: sum(counters.iter().filter(|counter| counter.kind.is_drop()).map(|counter| counter.rate)),
            },
            services,
            counters,
            seconds: before.seconds + status_step.seconds,
            silence: None,
            status_at,
            counters_at,
        }
    }
}

/// From one answer to the next.
#[derive(Clone, Copy)]
struct Step {
    /// Nothing if they are not to be compared.
    span: Option<Duration>,
    /// For histories.
    seconds: u64,
}

impl Step {
    fn rate(self, before: Option<u64>, after: u64) -> Option<f64> {
        per_second(before?, after, self.span?)
    }
}

impl Service {
    fn build(status: ServiceStatus, before: Option<Self>, step: Step) -> Self {
        let listens = status.listens();
        let ServiceStatus { name, forward, backends, .. } = status;
        let (mut pace, known) = before.map_or_else(Default::default, |service| (service.pace, service.backends));
        let mut known: HashMap<(IpAddr, u16), Backend> =
            known.into_iter().map(|backend| ((backend.status.address, backend.status.port), backend)).collect();
        let backends: Vec<_> = backends
            .into_iter()
            .map(|status| {
                let before = known.remove(&(status.address, status.port));
                Backend::build(status, before, step)
            })
            .collect();
        pace.advance(
            sum(backends.iter().map(|backend| backend.pace.packets)),
            sum(backends.iter().map(|backend| backend.pace.bytes)),
            step,
        );
        Self {
            name,
            listens,
            forward,
            flows: backends.iter().map(|backend| backend.status.flows).sum(),
            pace,
            backends,
        }
    }
}

impl Backend {
    fn build(status: BackendStatus, before: Option<Self>, step: Step) -> Self {
        let (mut pace, counted) = match before {
            Some(before) => (before.pace, Some((before.status.packets, before.status.bytes))),
            None => (Pace::default(), None),
        };
        let packets = step.rate(counted.map(|(packets, _)| packets), status.packets);
        let bytes = step.rate(counted.map(|(_, bytes)| bytes), status.bytes);
        pace.advance(packets, bytes, step);
        Self { status, pace }
    }
}

impl Pace {
    fn advance(&mut self, packets: Option<f64>, bytes: Option<f64>, step: Step) {
        (self.packets, self.bytes) = (packets, bytes);
        self.history.push(packets, step.seconds);
    }
}

impl Counter {
    fn build(name: String, kind: Kind, total: u64, before: Option<Self>, step: Step) -> Self {
        let rate = step.rate(before.as_ref().map(|counter| counter.total), total);
        let mut history = before.map(|counter| counter.history).unwrap_or_default();
        history.push(rate, step.seconds);
        Self { name, kind, total, rate, history }
    }

    /// Whether it has grown within the last minute; before anything is known of that, whether it ever has.
    pub(super) fn moves(&self) -> bool {
        self.history.moves() || (self.rate.is_none() && self.total > 0)
    }
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
