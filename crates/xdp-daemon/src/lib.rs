//! The balancer on XDP, in the foreground: [`run`] does what `evenkeel run` does.
//!
//! What may live here: the putting together of `evenkeel-xdp`'s parts, and what is said meanwhile. What may not: command
//! lines. The BPF object is an argument; where it is from does not matter here.
#![forbid(unsafe_code)]

mod announce;
mod error;
mod next_hops;
mod run;
mod watch;

pub use error::RunError;
pub use evenkeel_xdp::Memory;
pub use run::{Run, run};
