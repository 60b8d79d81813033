//! One check, as it is made again and again: what is asked, where, and how often. Backends that want the same are judged by one.

use crate::config::{Backend, Probe, Service};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A question and who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inquiry {
    pub(super) probe: Probe,
    pub(super) target: SocketAddr,
    /// The address that it leaves from; without it, the kernel's choice.
    pub(super) source: Option<IpAddr>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Inquiry {
    /// The one about a backend, if its service wants any.
    pub(super) fn of(service: &Service, backend: &Backend) -> Option<Self> {
        let health = &service.health;
        Some(Self {
            probe: health.probe.clone()?,
            target: service.asked_at(backend),
            source: health.source,
            interval: health.interval,
            timeout: health.timeout,
        })
    }
}
