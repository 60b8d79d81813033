//! Carrying out an order: which backend is meant, and that it holds from now on or not at all.

use super::notes::Note;
use super::orders::Order;
use super::wanted::Operator;
use crate::balancer::BalancerError;
use crate::config::{BackendId, Config, Service};
use crate::plane::Plane;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The backends that it was about.
    #[serde(default)]
    pub backends: Vec<OrderedBackend>,
    /// Services among theirs of which no backend takes new connections now.
    #[serde(default)]
    pub unserved: Vec<String>,
}

/// A backend that an order was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBackend {
    /// The service's name.
    pub service: String,
    /// The backend's address and port.
    pub backend: String,
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
    /// No service has a backend there.
    #[error("no service has a backend at {0}: `evenkeel services` lists those that there are.")]
    NoHost(IpAddr),
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
    pub fn order(&mut self, service: &str, backend: &str, order: Order) -> Result<Ordered, OrderError<P::Error>> {
        self.order_by(service, backend, order, None)
    }

    /// The same by somebody who is named in the log.
    ///
    /// # Errors
    /// As for [`Operator::order`].
    pub fn order_by(
        &mut self,
        service: &str,
        backend: &str,
        order: Order,
        by: Option<String>,
    ) -> Result<Ordered, OrderError<P::Error>> {
        let backend = find(&self.config, service, backend)?;
        self.carry_out(&[(service.to_owned(), backend)], order, by.as_deref())
    }

    /// Carries out an order about all backends at an address, whatever their services and ports: all of them or none.
    ///
    /// # Errors
    /// There is none, or a table could not be changed.
    pub fn order_host(
        &mut self,
        host: IpAddr,
        order: Order,
        by: Option<String>,
    ) -> Result<Ordered, OrderError<P::Error>> {
        let services = self.config.services.iter();
        let of = |service: &Service| -> Vec<_> {
            let there = service.backend_ids().filter(|backend| backend.address == host);
            there.map(|backend| (service.name.clone(), backend)).collect()
        };
        let backends: Vec<_> = services.flat_map(of).collect();
        if backends.is_empty() {
            return Err(OrderError::NoHost(host));
        }
        self.carry_out(&backends, order, by.as_deref())
    }

    /// Carries out an order about these backends, each with its service's name.
    fn carry_out(
        &mut self,
        backends: &[(String, BackendId)],
        order: Order,
        by: Option<&str>,
    ) -> Result<Ordered, OrderError<P::Error>> {
        let (before, noted) = (self.orders.clone(), self.notes.len());
        for (service, backend) in backends {
            self.orders.take(*backend, order);
            self.note(Note::Ordered { service: service.clone(), backend: *backend, order, by: by.map(str::to_owned) });
        }
        self.enforce().inspect_err(|_| {
            self.orders = before;
            self.notes.truncate(noted);
        })?;
        let mut ordered = Ordered::default();
        for (service, backend) in backends {
            if !self.is_served(backend.service) && ordered.unserved.last() != Some(service) {
                ordered.unserved.push(service.clone());
            }
            ordered.backends.push(OrderedBackend { service: service.clone(), backend: backend.to_string() });
        }
        Ok(ordered)
    }
}

fn find<E: std::error::Error>(config: &Config, service: &str, backend: &str) -> Result<BackendId, OrderError<E>> {
    let found = config.services.iter().find(|candidate| candidate.name == service);
    let Some(found) = found else { return Err(OrderError::NoService(service.to_owned())) };
    let (address, port) = match backend.parse::<SocketAddr>() {
        Ok(place) => (Some(place.ip()), Some(place.port())),
        Err(_) => {
            let bare = backend.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(backend);
            (bare.parse::<IpAddr>().ok(), None)
        }
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
