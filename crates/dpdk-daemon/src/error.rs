//! How the program fails.

use evenkeel_control::daemon::DaemonError;
use evenkeel_control::{BalancerError, ConfigError};
use evenkeel_daemon::{Ending, Refusal, SetupError};
use evenkeel_dpdk::{DpdkError, PlaneError};

/// Why the program failed: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense, or asks for help.
    #[error(transparent)]
    Refused(#[from] Refusal),
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
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl Failure {
    /// What it is for whoever called the program.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Refused(refusal) => refusal.ending(),
            Self::Config(_) => Ending::Usage,
            Self::Dpdk(error) if error.is_usage() => Ending::Usage,
            _ => Ending::Failed,
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Refusal::from(error).into()
    }
}
