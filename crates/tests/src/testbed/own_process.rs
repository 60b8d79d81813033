//! A test in a process of its own: the test's executable, started again and asked for that one test.

use super::Running;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

/// How long a whole test may take, in its short form.
const DEADLINE: Duration = Duration::from_secs(300);

/// How long tests that have a long form shall go on for: `EVENKEEL_TEST_MINUTES`. Without it they have their short form.
pub fn long_form() -> Option<Duration> {
    let minutes: u64 = std::env::var("EVENKEEL_TEST_MINUTES").ok()?.parse().expect("EVENKEEL_TEST_MINUTES is a number");
    Some(Duration::from_secs(60 * minutes))
}

/// Tells the test's executable that it was started again.
const INSIDE: &str = "EVENKEEL_TEST_INSIDE";

/// What a test prints when it has come to its end: an exit code alone would also be 0 if no test had that name.
const COMPLETED: &str = "the test has come to its end";

/// What [`note`] begins with.
const NOTE: &str = "note: ";

/// Tells something that is no verdict, whether the test succeeds or not.
pub fn note(text: &str) {
    // The test harness has begun a line.
    println!("\n{NOTE}{text}");
}

/// Plays a test in a process that no other test shares. To be called in the test function itself: the closure's type tells
/// the test's name.
pub fn in_own_process<F: FnOnce()>(play: F) {
    if is_inside() {
        play();
        complete();
    } else {
        start_again(Command::new(own_program()), test_name::<F>());
    }
}

/// Whether this process was started by [`start_again`].
pub(super) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The test is over, and nothing was wrong.
pub(super) fn complete() {
    println!("{COMPLETED}");
}

/// The test's executable.
pub(super) fn own_program() -> std::path::PathBuf {
    std::env::current_exe().expect("we know our own name")
}

/// Asks the test's executable, which `command` starts, for the test of this name.
pub(super) fn start_again(mut command: Command, name: &str) {
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // It dies with whoever started it; if this process is killed, it must, too.
    // SAFETY: prctl only sets a property of the new process; no memory is touched.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut process = Running::start(&mut command);
    let ended = process.finish_within(DEADLINE + long_form().unwrap_or_default());
    ended.stdout.lines().filter_map(|line| line.strip_prefix(NOTE)).for_each(|text| say(&format!("{name}: {text}")));
    if ended.code != Some(0) || !ended.stdout.contains(COMPLETED) {
        panic!("in its own process:\n{}{}", ended.stdout, ended.stderr);
    }
}

/// Says that a test did not take place, and why.
pub fn skip(name: &str, reason: &str) {
    say(&format!("skipped, because {reason}: {name}"));
}

fn say(text: &str) {
    // Not by a macro: the test harness would keep it for itself.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// The name of the test that a closure was written in.
pub(super) fn test_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.strip_suffix("::{{closure}}").unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name)
}
