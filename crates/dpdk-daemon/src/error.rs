//! How the program fails.

use evenkeel_control::daemon::DaemonError;
use evenkeel_control::{BalancerError, ConfigError};
use evenkeel_daemon::Refusal;
use evenkeel_dpdk::{DpdkError, PlaneError};

/// Why the program failed: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// `--help` or `--version`: not a failure, but the end.
    #[error("{0}")]
    Asked(String),
    /// The command line makes no sense.
    #[error("{0}; see --help.")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// DPDK cannot do it.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// No socket, or no place for Prometheus.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The tables cannot be made.
    #[error(transparent)]
    Balancer(#[from] BalancerError<PlaneError>),
    /// Another balancer works there.
    #[error("evenkeel already runs on {0}: stop that one first.")]
    Running(String),
    /// The kernel's interface behind the port has been removed.
    #[error("the network interface behind {0} is gone: start again when it is back.")]
    Gone(String),
    /// The host lacks something basic.
    #[error("cannot set up {what}: {reason}.")]
    Host {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// 2 for what the user should have said otherwise, 1 for everything else.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Dpdk(error) if error.is_usage() => 2,
            _ => 1,
        }
    }

    /// For errors of the system under a name.
    pub(crate) fn host<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Host { what, reason: error.to_string() }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        match Refusal::from(error) {
            Refusal::Asked(text) => Self::Asked(text),
            Refusal::Wrong(sentence) => Self::Usage(sentence),
        }
    }
}
