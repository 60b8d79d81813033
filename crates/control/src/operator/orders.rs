//! What an operator orders by command, beside the file: a backend drained, another weight.
//!
//! A drain holds until it is undone, over reloads and restarts as well. A weight holds until the file is read again.

use super::Operator;
use crate::balancer::{BalancerError, listen};
use crate::config::Config;
use crate::places::Owner;
use crate::plane::Plane;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// An order about one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It keeps its connections and gets no new ones.
    Drain,
    /// It gets new ones again, unless the file says otherwise.
    Undrain,
    /// Its share of new connections.
    Weight(u16),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError<E: std::error::Error + 'static> {
    /// No such service.
    #[error("there is no service called \"{0}\": `evenkeel services` lists those that there are.")]
    NoService(String),
    /// No such backend.
    #[error("service \"{service}\" has no backend {backend}: its backends are {known}.")]
    NoBackend {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// Those that there are.
        known: String,
    },
    /// More than one backend is meant.
    #[error(
        "service \"{service}\" has more than one backend at {backend}: name its port as well, as in {backend}:{port}."
    )]
    Ambiguous {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// One of them.
        port: u16,
    },
    /// The tables could not be changed.
    #[error(transparent)]
    Balancer(#[from] BalancerError<E>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    drained: BTreeSet<Owner>,
    weights: BTreeMap<Owner, u16>,
}

impl Orders {
    pub(super) fn is_drained(&self, backend: &Owner) -> bool {
        self.drained.contains(backend)
    }

    pub(super) fn weight(&self, backend: &Owner) -> Option<u16> {
        self.weights.get(backend).copied()
    }

    pub(super) fn forget_weights(&mut self) {
        self.weights.clear();
    }

    pub(super) fn keep(&mut self, wanted: impl Fn(&Owner) -> bool) {
        self.drained.retain(|backend| wanted(backend));
        self.weights.retain(|backend, _| wanted(backend));
    }

    pub(super) fn take(&mut self, backend: Owner, order: Order) {
        match order {
            Order::Drain => {
                self.drained.insert(backend);
            }
            Order::Undrain => {
                self.drained.remove(&backend);
            }
            Order::Weight(weight) => {
                self.weights.insert(backend, weight);
            }
        }
    }
}

impl<P: Plane> Operator<P> {
    /// Carries out an order. A service is named by its name, a backend by its address, and its port where that alone does
    /// not tell.
    ///
    /// # Errors
    /// There is no such backend, or a table could not be changed.
    pub fn order(&mut self, service: &str, backend: &str, order: Order) -> Result<(), OrderError<P::Error>> {
        let owner = find(&self.config, service, backend)?;
        let before = self.orders.clone();
        self.orders.take(owner, order);
        Ok(self.enforce().inspect_err(|_| self.orders = before)?)
    }
}

fn find<E: std::error::Error>(config: &Config, service: &str, backend: &str) -> Result<Owner, OrderError<E>> {
    let found = config.services.iter().find(|candidate| candidate.name == service);
    let Some(found) = found else { return Err(OrderError::NoService(service.to_owned())) };
    let (address, port) = match backend.split_once(':') {
        Some((address, port)) => (address.parse::<Ipv4Addr>().ok(), Some(port.parse::<u16>().ok())),
        None => (backend.parse().ok(), None),
    };
    let mut matching = found
        .backends
        .iter()
        .filter(|candidate| Some(candidate.address) == address && port.is_none_or(|port| Some(candidate.port) == port));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok((listen(found), (only.address, only.port))),
        (Some(first), Some(_)) => {
            let (service, backend) = (service.to_owned(), backend.to_owned());
            Err(OrderError::Ambiguous { service, backend, port: first.port })
        }
        (None, _) => {
            let known: Vec<_> =
                found.backends.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(OrderError::NoBackend { service: service.to_owned(), backend: backend.to_owned(), known })
        }
    }
}
