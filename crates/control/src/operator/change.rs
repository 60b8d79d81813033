//! What another configuration changes about a service.

use super::admission::Serving;
use crate::config::{Backend, BackendId, Service};
use crate::maglev::{self, Candidate};
use evenkeel_core::BackendRef;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What a configuration would change about one service, or about the plane. Connections that are there stay where they are, whatever it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The service, or [`Change::DATAPLANE`].
    pub service: String,
    /// What happens to it.
    pub what: String,
    /// The share of *new* connections, of 1, that would go to another backend than they would have gone to before. None of
    /// those of a service that is removed: nobody takes them.
    pub moved_share: f64,
    /// Connections to backends that would be drained, without those that have ended.
    pub draining_flows: u64,
}

impl Change {
    /// What stands for the service in a change of none, but of the section that says how the plane is made.
    pub const DATAPLANE: &str = "[dataplane]";
}

/// Backends of which it is told in which way they change; of more it is said how many.
const TOLD: usize = 3;

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
    let known: HashMap<_, _> = old.backend_ids().zip(&old.backends).collect();
    let changed: Vec<_> = new
        .backend_ids()
        .zip(&new.backends)
        .flat_map(|(id, backend)| known.get(&id).into_iter().flat_map(move |old| describe_backend(&id, old, backend)))
        .collect();
    parts.extend(changed.iter().take(TOLD).cloned());
    if changed.len() > TOLD {
        parts.push(format!("{} more changes of backends", changed.len() - TOLD));
    }
    let settings = changed_settings(old, new);
    if !settings.is_empty() {
        parts.push(format!("changed: {}", settings.join(", ")));
    }
    if parts.is_empty() {
        parts.push("backends in another order".to_owned());
    }
    parts.join(", ")
}

fn describe_backend(id: &BackendId, old: &Backend, new: &Backend) -> Vec<String> {
    let mut parts = Vec::new();
    if old.weight != new.weight {
        parts.push(format!("weight of {id} from {} to {}", old.weight, new.weight));
    }
    match (old.drain, new.drain) {
        (false, true) => parts.push(format!("{id} drained")),
        (true, false) => parts.push(format!("{id} not drained any more")),
        _ => {}
    }
    parts
}

/// The keys of a service whose values are others, as the file calls them.
fn changed_settings(old: &Service, new: &Service) -> Vec<&'static str> {
    // Whoever adds a key is asked by the compiler what is to be told of it.
    let Service {
        name,
        address: _,
        port: _,
        last_port,
        protocol: _,
        forward,
        affinity,
        health,
        all_down,
        on_missing,
        on_down,
        idle,
        drain_time,
        newcomers,
        reply,
        backends: _,
    } = new;
    let changed = [
        ("name", old.name != *name),
        ("forward", old.forward != *forward),
        ("affinity", old.affinity != *affinity),
        ("health", old.health != *health),
        ("all-down", old.all_down != *all_down),
        ("on-missing", old.on_missing != *on_missing),
        ("on-down", old.on_down != *on_down),
        ("idle", old.idle != *idle),
        ("drain-time", old.drain_time != *drain_time),
        ("newcomers", old.newcomers != *newcomers),
        ("reply", old.reply != *reply),
        ("port", old.last_port != *last_port),
    ];
    changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}

/// The share, of 1, of new connections that go to another backend than before.
pub(super) fn moved_share((old, before): (&Service, &[Serving<'_>]), (new, after): (&Service, &[Serving<'_>])) -> f64 {
    if old.affinity == new.affinity {
        return moved_slots(before, after);
    }
    // Another number decides, and so each falls anew: those stay that fall to the same one by chance.
    let (before, after) = (shares(before), shares(after));
    1.0 - before.iter().map(|(id, share)| share * after.get(id).copied().unwrap_or_default()).sum::<f64>()
}

/// Each backend's share of new connections.
fn shares(serving: &[Serving<'_>]) -> HashMap<BackendId, f64> {
    let weight = |serving: &Serving<'_>| f64::from(serving.backend.weight);
    let all: f64 = serving.iter().map(weight).sum();
    // Where nobody takes any, none goes anywhere.
    serving.iter().filter(|_| all > 0.0).map(|serving| (serving.id, weight(serving) / all)).collect()
}

/// The share of a Maglev table's slots that change hands.
fn moved_slots(old: &[Serving<'_>], new: &[Serving<'_>]) -> f64 {
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
