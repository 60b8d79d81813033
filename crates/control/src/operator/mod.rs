//! What is wanted: the file, what an operator has ordered beside it, and what health checks say; and the balancer that makes
//! it so. One thread owns it; others ask through a [`Handle`].

mod change;
mod handle;
mod health;
mod orders;
mod scrape;
mod status;

pub use change::{Change, ReloadError};
pub use handle::{Handle, Inbox, handle};
pub use health::{Condition, Judgement};
pub use orders::{Order, OrderError};
pub use scrape::{BackendTraffic, Scrape};
pub use status::{BackendStatus, FlowStatus, ServiceStatus, State, Status};

use crate::balancer::{Balancer, BalancerError};
use crate::config::{Backend, BackendId, Config, Service};
use crate::plane::Plane;
use evenkeel_core::backend::{BackendState, Standing};
use health::HealthTable;
use orders::Orders;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

/// The balancer and everything that decides what it shall be.
#[derive(Debug)]
pub struct Operator<P> {
    balancer: Balancer<P>,
    /// The plane's name, for people.
    plane: &'static str,
    config: Config,
    /// Where the configuration is read from again.
    path: Option<PathBuf>,
    orders: Orders,
    health: HealthTable,
    started: Instant,
    /// What came of the last reload, for the log.
    reloaded: Option<Result<Vec<Change>, String>>,
}

impl<P: Plane> Operator<P> {
    /// Puts a configuration in force. `plane` is the plane's name; `path` is where a reload finds the configuration.
    ///
    /// # Errors
    /// The tables cannot be made.
    pub fn new(
        balancer: Balancer<P>,
        plane: &'static str,
        config: Config,
        path: Option<PathBuf>,
    ) -> Result<Self, BalancerError<P::Error>> {
        let mut operator = Self {
            balancer,
            plane,
            config,
            path,
            orders: Orders::default(),
            health: HealthTable::default(),
            started: Instant::now(),
            reloaded: None,
        };
        operator.recall();
        operator.enforce()?;
        Ok(operator)
    }

    /// Takes over what a process before has left word of: drains by order, and backends that failed their checks. Weights by
    /// order are not among it, since the file has just been read.
    fn recall(&mut self) {
        for (backend, standing) in self.balancer.standings() {
            if standing.drained {
                self.orders.take(backend, Order::Drain);
            }
            if standing.failed {
                let (condition, since) = (Condition::Down, SystemTime::now());
                let reason = "failed its checks before the restart".to_owned();
                self.health.note(Judgement { backend, condition, reason, since });
            }
        }
        (self.orders, self.health) = self.outlasting(&self.config);
    }

    /// The balancer.
    pub fn balancer(&self) -> &Balancer<P> {
        &self.balancer
    }

    /// The balancer, for next hops and housekeeping.
    pub fn balancer_mut(&mut self) -> &mut Balancer<P> {
        &mut self.balancer
    }

    /// The configuration in force, without what was ordered beside it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the configuration is read from again.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Whether a backend serves, as far as is known.
    pub fn is_up(&self, backend: &BackendId) -> bool {
        self.health.is_up(backend)
    }

    /// Notes what health checks have found, about many backends at once if many have turned.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn judge(&mut self, judgements: &[Judgement]) -> Result<(), BalancerError<P::Error>> {
        // A check that was under way when the configuration changed may be about a backend that is checked no more.
        let checked: HashSet<BackendId> = checked(&self.config).collect();
        let mut has_turned = false;
        for judgement in judgements.iter().filter(|judgement| checked.contains(&judgement.backend)) {
            has_turned |= self.health.note(judgement.clone());
        }
        if has_turned { self.enforce() } else { Ok(()) }
    }

    /// Makes the tables what is wanted now.
    fn enforce(&mut self) -> Result<(), BalancerError<P::Error>> {
        let wanted = self.wanted(&self.config);
        let Self { balancer, orders, health, .. } = self;
        balancer.apply_with(&wanted, |service, backend| {
            (admission(service, backend, orders, health), standing(service, backend, orders, health))
        })
    }

    /// A configuration with the weights that were ordered.
    fn wanted(&self, config: &Config) -> Config {
        let mut wanted = config.clone();
        for service in &mut wanted.services {
            let ids: Vec<_> = service.backend_ids().collect();
            for (backend, id) in service.backends.iter_mut().zip(ids) {
                backend.weight = self.orders.weight(&id).unwrap_or(backend.weight);
            }
        }
        wanted
    }
}

/// Every backend that is health checked.
fn checked(config: &Config) -> impl Iterator<Item = BackendId> {
    config.services.iter().filter(|service| service.health.probe.is_some()).flat_map(Service::backend_ids)
}

/// What is known of a backend beside the file.
fn standing(service: &Service, backend: &Backend, orders: &Orders, health: &HealthTable) -> Standing {
    let id = service.backend_id(backend);
    Standing { drained: orders.is_drained(&id), failed: !health.is_up(&id) }
}

/// What may be sent to a backend.
fn admission(service: &Service, backend: &Backend, orders: &Orders, health: &HealthTable) -> BackendState {
    let Standing { drained, failed } = standing(service, backend, orders, health);
    match (!failed, drained || backend.drain) {
        (true, false) => BackendState::Up,
        (true, true) => BackendState::Draining,
        // While nobody serves, nobody is better than the one that has the connection: it may be the check that is wrong.
        (false, _) if all_down(service, health) => BackendState::Draining,
        (false, _) => BackendState::Down,
    }
}

fn all_down(service: &Service, health: &HealthTable) -> bool {
    !service.backend_ids().any(|backend| health.is_up(&backend))
}
