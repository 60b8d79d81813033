//! What health checks have found, by backend.

use crate::config::BackendId;
use std::collections::HashMap;
use std::time::SystemTime;

/// Whether a backend serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// What was found out about a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which backend.
    pub backend: BackendId,
    /// Whether it serves.
    pub condition: Condition,
    /// Why, in words for people, such as "connection refused".
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// The last judgement on each backend.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthTable(HashMap<BackendId, Judgement>);

impl HealthTable {
    /// Takes a judgement; returns whether it turns the one before.
    pub(super) fn note(&mut self, judgement: Judgement) -> bool {
        let was_up = self.is_up(&judgement.backend);
        let is_up = judgement.condition == Condition::Up;
        self.0.insert(judgement.backend, judgement);
        was_up != is_up
    }

    /// Whether new connections may go there. Who has not been judged yet is taken to serve.
    pub(super) fn is_up(&self, backend: &BackendId) -> bool {
        self.0.get(backend).is_none_or(|judgement| judgement.condition == Condition::Up)
    }

    pub(super) fn get(&self, backend: &BackendId) -> Option<&Judgement> {
        self.0.get(backend)
    }

    /// Forgets those that are not wanted any more: if they come back they begin anew.
    pub(super) fn keep(&mut self, wanted: impl Fn(&BackendId) -> bool) {
        self.0.retain(|backend, _| wanted(backend));
    }
}
