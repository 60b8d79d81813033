//! A balancer at work, whatever its plane: questions answered, health noted, the file read again, the tables kept tidy.
//!
//! The plane's own loop owns a [`Daemon`] and takes [`Daemon::turn`] after turn beside what is its own to do.

use crate::api::{self, SocketError};
use crate::beside::Beside;
use crate::census::Walker;
use crate::config::Config;
use crate::health::CheckerThread;
use crate::operator::{self, Change, Inbox, Judgement, Note, Operator};
use crate::plane::Plane;
use crate::trouble::{Trouble, Troubles};
use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

/// How often it is looked whether a drain's time is over.
const SECOND: Duration = Duration::from_secs(1);
/// How often abandoned flow entries are looked for.
const TIDY: Duration = Duration::from_secs(60);
/// How little of the CPU the answers to monitoring want where others want it too (nice(2)).
const METRICS_NICENESS: i32 = 10;
/// How many times as long as it took is waited before what follows from ways is put in force again: when many backends are
/// found one after the other, that takes a tenth of the time.
const REST: u32 = 10;
/// Judgements that may wait.
const JUDGEMENTS: usize = 1024;

/// Why a daemon could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No place for Prometheus.
    #[error("cannot listen for Prometheus at {address} ({source}): choose another [metrics] listen.")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No threads.
    #[error("cannot have a thread for {what}: {source}.")]
    Thread {
        /// What it is for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No signals.
    #[error("cannot wait for signals: {0}.")]
    Signals(io::Error),
}

/// What a turn was about.
#[derive(Debug)]
pub enum Turn {
    /// A question was answered; it may have been an order, so backends and addresses may be others now.
    Answered,
    /// The file was read again, by order or because of SIGHUP: what that changes, or why it does not.
    Reloaded(Result<Vec<Change>, String>),
    /// Health checks have turned.
    Judged(Vec<Judgement>),
    /// What follows from the ways that were noted is in force.
    Settled,
    /// Housekeeping, and what there is to say of what could not be done and is tried again, in sentences.
    Tidied(Vec<String>),
}

/// A balancer, and everybody who has something to say to it.
#[expect(missing_debug_implementations, reason = "questions are functions")]
pub struct Daemon<P> {
    operator: Operator<P>,
    inbox: Inbox<P>,
    checker: CheckerThread,
    /// For another checker, and so that there is always somebody who may judge.
    judges: mpsc::Sender<Judgement>,
    troubles: Troubles,
    walker: Walker,
    /// Whether places of backends without connections are to be given up at the next count.
    is_untidy: bool,
    judgements: mpsc::Receiver<Judgement>,
    /// Those that have been taken in and not been noted.
    news: Vec<Judgement>,
    hangup: Signal,
    user_defined: [Signal; 2],
    second: Interval,
    tidy: Interval,
    /// Servers, which end with this.
    metrics: Option<(Beside, SocketAddr, Router)>,
    /// What is answered over the socket.
    router: Router,
    api: Option<AbortHandle>,
    socket: Option<PathBuf>,
    /// What the checker was told last.
    checked: Option<Config>,
    /// When what follows from ways may be put in force next.
    settle_from: tokio::time::Instant,
}

impl<P: Plane + 'static> Daemon<P> {
    /// Begins: health checks, the socket if there is to be one, and what the configuration says of metrics. To be called
    /// within a runtime.
    ///
    /// # Errors
    /// Something of this cannot be had.
    pub async fn begin(mut operator: Operator<P>, socket: Option<&Path>) -> Result<Self, DaemonError> {
        raise_descriptors();
        let troubles = operator.share_troubles();
        let table = operator.balancer().plane().flow_walk();
        let walker = Walker::begin(table, troubles.clone()).map_err(no_thread("the flow table"))?;
        operator.count_by(walker.counts().clone());
        let (handle, inbox) = operator::handle();
        let (router, metrics_router) = api::routers(handle.counting_by(walker.counts().clone()));
        let (sender, judgements) = mpsc::channel(JUDGEMENTS);
        let metrics = match operator.config().metrics.listen {
            Some(address) => {
                let served = serve_metrics(address, metrics_router.clone(), troubles.clone()).await?;
                Some((served, address, metrics_router))
            }
            None => None,
        };
        let mut daemon = Self {
            operator,
            inbox,
            checker: begin_checks(sender.clone(), troubles.clone())?,
            judges: sender,
            troubles,
            walker,
            is_untidy: false,
            judgements,
            news: Vec::new(),
            hangup: signal(SignalKind::hangup()).map_err(DaemonError::Signals)?,
            user_defined: [
                signal(SignalKind::user_defined1()).map_err(DaemonError::Signals)?,
                signal(SignalKind::user_defined2()).map_err(DaemonError::Signals)?,
            ],
            second: every(SECOND),
            tidy: every(TIDY),
            metrics,
            router,
            api: None,
            socket: None,
            checked: None,
            settle_from: tokio::time::Instant::now(),
        };
        if let Some(path) = socket {
            daemon.answer_at(path)?;
        }
        daemon.watch();
        Ok(daemon)
    }

    /// Begins to answer questions at this path, if it does so nowhere yet. To be called within a runtime.
    ///
    /// # Errors
    /// The socket cannot be had; somebody else may have it.
    pub fn answer_at(&mut self, path: &Path) -> Result<(), SocketError> {
        if self.api.is_none() {
            let serve = api::serve_unix(api::listen(path)?, self.router.clone(), self.troubles.clone());
            self.api = Some(tokio::spawn(serve).abort_handle());
            self.socket = Some(path.to_owned());
        }
        Ok(())
    }

    /// Tells systemd that the balancer balances (sd_notify(3)); from now on the watchdog is kept quiet by every turn of a
    /// second. Nothing happens where no systemd waits for it.
    pub fn is_ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// The operator.
    pub fn operator(&self) -> &Operator<P> {
        &self.operator
    }

    /// The operator, for what the plane has to say.
    pub fn operator_mut(&mut self) -> &mut Operator<P> {
        &mut self.operator
    }

    /// What has happened since this was asked last, for the log. To be asked after every turn.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.operator.take_notes()
    }

    /// Waits for the next thing to do, and does it. What cannot be done is noted, and tried again: nothing of it is a reason to
    /// end.
    pub async fn turn(&mut self) -> Turn {
        let [first, second] = &mut self.user_defined;
        tokio::select! {
            question = self.inbox.next() => {
                // Whoever asks what nobody has thought of shall not end the balancer.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| question(&mut self.operator))) {
                    self.troubles.note_panic("questions", &*panic);
                    self.operator.doubt();
                }
                self.watch();
                self.operator.take_reloaded().map_or(Turn::Answered, Turn::Reloaded)
            }
            _ = self.judgements.recv_many(&mut self.news, JUDGEMENTS) => {
                let judgements = std::mem::take(&mut self.news);
                if let Err(error) = self.operator.judge(&judgements) {
                    self.operator.failed(&error);
                }
                Turn::Judged(judgements)
            }
            () = sleep_until(self.settle_from), if self.operator.is_unsettled() => {
                let begun = tokio::time::Instant::now();
                if let Err(error) = self.operator.settle() {
                    self.operator.failed(&error);
                }
                let end = tokio::time::Instant::now();
                self.settle_from = end + (end - begun) * REST;
                Turn::Settled
            }
            _ = self.hangup.recv() => {
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    notify(&[NotifyState::Reloading, now]);
                }
                // What comes of it is for the log: nobody waits for an answer.
                let _ = self.operator.reload_by(Some("SIGHUP".to_owned()));
                self.watch();
                notify(&[NotifyState::Ready]);
                self.operator.take_reloaded().map_or(Turn::Answered, Turn::Reloaded)
            }
            // Without somebody who listens these would end us.
            _ = first.recv() => {
                if let Err(error) = self.operator.sum_up("SIGUSR1") {
                    self.operator.failed(&error);
                }
                Turn::Answered
            }
            _ = second.recv() => {
                self.operator.notes.push(Note::Ignored { signal: "SIGUSR2" });
                Turn::Answered
            }
            _ = self.second.tick() => {
                notify(&[NotifyState::Watchdog]);
                self.operator.catch_up();
                if let Err(error) = self.operator.balancer_mut().end_overdue(Instant::now()) {
                    self.operator.failed(&error);
                }
                self.revive().await;
                let is_behind = self.operator.is_behind();
                Turn::Tidied(self.troubles.tell(|trouble| trouble != Trouble::Tables || !is_behind))
            }
            _ = self.tidy.tick() => {
                self.walker.sweep();
                self.is_untidy = true;
                Turn::Tidied(Vec::new())
            }
            () = self.walker.news(), if self.is_untidy => {
                let freed = self.operator.balancer_mut().free_unused(&self.walker.counts().latest());
                self.is_untidy = freed.is_err();
                if let Err(error) = freed {
                    self.operator.failed(&error);
                }
                Turn::Tidied(Vec::new())
            }
        }
    }

    /// Begins threads again that have ended, as they do when they panic.
    async fn revive(&mut self) {
        if self.checker.has_ended()
            && let Ok(checker) = begin_checks(self.judges.clone(), self.troubles.clone())
        {
            self.checker = checker;
            self.checked = None;
            self.watch();
        }
        if let Some((served, address, router)) = &mut self.metrics
            && served.has_ended()
            && let Ok(again) = serve_metrics(*address, router.clone(), self.troubles.clone()).await
        {
            *served = again;
        }
    }

    /// Tells the checker whom to watch, if that may have changed.
    fn watch(&mut self) {
        if self.checked.as_ref() != Some(self.operator.config()) {
            self.checker
                .watch(self.operator.config(), self.operator.check_device(), |backend| !self.operator.is_up(backend));
            self.checked = Some(self.operator.config().clone());
        }
    }
}

/// Serves what monitoring may ask, on a thread of its own: anybody may ask.
async fn serve_metrics(address: SocketAddr, router: Router, troubles: Troubles) -> Result<Beside, DaemonError> {
    let no_place = |source| DaemonError::Metrics { address, source };
    // Whoever waits for it to be taken is in the kernel until then.
    let listener = TcpListener::bind(address).await.and_then(TcpListener::into_std).map_err(no_place)?;
    let noted = troubles.clone();
    let serve = move || async move {
        // It was one of tokio's a moment ago.
        if let Ok(listener) = TcpListener::from_std(listener) {
            api::serve_tcp(listener, router, noted).await;
        }
    };
    Beside::begin("metrics", METRICS_NICENESS, troubles, serve).map_err(no_thread("metrics"))
}

fn begin_checks(judges: mpsc::Sender<Judgement>, troubles: Troubles) -> Result<CheckerThread, DaemonError> {
    CheckerThread::begin(judges, troubles).map_err(no_thread("health checks"))
}

/// Allows this process as many descriptors as whoever has started it lets it have: each check and each question wants one.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Whoever forbids it has fewer.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn no_thread(what: &'static str) -> impl Fn(io::Error) -> DaemonError {
    move |source| DaemonError::Thread { what, source }
}

/// If systemd has gone away meanwhile, there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

impl<P> Drop for Daemon<P> {
    fn drop(&mut self) {
        notify(&[NotifyState::Stopping]);
        self.metrics = None;
        if let Some(api) = &self.api {
            api.abort();
        }
        if let Some(path) = &self.socket {
            // If it is gone already, all the better.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Ticks this far apart, the first one at once; those that were missed are not made up for.
pub fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
