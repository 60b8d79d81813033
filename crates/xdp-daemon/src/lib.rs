//! The balancer on XDP, in the foreground: [`run()`] does what `evenkeel run` does.
//!
//! What may live here: the putting together of `evenkeel-xdp`'s parts, and what is said meanwhile. What may not: command
//! lines. The BPF object is an argument; where it is from does not matter here.
//!
//! ```no_run
//! use evenkeel_control::Config;
//! use evenkeel_daemon::{Announcer, LogFormat};
//! use evenkeel_xdp_daemon::{Memory, Run, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let object = &std::fs::read("build/evenkeel.bpf.o")?;
//! let config = Config::load("web.toml".as_ref())?;
//! let (interface, mode) = ("eth0".to_owned(), config.dataplane.xdp_mode);
//! let announcer = Announcer::new("mine", LogFormat::Text);
//! let (file, socket, memory, keep) = (None, None, Memory::None, false);
//! run(&Run { object, config, interface, mode, file, socket, memory, keep, announcer })?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod announce;
mod error;
mod left_at_work;
mod next_hops;
mod replies;
mod run;
mod watch;

pub use error::RunError;
pub use evenkeel_xdp::{Memory, Mode};
pub use left_at_work::{LeftAtWork, left_at_work};
pub use run::{Run, run};
