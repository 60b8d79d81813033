//! How a command fails.

use evenkeel_control::api::ClientError;
use evenkeel_control::daemon::DaemonError;
use evenkeel_control::{BalancerError, ConfigError};
use evenkeel_daemon::{Ending, Refusal, SetupError};
use evenkeel_xdp::XdpError;

/// Why a command failed: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense, or asks for help.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody said which interface.
    #[error("no interface: name one with --interface, or in the file's [dataplane] section.")]
    NoInterface,
    /// The plane cannot do it.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// No socket, or no place for Prometheus.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The tables cannot be made.
    #[error(transparent)]
    Balancer(#[from] BalancerError<XdpError>),
    /// No answer from a running balancer, or a refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The host lacks something basic.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The interface's Ethernet address changed while we were at work.
    #[error("{0} has another Ethernet address now, which the program does not know; it is detached: start again.")]
    MacChanged(String),
    /// The interface went away while we were at work.
    #[error("{0} is gone, and with it the program: start again when it is back.")]
    InterfaceGone(String),
}

impl Failure {
    /// What it is for whoever called the command.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Refused(refusal) => refusal.ending(),
            Self::Config(_) | Self::NoInterface => Ending::Usage,
            _ => Ending::Failed,
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Refusal::from(error).into()
    }
}
