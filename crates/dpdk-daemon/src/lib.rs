//! The balancer on DPDK, in the foreground: [`run`] does what `evenkeel-dpdk` does.
//!
//! And the program itself: one that is linked to a library which is missing cannot even say so, so `evenkeel-dpdk` is
//! linked to nothing, loads this library once it has found libdpdk, and calls [`evenkeel_dpdk_main`]. What may live here:
//! the putting together of `evenkeel-dpdk`'s parts, what is said meanwhile, and that program's command line.

mod affinity;
mod announce;
mod claim;
mod command;
mod control;
mod error;
mod failure;
mod program;
mod run;
mod starting;

pub use error::RunError;
pub use program::evenkeel_dpdk_main;
pub use run::{Run, run};
