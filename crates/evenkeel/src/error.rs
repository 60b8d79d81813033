//! How a command fails.

use evenkeel_control::ConfigError;
use evenkeel_control::api::ClientError;
use evenkeel_daemon::{Ending, Refusal, SetupError};
use evenkeel_xdp_daemon::{Mode, RunError};
use std::path::PathBuf;

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
    /// The balancer cannot go on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Nobody answers, but somebody has left a program that balances by itself.
    #[error(
        "no evenkeel answers at {path}, but its program is still at work on {interface} ({mode} XDP), as it was left by --keep or a \
         kill: it balances on, without health checks and onto the backends as they were; `evenkeel run` takes it over, and `ip link \
         set dev {interface} {off} off` ends it.",
        path = path.display(),
        off = mode.ip_link_word()
    )]
    LeftAtWork {
        /// Where nobody answers.
        path: PathBuf,
        /// The interface.
        interface: String,
        /// Where it runs.
        mode: Mode,
    },
    /// No answer from a running balancer, or a refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The host lacks something basic.
    #[error(transparent)]
    Setup(#[from] SetupError),
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
