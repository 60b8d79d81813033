//! The balancer on DPDK: what `evenkeel-dpdk` and `base-server` do once libdpdk is known to be there.
//!
//! A library, and not the program itself, because a program that is linked to a library which is missing cannot even say
//! so. `evenkeel-dpdk` loads this one and calls [`evenkeel_dpdk_main`]. What may live here: the command line, and the
//! putting together of `evenkeel-dpdk`'s parts.

mod affinity;
mod announce;
mod claim;
mod command;
mod control;
mod error;
mod run;
mod starting;

use evenkeel_daemon::{Announcer, Ending, LogFormat};
use std::panic::catch_unwind;

/// Does what the process's command line says, and returns its exit code.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_dpdk_main() -> i32 {
    // A panic must not cross into the caller; it has said what it is.
    catch_unwind(program).unwrap_or(101)
}

fn program() -> i32 {
    // What is not Unicode is no name of ours or of EAL's, and is told as one that is not known.
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let (name, command) = command::read(arguments);
    let log_format = command.as_ref().map_or(LogFormat::Text, |command| command.log_format);
    let ended = match command.and_then(|command| run::run(name, &command)) {
        Ok(()) => Ending::Good.exit_code(),
        Err(failure) => failure.ending().with_words(Announcer::new(name, log_format), &failure),
    };
    ended.into()
}
