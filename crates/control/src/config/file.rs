//! What a file can say, in the order of its sections.

use super::dataplane::{Dataplane, Kind};
use super::fault::ConfigError;
use super::id::BackendId;
use super::service::Service;
use std::net::{Ipv4Addr, SocketAddr};

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

/// `[nat]`: what full NAT sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Source addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// First and last source port.
    pub ports: (u16, u16),
}

impl Config {
    /// What the backends of all services are known by.
    pub fn backend_ids(&self) -> impl Iterator<Item = BackendId> {
        self.services.iter().flat_map(Service::backend_ids)
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
