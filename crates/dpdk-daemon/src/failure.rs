//! How the program fails.

use crate::error::RunError;
use evenkeel_control::ConfigError;
use evenkeel_daemon::{Ending, Refusal};

/// Why the program failed: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense, or asks for help.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The balancer cannot go on.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Failure {
    /// What it is for whoever started the program.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Refused(refusal) => refusal.ending(),
            Self::Config(_) => Ending::Usage,
            Self::Run(error) => error.ending(),
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Refusal::from(error).into()
    }
}
