//! Command lines that make no sense, in one sentence.

use crate::ending::Ending;

/// Why a command line is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It asks for help or the version: this text, and a good end.
    #[error("{0}")]
    Asked(String),
    /// It is wrong: a sentence without its full stop.
    #[error("{0}; see --help.")]
    Wrong(String),
}

impl Refusal {
    /// A good end for who asked, a bad one for who should have said it otherwise.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Asked(_) => Ending::Good,
            Self::Wrong(_) => Ending::Usage,
        }
    }
}
