//! What follows for a backend from all that is said of it: by the file, by orders and by health checks, and of the way to it.

use super::health::HealthTable;
use super::orders::Orders;
use super::ways::Leads;
use crate::config::{Backend, BackendId, Config, Initial, OnDown, Service};
use evenkeel_core::backend::{BackendState, Standing};

/// Every backend that is health checked.
pub(super) fn checked(config: &Config) -> impl Iterator<Item = BackendId> {
    config.services.iter().filter(|service| service.health.probe.is_some()).flat_map(Service::backend_ids)
}

/// What is known of a backend beside the file.
pub(super) fn standing(service: &Service, backend: &Backend, orders: &Orders, health: &HealthTable) -> Standing {
    let id = service.backend_id(backend);
    Standing { drained: orders.is_drained(&id), failed: !health.is_up(&id) }
}

/// What of a service's backends as a whole each of them depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// Somebody takes new connections and is reached for certain.
    has_certain: bool,
    /// Who is new waits for his first good check, because others take connections that are known to serve: they were there before,
    /// or have had theirs.
    new_ones_wait: bool,
    /// Nobody serves and is reached.
    nobody_serves: bool,
}

impl Whole {
    pub(super) fn of(service: &Service, orders: &Orders, health: &HealthTable) -> Self {
        let (mut has_certain, mut has_known, mut has_any) = (false, false, false);
        for backend in &service.backends {
            let id = service.backend_id(backend);
            let leads = health.leads(&id);
            if health.is_up(&id) && leads != Leads::No {
                let takes_new = backend.weight > 0 && !backend.drain && !orders.is_drained(&id);
                has_certain |= takes_new && leads == Leads::Yes;
                has_known |= takes_new && !health.is_new(&id);
                has_any = true;
            }
        }
        let new_ones_wait = has_known && service.health.initial == Initial::Down;
        Self { has_certain, new_ones_wait, nobody_serves: !has_any }
    }

    /// Whether packets get to a backend. One that has stopped answering ARP may only be slow: packets for it go to where it was,
    /// but new connections only as long as there is nobody better.
    pub(super) fn reaches(self, backend: &BackendId, health: &HealthTable) -> bool {
        match health.leads(backend) {
            Leads::Yes => true,
            Leads::Perhaps => !self.has_certain,
            Leads::No => false,
        }
    }
}

/// What may be sent to a backend.
pub(super) fn admission(
    service: &Service,
    backend: &Backend,
    orders: &Orders,
    health: &HealthTable,
    whole: Whole,
) -> BackendState {
    let id = service.backend_id(backend);
    let Standing { drained, failed } = standing(service, backend, orders, health);
    let is_drained = drained || backend.drain;
    if !failed && whole.reaches(&id, health) {
        return match is_drained {
            true => BackendState::Draining,
            // Until somebody was known to serve, it may have taken some.
            false if whole.new_ones_wait && health.is_new(&id) => BackendState::Finishing,
            false => BackendState::Up,
        };
    }
    match (failed, is_drained) {
        // What connections it has still go to where it was.
        (false, _) | (_, true) if whole.nobody_serves => BackendState::Draining,
        // Whoever drains a server closes it next, and then its checks fail while it finishes what it has.
        (false, _) | (_, true) => BackendState::Finishing,
        (true, false) => fate(service, whole.nobody_serves),
    }
}

/// What becomes of the connections of a backend that is held down.
fn fate(service: &Service, nobody_serves: bool) -> BackendState {
    match service.on_down {
        // Clients shall be told, whoever is left.
        OnDown::Reset => BackendState::Resetting,
        // While nobody serves, nobody is better than the one that has the connection: it may be the check that is wrong.
        _ if nobody_serves => BackendState::Draining,
        OnDown::Keep => BackendState::Finishing,
        OnDown::Drop => BackendState::Down,
    }
}

/// Whether any backend takes new connections.
pub(super) fn is_served(service: &Service, orders: &Orders, health: &HealthTable) -> bool {
    let whole = Whole::of(service, orders, health);
    let is_up = |backend: &Backend| admission(service, backend, orders, health, whole) == BackendState::Up;
    service.backends.iter().any(|backend| backend.weight > 0 && is_up(backend))
}

/// A backend that new connections go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving<'a> {
    pub(super) id: BackendId,
    /// See [`Service::ranked`].
    pub(super) rank: u16,
    pub(super) backend: &'a Backend,
}

/// The backends that new connections go to.
pub(super) fn serving<'a>(service: &'a Service, orders: &Orders, health: &HealthTable) -> Vec<Serving<'a>> {
    let whole = Whole::of(service, orders, health);
    let is_up = |backend: &Backend| admission(service, backend, orders, health, whole) == BackendState::Up;
    let serving = service.ranked().filter(|(_, backend)| is_up(backend));
    serving.map(|(rank, backend)| Serving { id: service.backend_id(backend), rank, backend }).collect()
}
