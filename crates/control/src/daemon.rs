//! A balancer at work, whatever its plane: questions answered, health noted, the file read again, the tables kept tidy.
//!
//! The plane's own loop owns a [`Daemon`] and takes [`Daemon::turn`] after turn beside what is its own to do.

use crate::api::{self, SocketError};
use crate::balancer::BalancerError;
use crate::config::Config;
use crate::health::Checker;
use crate::operator::{self, Change, Inbox, Judgement, Operator};
use crate::plane::Plane;
use sd_notify::NotifyState;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often it is looked whether a drain's time is over.
const SECOND: Duration = Duration::from_secs(1);
/// How often abandoned flow entries are looked for.
const TIDY: Duration = Duration::from_secs(60);
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
    /// Housekeeping.
    Tidied,
}

/// A balancer, and everybody who has something to say to it.
#[expect(missing_debug_implementations, reason = "questions are functions")]
pub struct Daemon<P> {
    operator: Operator<P>,
    inbox: Inbox<P>,
    checker: Checker,
    judgements: mpsc::Receiver<Judgement>,
    /// Those that have been taken in and not been noted.
    news: Vec<Judgement>,
    hangup: Signal,
    second: Interval,
    tidy: Interval,
    /// Servers, which end with this.
    servers: Vec<AbortHandle>,
    socket: Option<PathBuf>,
    /// What the checker was told last.
    checked: Option<Config>,
}

impl<P: Plane + 'static> Daemon<P> {
    /// Begins: health checks, the socket if there is to be one, and what the configuration says of metrics. To be called
    /// within a runtime.
    ///
    /// # Errors
    /// Something of this cannot be had.
    pub async fn begin(operator: Operator<P>, socket: Option<&Path>) -> Result<Self, DaemonError> {
        let (handle, inbox) = operator::handle();
        let (sender, judgements) = mpsc::channel(JUDGEMENTS);
        let mut servers = Vec::new();
        if let Some(address) = operator.config().metrics.listen {
            let listener =
                TcpListener::bind(address).await.map_err(|source| DaemonError::Metrics { address, source })?;
            let router = api::metrics_router(handle.clone());
            servers.push(tokio::spawn(api::serve_tcp(listener, router)).abort_handle());
        }
        if let Some(path) = socket {
            let listener = api::listen(path)?;
            servers.push(tokio::spawn(api::serve_unix(listener, api::router(handle))).abort_handle());
        }
        let mut daemon = Self {
            operator,
            inbox,
            checker: Checker::new(sender),
            judgements,
            news: Vec::new(),
            hangup: signal(SignalKind::hangup()).map_err(DaemonError::Signals)?,
            second: every(SECOND),
            tidy: every(TIDY),
            servers,
            socket: socket.map(Path::to_owned),
            checked: None,
        };
        daemon.watch();
        Ok(daemon)
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

    /// Waits for the next thing to do, and does it.
    ///
    /// # Errors
    /// A table could not be changed.
    pub async fn turn(&mut self) -> Result<Turn, BalancerError<P::Error>> {
        tokio::select! {
            question = self.inbox.next() => {
                question(&mut self.operator);
                self.watch();
                Ok(self.operator.take_reloaded().map_or(Turn::Answered, Turn::Reloaded))
            }
            _ = self.judgements.recv_many(&mut self.news, JUDGEMENTS) => {
                let judgements = std::mem::take(&mut self.news);
                self.operator.judge(&judgements)?;
                Ok(Turn::Judged(judgements))
            }
            _ = self.hangup.recv() => {
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    notify(&[NotifyState::Reloading, now]);
                }
                // What comes of it is for the log: nobody waits for an answer.
                let _ = self.operator.reload();
                self.watch();
                notify(&[NotifyState::Ready]);
                Ok(self.operator.take_reloaded().map_or(Turn::Answered, Turn::Reloaded))
            }
            _ = self.second.tick() => {
                notify(&[NotifyState::Watchdog]);
                self.operator.balancer_mut().end_overdue(Instant::now())?;
                Ok(Turn::Tidied)
            }
            _ = self.tidy.tick() => {
                self.operator.balancer_mut().tidy()?;
                Ok(Turn::Tidied)
            }
        }
    }

    /// Tells the checker whom to watch, if that may have changed.
    fn watch(&mut self) {
        if self.checked.as_ref() != Some(self.operator.config()) {
            self.checker.watch(self.operator.config(), |backend| !self.operator.is_up(backend));
            self.checked = Some(self.operator.config().clone());
        }
    }
}

/// If systemd has gone away meanwhile, there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

impl<P> Drop for Daemon<P> {
    fn drop(&mut self) {
        notify(&[NotifyState::Stopping]);
        self.servers.iter().for_each(AbortHandle::abort);
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
