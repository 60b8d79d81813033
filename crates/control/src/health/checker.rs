//! Who is watched: a task for each backend that shall be, for as long as it shall.

use super::attend::attend;
use super::pace::Pace;
use super::prober::Prober;
use crate::config::{BackendId, Config, Health};
use crate::operator::{Condition, Judgement};
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// How many checks may be under way at once. Each has a descriptor, of which a process may have 1,024 open if nobody
/// has allowed it more, and the rest of the program needs some too.
///
/// Backends that answer, or refuse, do so within milliseconds: tens of thousands of them need no more than a few dozen
/// of these. One that is silent keeps its check for the whole timeout. When so many are silent at the same time that
/// others have to wait, all checks come later, in the order in which they were due; waiting is never taken for a
/// failure.
const AT_ONCE: usize = 800;

/// Asks backends whether they serve.
///
/// A backend begins as taken to serve, without a judgement, unless it is known to be down. Its first success is told at
/// once; `fall` failures in a row bring it down, and `rise` successes in a row up again. A judgement is sent when the
/// condition turns, and when it stands but has come to have another kind of reason; not for each check.
///
/// From a backend's end to the judgement it takes no longer than `fall` intervals and one timeout, and from its return
/// no longer than `rise` intervals and one timeout, provided that no more than 800 checks have to be under way at once.
///
/// Backends of UDP services are asked over TCP too, at the port of the same number: there is no question that every UDP
/// server would answer.
#[derive(Debug)]
pub struct Checker {
    judgements: mpsc::Sender<Judgement>,
    permits: Arc<Semaphore>,
    watched: HashMap<BackendId, Watched>,
}

/// A backend that is being watched, for as long as this exists.
#[derive(Debug)]
struct Watched {
    health: Arc<Health>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checker {
    /// A checker that watches nobody yet, and will tell what it finds by this channel. While the channel is full, those
    /// who have something to tell wait with their next check. Once nobody listens any more, checks end.
    pub fn new(judgements: mpsc::Sender<Judgement>) -> Self {
        Self { judgements, permits: Arc::new(Semaphore::new(AT_ONCE)), watched: HashMap::new() }
    }

    /// Watches the backends that this configuration wants watched, and no others. `is_down` says who is held to be down
    /// already.
    ///
    /// Backends whose service asks for the same check as before keep their state and their pace; where the check is
    /// another, they begin anew. Those that are not wanted any more are left alone at once; a judgement on one of them
    /// may still be in the channel.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn watch(&mut self, config: &Config, is_down: impl Fn(&BackendId) -> bool) {
        let mut before = std::mem::take(&mut self.watched);
        for service in config.services.iter().filter(|service| service.health.probe.is_some()) {
            let health = Arc::new(service.health.clone());
            for backend in service.backend_ids() {
                let kept = before.remove(&backend).filter(|watched| watched.health == health);
                let watched = kept.unwrap_or_else(|| {
                    let before = is_down(&backend).then_some(Condition::Down);
                    self.start(backend, Arc::clone(&health), before)
                });
                self.watched.insert(backend, watched);
            }
        }
    }

    fn start(&self, backend: BackendId, health: Arc<Health>, before: Option<Condition>) -> Watched {
        let prober = Prober::new(backend.socket_address(), Arc::clone(&health), Arc::clone(&self.permits));
        let pace = Pace::new(health.interval, Rng::new());
        let judgements = self.judgements.clone();
        let task = tokio::spawn(attend(backend, Arc::clone(&health), before, pace, judgements, async move || {
            prober.check().await
        }));
        Watched { health, task: task.abort_handle() }
    }
}
