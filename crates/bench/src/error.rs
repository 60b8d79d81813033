//! Why there is no measurement.

use evenkeel_control::BalancerError;
use evenkeel_xdp::XdpError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("measuring runs BPF programs in the kernel and so needs root: run it with sudo.")]
    NotRoot,
    #[error("{0} is not an option: there are --quick and --object FILE.")]
    Usage(String),
    #[error("cannot read {path} ({source}): build it with `make bpf`.", path = path.display())]
    NoObject { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Plane(#[from] XdpError),
    #[error(transparent)]
    Balancer(#[from] BalancerError<XdpError>),
    #[error("the measuring programs do not work here: {0}")]
    Driver(String),
    #[error("no random numbers: {0}")]
    Random(String),
    #[error("the measurement is broken: {0}")]
    Broken(String),
}

impl BenchError {
    /// For the errors of aya, of which there are many kinds.
    pub(crate) fn driver(error: impl std::fmt::Display) -> Self {
        Self::Driver(error.to_string().replace('\n', " "))
    }
}
