//! What the programs of all planes share at work in the foreground: messages, wrong usage, being asked to stop. What may
//! not live here: anything that a plane does.
#![forbid(unsafe_code)]

mod announcer;
mod crowd;
mod ending;
mod messages;
mod notes;
mod refusal;
mod services;
mod setup;
mod stop;
#[cfg(feature = "clap")]
mod usage;

pub use announcer::{Announcer, LogFormat};
pub use crowd::Crowd;
pub use ending::Ending;
pub use refusal::Refusal;
pub use services::Services;
pub use setup::SetupError;
pub use stop::Stop;
