//! How the balancer fails.

use evenkeel_control::BalancerError;
use evenkeel_control::daemon::DaemonError;
use evenkeel_daemon::SetupError;
use evenkeel_xdp::XdpError;

/// Why the balancer does not balance, or does so no longer: one sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plane cannot do it.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// No socket, or no place for Prometheus.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The tables cannot be made.
    #[error(transparent)]
    Balancer(#[from] BalancerError<XdpError>),
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
