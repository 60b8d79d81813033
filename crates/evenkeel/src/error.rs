//! How a command fails.

use evenkeel_control::api::ClientError;
use evenkeel_control::daemon::DaemonError;
use evenkeel_control::{BalancerError, ConfigError};
use evenkeel_daemon::Refusal;
use evenkeel_xdp::XdpError;
use std::process::ExitCode;

/// Why a command failed: one sentence for people.
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
    #[error("cannot set up {what}: {reason}")]
    Host {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The interface's Ethernet address changed while we were at work.
    #[error("{0} has another Ethernet address now, which the program does not know; it is detached: start again.")]
    MacChanged(String),
    /// The interface went away while we were at work.
    #[error("{0} is gone, and with it the program: start again when it is back.")]
    InterfaceGone(String),
}

impl Failure {
    /// 2 for what the user should have said otherwise, 1 for everything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::NoInterface => ExitCode::from(2),
            _ => ExitCode::FAILURE,
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
