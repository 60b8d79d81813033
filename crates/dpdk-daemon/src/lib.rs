//! The balancer on DPDK, in the foreground: [`run()`] does what `evenkeel-dpdk` does.
//!
//! ```no_run
//! use evenkeel_control::Config;
//! use evenkeel_daemon::{Announcer, LogFormat};
//! use evenkeel_dpdk_daemon::{Run, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load("web.toml".as_ref())?;
//! let eal = ["-l", "0", "-a", "0000:03:00.0"].map(str::to_owned).into();
//! let idle = config.dataplane.idle;
//! let announcer = Announcer::new("mine", LogFormat::Text);
//! let (file, socket, state, keep, fresh) = (None, None, None, false, false);
//! run(&Run { eal, config, idle, file, socket, state, keep, fresh, announcer })?;
//! # Ok(())
//! # }
//! ```
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
