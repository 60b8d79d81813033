//! What an operator orders by command, beside the file: a backend drained, another weight.
//!
//! A drain holds until it is undone, over reloads and restarts as well. A weight holds until the file is read again.

use super::Operator;
use crate::balancer::BalancerError;
use crate::config::{BackendId, Config};
use crate::plane::Plane;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

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
    #[error("service \"{service}\" has more than one backend at {backend}: name its port as well, as in {one}.")]
    Ambiguous {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// One of them.
        one: BackendId,
    },
    /// The tables could not be changed.
    #[error(transparent)]
    Balancer(#[from] BalancerError<E>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    drained: BTreeSet<BackendId>,
    weights: BTreeMap<BackendId, u16>,
}

impl Orders {
    pub(super) fn is_drained(&self, backend: &BackendId) -> bool {
        self.drained.contains(backend)
    }

    pub(super) fn weight(&self, backend: &BackendId) -> Option<u16> {
        self.weights.get(backend).copied()
    }

    pub(super) fn forget_weights(&mut self) {
        self.weights.clear();
    }

    pub(super) fn keep(&mut self, wanted: impl Fn(&BackendId) -> bool) {
        self.drained.retain(|backend| wanted(backend));
        self.weights.retain(|backend, _| wanted(backend));
    }

    pub(super) fn take(&mut self, backend: BackendId, order: Order) {
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
        let backend = find(&self.config, service, backend)?;
        let before = self.orders.clone();
        self.orders.take(backend, order);
        Ok(self.enforce().inspect_err(|_| self.orders = before)?)
    }
}

fn find<E: std::error::Error>(config: &Config, service: &str, backend: &str) -> Result<BackendId, OrderError<E>> {
    let found = config.services.iter().find(|candidate| candidate.name == service);
    let Some(found) = found else { return Err(OrderError::NoService(service.to_owned())) };
    let (address, port) = match backend.parse::<SocketAddr>() {
        Ok(place) => (Some(place.ip()), Some(place.port())),
        Err(_) => (backend.parse::<IpAddr>().ok(), None),
    };
    let mut matching = found
        .backend_ids()
        .filter(|candidate| Some(candidate.address) == address && port.is_none_or(|port| candidate.port == port));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(_)) => {
            let (service, backend) = (service.to_owned(), backend.to_owned());
            Err(OrderError::Ambiguous { service, backend, one })
        }
        (None, _) => {
            let known: Vec<_> = found.backend_ids().map(|backend| backend.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(OrderError::NoBackend { service: service.to_owned(), backend: backend.to_owned(), known })
        }
    }
}
