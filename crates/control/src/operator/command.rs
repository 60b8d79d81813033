//! Carrying out an order: which backend is meant, and that it holds from now on or not at all.

use super::orders::Order;
use super::wanted::Operator;
use crate::balancer::BalancerError;
use crate::config::{BackendId, Config};
use crate::plane::Plane;
use std::net::{IpAddr, SocketAddr};

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
