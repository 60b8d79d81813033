//! Who is watched: a task for each check that somebody wants, for as long as he does.

use super::attend::attend;
use super::audience::{Audience, Member};
use super::finding::{Finding, Hindrance};
use super::inquiry::Inquiry;
use super::pace::Pace;
use super::ports::Ports;
use super::prober::Prober;
use super::tls::Speakers;
use crate::config::{BackendId, Config, Probe};
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
/// Backends that want the same asked, as often and as patiently, at the same address and port are judged by one check, whichever
/// services they are of; each by its own `rise` and `fall`.
#[derive(Debug)]
pub struct Checker {
    judgements: mpsc::Sender<Judgement>,
    permits: Arc<Semaphore>,
    watched: HashMap<Arc<Inquiry>, Watched>,
    speakers: Speakers,
    troubles: Troubles,
    device: Option<Arc<str>>,
}

/// A check that is being made, for as long as this exists.
#[derive(Debug)]
struct Watched {
    audience: Arc<Audience>,
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
        let (permits, speakers) = (Arc::new(Semaphore::new(AT_ONCE)), Speakers::default());
        Self { judgements, permits, watched: HashMap::new(), speakers, troubles: Troubles::default(), device: None }
    }

    /// The same, which notes there what goes wrong with itself.
    pub(crate) fn noting(self, troubles: Troubles) -> Self {
        Self { troubles, ..self }
    }

    /// Checks that begin from now on leave by this interface, whatever routes say.
    pub fn leave_by(&mut self, device: Option<Arc<str>>) {
        self.device = device;
    }

    /// Watches the backends that this configuration wants watched, and no others. `is_down` says who is held to be down
    /// already.
    ///
    /// Backends for whom the same check is wanted as before keep their state and their pace; where it is another, they begin
    /// anew. Those that are not wanted any more are left alone at once; a judgement on one of them
    /// may still be in the channel.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn watch(&mut self, config: &Config, is_down: impl Fn(&BackendId) -> bool) {
        let mut there = std::mem::take(&mut self.watched);
        let wanted = inquiries(config);
        let kept_ports = kept_ports(wanted.iter().map(|(inquiry, _)| &**inquiry));
        let new = wanted.iter().filter(|(inquiry, _)| !there.contains_key(inquiry)).count();
        let mut begun = 0;
        for (inquiry, members) in wanted {
            let watched = there.remove(&inquiry).unwrap_or_else(|| {
                begun += 1;
                self.start(&inquiry, config.nat.check_ports(), (begun - 1, new))
            });
            watched.audience.become_of(&members, |backend| is_down(backend).then_some(Condition::Down));
            let kept = kept_ports.get(&inquiry.target).copied().unwrap_or_default();
            watched.is_busy.store(kept > KEPT_AT_ONCE, Ordering::Relaxed);
            self.watched.insert(inquiry, watched);
        }
        drop(there);
        self.speakers.forget_unused();
    }

    /// Starts a check that is this one of so many that begin together.
    fn start(&mut self, inquiry: &Arc<Inquiry>, block: (u16, u16), (number, of): (usize, usize)) -> Watched {
        let is_busy = Arc::new(AtomicBool::new(false));
        let ports = Ports::new(block, Arc::clone(&is_busy)).leaving_by(self.device.clone());
        let tls = match &inquiry.probe {
            Probe::Tls(check, _) => Some(check),
            Probe::Http(check) => check.tls.as_ref(),
            _ => None,
        };
        let speaker = tls.and_then(|check| self.speakers.speaker(check));
        let prober = Prober::new(Arc::clone(inquiry), speaker, ports, Arc::clone(&self.permits));
        let mut pace = Pace::new(inquiry.interval, Rng::new());
        let wait = pace.first(number, of);
        let audience = Arc::new(Audience::default());
        let (judgements, troubles) = (self.judgements.clone(), self.troubles.clone());
        // One check that panics is one that was not made, and not the last one.
        let check =
            async move || troubles.guard("checks", prober.check()).await.unwrap_or(Finding::NotMade(Hindrance::Fault));
        let task = tokio::spawn(attend(Arc::clone(inquiry), Arc::clone(&audience), wait, pace, judgements, check));
        Watched { audience, is_busy, task: task.abort_handle() }
    }
}

/// What is to be asked, and for whom, in the order of the file.
fn inquiries(config: &Config) -> Vec<(Arc<Inquiry>, Vec<Member>)> {
    let mut places = HashMap::new();
    let mut wanted: Vec<(Arc<Inquiry>, Vec<Member>)> = Vec::new();
    for service in &config.services {
        let (rise, fall) = (service.health.rise, service.health.fall);
        for backend in &service.backends {
            let Some(inquiry) = Inquiry::of(service, backend).map(Arc::new) else { continue };
            let place = *places.entry(Arc::clone(&inquiry)).or_insert_with(|| {
                wanted.push((inquiry, Vec::new()));
                wanted.len() - 1
            });
            wanted[place].1.push(Member { backend: service.backend_id(backend), rise, fall });
        }
    }
    wanted
}

/// How many ports towards each target would be kept at a time by connections that checks have ended as they are.
fn kept_ports<'i>(inquiries: impl Iterator<Item = &'i Inquiry>) -> HashMap<SocketAddr, f64> {
    let mut kept = HashMap::new();
    for inquiry in inquiries {
        let by_one = TIME_WAIT.as_secs_f64() / inquiry.interval.as_secs_f64();
        *kept.entry(inquiry.target).or_default() += by_one;
    }
    kept
}
