//! What the programs of all planes share at work in the foreground: messages, wrong usage, being asked to stop. What may
//! not live here: anything that a plane does.
#![forbid(unsafe_code)]

mod announcer;
mod stop;
mod usage;

pub use announcer::{Announcer, LogFormat};
pub use stop::Stop;
pub use usage::Refusal;
