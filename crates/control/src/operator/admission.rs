//! What follows for a backend from all that is said of it: by the file, by orders and by health checks.

use super::health::HealthTable;
use super::orders::Orders;
use crate::config::{Backend, BackendId, Config, Initial, OnDown, Service};
use evenkeel_core::backend::{BackendState, Standing};
use std::collections::HashSet;

/// Every backend that is health checked.
pub(super) fn checked(config: &Config) -> impl Iterator<Item = BackendId> {
    config.services.iter().filter(|service| service.health.probe.is_some()).flat_map(Service::backend_ids)
}

/// What is known of a backend beside the file.
pub(super) fn standing(service: &Service, backend: &Backend, orders: &Orders, health: &HealthTable) -> Standing {
    let id = service.backend_id(backend);
    Standing { drained: orders.is_drained(&id), failed: !health.is_up(&id) }
}

/// Who is new and waits for his first good check, because others of his service take connections that are known to serve: they
/// were there before, or have had theirs.
pub(super) fn waiting<'s>(
    services: impl IntoIterator<Item = &'s Service>,
    orders: &Orders,
    health: &HealthTable,
) -> HashSet<BackendId> {
    let mut waiting = HashSet::new();
    if !health.has_new() {
        return waiting;
    }
    for service in services.into_iter().filter(|service| service.health.initial == Initial::Down) {
        let takes = |backend: &Backend| {
            let id = service.backend_id(backend);
            let may = backend.weight > 0 && !backend.drain && !orders.is_drained(&id);
            may && health.is_up(&id) && !health.is_new(&id)
        };
        if service.backends.iter().any(takes) {
            waiting.extend(service.backend_ids().filter(|backend| health.is_new(backend)));
        }
    }
    waiting
}

/// What may be sent to a backend. `waiting`: see [`waiting`].
pub(super) fn admission(
    service: &Service,
    backend: &Backend,
    orders: &Orders,
    health: &HealthTable,
    waiting: &HashSet<BackendId>,
) -> BackendState {
    let Standing { drained, failed } = standing(service, backend, orders, health);
    match (!failed, drained || backend.drain) {
        // Until somebody was known to serve, it may have taken some.
        (true, false) if waiting.contains(&service.backend_id(backend)) => BackendState::Finishing,
        (true, false) => BackendState::Up,
        (true, true) => BackendState::Draining,
        (false, true) if all_down(service, health) => BackendState::Draining,
        // Whoever drains a server closes it next, and then its checks fail while it finishes what it has.
        (false, true) => BackendState::Finishing,
        (false, false) => fate(service, health),
    }
}

/// What becomes of the connections of a backend that is held down.
fn fate(service: &Service, health: &HealthTable) -> BackendState {
    match service.on_down {
        // Clients shall be told, whoever is left.
        OnDown::Reset => BackendState::Resetting,
        // While nobody serves, nobody is better than the one that has the connection: it may be the check that is wrong.
        _ if all_down(service, health) => BackendState::Draining,
        OnDown::Keep => BackendState::Finishing,
        OnDown::Drop => BackendState::Down,
    }
}

fn all_down(service: &Service, health: &HealthTable) -> bool {
    !service.backend_ids().any(|backend| health.is_up(&backend))
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
    let waiting = waiting([service], orders, health);
    let is_up = |backend: &Backend| admission(service, backend, orders, health, &waiting) == BackendState::Up;
    let serving = service.ranked().filter(|(_, backend)| is_up(backend));
    serving.map(|(rank, backend)| Serving { id: service.backend_id(backend), rank, backend }).collect()
}
