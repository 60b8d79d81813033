//! What has happened that an operator may want to read of in the log.

use super::change::Change;
use super::health::Condition;
use super::orders::Order;
use super::status::Status;
use crate::config::BackendId;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A backend's health check has turned, or fails for another reason.
    Judged {
        /// The service's name.
        service: String,
        /// The backend.
        backend: BackendId,
        /// Whether it serves.
        condition: Condition,
        /// Why, in words.
        reason: String,
    },
    /// No backend of a service takes new connections any more.
    NobodyLeft {
        /// The service's name.
        service: String,
    },
    /// One does again.
    ServedAgain {
        /// The service's name.
        service: String,
    },
    /// An order was carried out.
    Ordered {
        /// The service's name.
        service: String,
        /// The backend.
        backend: BackendId,
        /// What was ordered.
        order: Order,
        /// By whom, in words, where that is known.
        by: Option<String>,
    },
    /// The file was read again: what that changes, or why it does not.
    Reloaded {
        /// By whose order, in words, where that is known.
        by: Option<String>,
        /// What came of it.
        outcome: Result<Vec<Change>, String>,
    },
    /// How things are, because somebody has asked by a signal.
    Summary {
        /// The signal's name.
        signal: &'static str,
        /// Services and backends.
        status: Status,
    },
    /// A signal that means nothing here.
    Ignored {
        /// The signal's name.
        signal: &'static str,
    },
}
