//! What health checks have found, by backend.

use crate::config::BackendId;
use std::collections::{HashMap, HashSet};
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

/// The last judgement on each backend, and who is new and waits for his first.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthTable {
    judged: HashMap<BackendId, Judgement>,
    new: HashSet<BackendId>,
}

impl HealthTable {
    /// Takes a judgement; returns whether it turns the one before, or is the first on one who is new.
    pub(super) fn note(&mut self, judgement: Judgement) -> bool {
        let was_up = self.is_up(&judgement.backend);
        let was_new = self.new.remove(&judgement.backend);
        let is_up = judgement.condition == Condition::Up;
        self.judged.insert(judgement.backend, judgement);
        was_up != is_up || was_new
    }

    /// Notes that a backend is new: nothing is known of it until it is judged.
    pub(super) fn expect(&mut self, backend: BackendId) {
        self.judged.remove(&backend);
        self.new.insert(backend);
    }

    /// Whether a backend is new and has not been judged.
    pub(super) fn is_new(&self, backend: &BackendId) -> bool {
        self.new.contains(backend)
    }

    /// Whether anybody is.
    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Whether new connections may go there. Who has not been judged yet is taken to serve.
    pub(super) fn is_up(&self, backend: &BackendId) -> bool {
        self.judged.get(backend).is_none_or(|judgement| judgement.condition == Condition::Up)
    }

    pub(super) fn get(&self, backend: &BackendId) -> Option<&Judgement> {
        self.judged.get(backend)
    }

    /// Forgets those that are not wanted any more: if they come back they begin anew.
    pub(super) fn keep(&mut self, wanted: impl Fn(&BackendId) -> bool) {
        self.judged.retain(|backend, _| wanted(backend));
        self.new.retain(wanted);
    }
}
