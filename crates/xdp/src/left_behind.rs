//! A program that goes on working without a process.

use crate::mode::Mode;
use crate::pinned::Pins;
use std::os::fd::OwnedFd;

/// The program of an evenkeel whose process is gone.
#[derive(Debug)]
pub(crate) struct LeftBehind {
    pub(crate) program: OwnedFd,
    pub(crate) mode: Mode,
    /// Where its tables are.
    pub(crate) source: Source,
}

/// Where the tables of an attached program are found.
#[derive(Debug)]
pub(crate) enum Source {
    /// By name.
    Pins(Pins),
    /// By number: the program holds them, but the names are lost, for instance with a mount namespace. Only who has
    /// CAP_SYS_ADMIN comes by them this way.
    Numbers(Vec<u32>),
}
