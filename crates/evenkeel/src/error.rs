//! How a command fails.

use evenkeel_control::{BalancerError, ConfigError};
use evenkeel_xdp::XdpError;
use std::process::ExitCode;

/// Why a command failed: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody said which interface.
    #[error("no interface: name one with --interface, or in the file's [dataplane] section.")]
    NoInterface,
    /// The plane cannot do it.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The tables cannot be made.
    #[error(transparent)]
    Balancer(#[from] BalancerError<XdpError>),
    /// The host lacks something basic.
    #[error("cannot set up {what}: {reason}")]
    Host {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The interface went away while we were at work.
    #[error("{0} is gone, and with it the program: start again when it is back.")]
    InterfaceGone(String),
}

impl Failure {
    /// 2 for what the user should have said otherwise, 1 for everything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::NoInterface => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// For errors of the system under a name.
    pub(crate) fn host<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Host { what, reason: error.to_string() }
    }
}
