//! What health checks have found, by backend.

use super::ways::{Leads, Way, Ways};
use crate::config::BackendId;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
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

/// The last judgement on each backend, who is new and waits for his first, and whether packets find the way.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthTable {
    judged: HashMap<BackendId, Judgement>,
    new: HashSet<BackendId>,
    ways: Ways,
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

    /// Takes what was found out about the way to a backend's address; returns whether that may change who gets connections.
    pub(super) fn note_way(&mut self, address: IpAddr, way: Way) -> bool {
        self.ways.note(address, way)
    }

    /// Whether packets get to a backend.
    pub(super) fn leads(&self, backend: &BackendId) -> Leads {
        self.ways.leads(backend.address)
    }

    /// What is the matter with the way to a backend; nothing if nothing is, as far as is known.
    pub(super) fn trouble(&self, backend: &BackendId) -> Option<&Way> {
        self.ways.get(backend.address).filter(|way| way.code().is_some())
    }

    /// Forgets the ways to addresses that nobody has any more.
    pub(super) fn keep_ways(&mut self, wanted: &HashSet<IpAddr>) {
        self.ways.keep(|address| wanted.contains(address));
    }
}
