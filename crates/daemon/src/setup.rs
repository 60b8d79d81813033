//! What a program needs of the system that it runs on.

use std::fmt::Display;

/// The host lacks something basic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up {what}: {reason}.")]
pub struct SetupError {
    what: &'static str,
    reason: String,
}

impl SetupError {
    /// Makes one of the system's error, for `map_err`. `what` is what was to be set up.
    pub fn of<E: Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self { what, reason: error.to_string() }
    }
}
