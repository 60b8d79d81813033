//! How the balancer fails.

use evenkeel_control::config::HostAddress;
use evenkeel_control::daemon::DaemonError;
use evenkeel_control::{BalancerError, ClaimError};
use evenkeel_daemon::{Ending, SetupError};
use evenkeel_dpdk::{DpdkError, PlaneError};
use std::net::Ipv4Addr;

/// Why the balancer does not balance, or does so no longer: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// DPDK cannot do it.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// No socket, or no place for Prometheus.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The tables cannot be made.
    #[error(transparent)]
    Balancer(#[from] BalancerError<PlaneError>),
    /// The host lacks something basic.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Another balancer works there, or it cannot be told.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A backend that the file leaves no way to.
    #[error(
        "backend {backend} is not in the balancer's network ([dataplane] address = \"{}/{}\"), and there is no gateway: name one.",
        own.address,
        own.prefix
    )]
    NoWay {
        /// The backend.
        backend: Ipv4Addr,
        /// The balancer's own address and network.
        own: HostAddress,
    },
    /// The kernel's interface behind the port has been removed.
    #[error("the network interface behind {0} is gone: start again when it is back.")]
    Gone(String),
}

impl RunError {
    /// What it is for whoever started the program: EAL's arguments are words of its command line.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Dpdk(error) if error.is_usage() => Ending::Usage,
            Self::NoWay { .. } => Ending::Usage,
            _ => Ending::Failed,
        }
    }
}
