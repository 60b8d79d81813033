//! Why there is no measurement.

use evenkeel_control::BalancerError;
use evenkeel_dpdk::{DpdkError, PlaneError};
use evenkeel_xdp::XdpError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(
        "measuring the XDP plane runs BPF programs in the kernel and so needs root: run it with sudo, or with --plane dpdk."
    )]
    NotRoot,
    #[error("{0} is not an option: there are --quick, --plane xdp, --plane dpdk, --object FILE and --beside BENCH.")]
    Usage(String),
    #[error("{0} is not an option of ends: there are --quick, --rounds NUMBER, --beside DIRECTORY and --only NAME.")]
    EndsUsage(String),
    #[error("nobody who is measured has \"{0}\" in the name: leave --only out to see all names.")]
    Nobody(String),
    #[error("this makes networks, and wants a sandbox: scripts/sandbox.sh target/release/evenkeel-bench ends.")]
    NoSandbox,
    #[error("a server cannot listen: {0}.")]
    Listen(std::io::Error),
    #[error("cannot read {path} ({source}): build it with `make bench`.", path = path.display())]
    NoObject { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Xdp(#[from] XdpError),
    #[error(transparent)]
    XdpBalancer(#[from] BalancerError<XdpError>),
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    #[error(transparent)]
    DpdkPlane(#[from] PlaneError),
    #[error(transparent)]
    DpdkBalancer(#[from] BalancerError<PlaneError>),
    #[error("the measuring programs do not work here: {0}")]
    Driver(String),
    #[error(
        "there is no dpdk-testpmd to compare with: install it (Debian: dpdk-dev), or measure with --plane xdp alone."
    )]
    NoTestpmd,
    #[error("cannot start {program}: {source}.")]
    NotStarted { program: &'static str, source: std::io::Error },
    #[error("{program} has ended: {words}")]
    Ended { program: &'static str, words: String },
    #[error("cannot make a temporary directory: {0}.")]
    Scratch(std::io::Error),
    #[error("cannot write the packets that are measured with: {0}.")]
    Capture(std::io::Error),
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
