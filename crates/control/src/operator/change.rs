//! What another configuration changes about a service.

use super::admission::Serving;
use crate::config::Service;
use crate::maglev::{self, Candidate};
use evenkeel_core::BackendRef;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What a configuration would change about one service. Connections that are there stay where they are, whatever it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The service.
    pub service: String,
    /// What happens to it.
    pub what: String,
    /// The share of *new* connections, of 1, that would go to another backend than they would have gone to before.
    pub moved_share: f64,
    /// Connections to backends that would be drained.
    pub draining_flows: u64,
}

/// What becomes of a service, in words for people.
pub(super) fn describe(old: &Service, new: &Service) -> String {
    let (before, after): (HashSet<_>, HashSet<_>) = (old.backend_ids().collect(), new.backend_ids().collect());
    let mut parts = Vec::new();
    match after.difference(&before).count() {
        0 => {}
        1 => parts.push("1 backend added".to_owned()),
        more => parts.push(format!("{more} backends added")),
    }
    match before.difference(&after).count() {
        0 => {}
        1 => parts.push("1 backend removed".to_owned()),
        more => parts.push(format!("{more} backends removed")),
    }
    if parts.is_empty() {
        parts.push("settings changed".to_owned());
    }
    parts.join(", ")
}

/// The share of a Maglev table's slots that change hands.
pub(super) fn moved_share(old: &[Serving<'_>], new: &[Serving<'_>]) -> f64 {
    // Places in the plane have no say in which slots a backend gets, so any will do, as long as both tables agree; and so
    // will any secret.
    let mut numbers: HashMap<_, u16> = HashMap::new();
    let mut slots = |backends: &[Serving<'_>]| {
        let candidates: Vec<_> = backends
            .iter()
            .map(|&Serving { id, rank, backend }| {
                let next = numbers.len() as u16;
                let index = *numbers.entry(id).or_insert(next);
                let reference = BackendRef { index, generation: 1 };
                Candidate { address: backend.address, rank, weight: backend.weight, reference }
            })
            .collect();
        maglev::table(&candidates, &[0, 0])
    };
    let (before, after) = (slots(old), slots(new));
    before.iter().zip(&after).filter(|(before, after)| before != after).count() as f64 / before.len() as f64
}
