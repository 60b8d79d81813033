//! Checks on a thread of their own: whatever else the control side is at, no check comes later for it.

use super::checker::Checker;
use crate::beside::Beside;
use crate::config::{BackendId, Config};
use crate::operator::Judgement;
use crate::trouble::Troubles;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A [`Checker`] on a thread of its own.
#[derive(Debug)]
pub struct CheckerThread {
    wanted: mpsc::UnboundedSender<Wanted>,
    thread: Beside,
}

/// Whom to watch.
#[derive(Debug)]
struct Wanted {
    config: Config,
    down: HashSet<BackendId>,
    device: Option<Arc<str>>,
}

impl CheckerThread {
    /// One that watches nobody yet. See [`Checker::new`].
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn begin(judgements: mpsc::Sender<Judgement>, troubles: Troubles) -> io::Result<Self> {
        let (wanted, mut told) = mpsc::unbounded_channel::<Wanted>();
        let noted = troubles.clone();
        allow_descriptors();
        let thread = Beside::begin("checks", 0, troubles, || async move {
            let mut checker = Checker::new(judgements).noting(noted);
            while let Some(Wanted { config, down, device }) = told.recv().await {
                checker.leave_by(device);
                checker.watch(&config, |backend| down.contains(backend));
            }
        })?;
        Ok(Self { wanted, thread })
    }

    /// Whether the thread has ended, as it does when it panics.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Watches the backends that this configuration wants watched, and no others, from as soon as the thread comes to it. See
    /// [`Checker::watch`]; checks that begin leave by this interface, or as routes say.
    pub fn watch(&self, config: &Config, device: Option<Arc<str>>, is_down: impl Fn(&BackendId) -> bool) {
        let down = config.backend_ids().filter(|backend| is_down(backend)).collect();
        // If the thread has panicked, another one will be told.
        let _ = self.wanted.send(Wanted { config: config.clone(), down, device });
    }
}

/// Descriptors that a process with many checks may want.
const DESCRIPTORS: u64 = 65536;

/// Lets the process have as many descriptors as it may, up to what checks can want. Most are started with 1,024, which is all that
/// select(2) can take, and nobody here uses that.
fn allow_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < wanted) {
        // Then checks go on within the limit that there is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
