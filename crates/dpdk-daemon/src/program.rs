//! The program that `evenkeel-dpdk` loads, and `base-server`, which is a link to it.

use crate::command;
use crate::failure::Failure;
use crate::run::run;
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
    let announcer = command.as_ref().map_or(Announcer::new(name, LogFormat::Text), |run| run.announcer);
    let outcome = command.and_then(|command| run(&command).map_err(Failure::from));
    let ended = match outcome {
        Ok(()) => Ending::Good.exit_code(),
        Err(failure) => failure.ending().with_words(announcer, &failure),
    };
    ended.into()
}
