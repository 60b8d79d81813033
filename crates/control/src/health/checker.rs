//! Who is watched: a task for each backend that shall be, for as long as it shall.

use super::attend::attend;
use super::finding::{Finding, Hindrance};
use super::pace::Pace;
use super::ports::Ports;
use super::prober::Prober;
use crate::config::{BackendId, Config, Health};
use crate::operator::{Condition, Judgement};
use crate::trouble::Troubles;
use fastrand::Rng;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
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
/// For how long the end that closes first keeps a connection's ports (TIME_WAIT; TCP_TIMEWAIT_LEN in Linux' net/tcp.h).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Ports towards a target that may be kept so: well below the 256 that there are.
const KEPT_AT_ONCE: f64 = 160.0;

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
    troubles: Troubles,
}

/// A backend that is being watched, for as long as this exists.
#[derive(Debug)]
struct Watched {
    health: Arc<Health>,
    /// See [`Ports::is_busy`].
    is_busy: Arc<AtomicBool>,
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
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { judgements, permits, watched: HashMap::new(), troubles: Troubles::default() }
    }

    /// The same, which notes there what goes wrong with itself.
    pub(crate) fn noting(self, troubles: Troubles) -> Self {
        Self { troubles, ..self }
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
        let kept_ports = kept_ports(config);
        for service in config.services.iter().filter(|service| service.health.probe.is_some()) {
            let health = Arc::new(service.health.clone());
            for backend in service.backend_ids() {
                let kept = before.remove(&backend).filter(|watched| watched.health == health);
                let watched = kept.unwrap_or_else(|| {
                    let before = is_down(&backend).then_some(Condition::Down);
                    self.start(backend, Arc::clone(&health), config.nat.check_ports(), before)
                });
                let kept = kept_ports.get(&backend.socket_address()).copied().unwrap_or_default();
                watched.is_busy.store(kept > KEPT_AT_ONCE, Ordering::Relaxed);
                self.watched.insert(backend, watched);
            }
        }
    }

    fn start(&self, backend: BackendId, health: Arc<Health>, block: (u16, u16), before: Option<Condition>) -> Watched {
        let is_busy = Arc::new(AtomicBool::new(false));
        let ports = Ports::new(block, Arc::clone(&is_busy));
        let prober = Prober::new(backend.socket_address(), Arc::clone(&health), ports, Arc::clone(&self.permits));
        let pace = Pace::new(health.interval, Rng::new());
        let (judgements, troubles) = (self.judgements.clone(), self.troubles.clone());
        let task = tokio::spawn(attend(backend, Arc::clone(&health), before, pace, judgements, async move || {
            // One check that panics is one that was not made, and not the last one.
            troubles.guard("checks", prober.check()).await.unwrap_or(Finding::NotMade(Hindrance::Fault))
        }));
        Watched { health, is_busy, task: task.abort_handle() }
    }
}

/// How many ports towards each target would be kept at a time by connections that checks have ended as they are.
fn kept_ports(config: &Config) -> HashMap<SocketAddr, f64> {
    let mut kept = HashMap::new();
    for service in config.services.iter().filter(|service| service.health.probe.is_some()) {
        let by_one = TIME_WAIT.as_secs_f64() / service.health.interval.as_secs_f64();
        for backend in service.backend_ids() {
            *kept.entry(backend.socket_address()).or_default() += by_one;
        }
    }
    kept
}
