//! A scenario's sandbox: the test's own executable, started again inside `scripts/sandbox.sh` and asked for that one test.

use super::huge_pages::HugePages;
use super::{Plane, Running, Testbed, repository};
use crate::program::cpus;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a whole scenario may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// Tells the test's executable that it is in the sandbox.
const INSIDE: &str = "EVENKEEL_TEST_INSIDE";

/// What a scenario prints when it has come to its end: an exit code alone would also be 0 if no test had that name.
const COMPLETED: &str = "the scenario has come to its end";

/// What [`note`] begins with.
const NOTE: &str = "note: ";

/// Tells something that is no verdict, whether the test succeeds or not.
pub fn note(text: &str) {
    // The test harness has begun a line.
    println!("\n{NOTE}{text}");
}

/// A scenario with a balancer on this plane.
pub fn on(plane: Plane) -> Scenario {
    Scenario { plane, programs: &[], with_lb: plane != Plane::Dpdk, with_huge_pages: false, lcores: 1 }
}

/// What a scenario needs.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Scenario {
    plane: Plane,
    programs: &'static [&'static str],
    with_lb: bool,
    with_huge_pages: bool,
    lcores: usize,
}

impl Scenario {
    /// Programs besides a shell, iproute2 and ethtool.
    pub fn needs(self, programs: &'static [&'static str]) -> Self {
        Self { programs, ..self }
    }

    /// A namespace lb, also where the plane has no use for one.
    pub fn with_lb(self) -> Self {
        Self { with_lb: true, ..self }
    }

    /// To reserve huge pages of the machine's. Those that it had are restored afterwards.
    pub fn with_huge_pages(self) -> Self {
        Self { with_huge_pages: true, ..self }
    }

    /// So many lcores for each balancer, each on a CPU of its own.
    pub fn with_lcores(self, lcores: usize) -> Self {
        Self { lcores, ..self }
    }

    /// Plays it. To be called in the test function itself: the closure's type tells the test's name.
    pub fn run<F: FnOnce(&Testbed)>(self, play: F) {
        let name = test_name::<F>();
        if std::env::var_os(INSIDE).is_some() {
            play(&Testbed::set_up(self.plane, self.with_lb, name, self.lcores));
            println!("{COMPLETED}");
            return;
        }
        if std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1") {
            skip(name, "EVENKEEL_SKIP_PRIVILEGED=1");
            return;
        }
        self.assert_possible();
        if cpus().len() < self.lcores {
            skip(name, &format!("it needs {} CPUs", self.lcores));
            return;
        }
        let _huge_pages = match self.with_huge_pages.then(HugePages::borrow_machines) {
            Some(Err(reason)) => {
                skip(name, &reason);
                return;
            }
            Some(Ok(pages)) => Some(pages),
            None => None,
        };
        play_in_sandbox(name);
    }

    fn assert_possible(&self) {
        // SAFETY: no arguments, cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        assert!(
            is_root,
            "this test builds networks, which needs root: run it with sudo, or set EVENKEEL_SKIP_PRIVILEGED=1."
        );
        for program in self.programs.iter().chain(&["bash", "ip", "ethtool"]) {
            assert!(is_installed(program), "the program '{program}' is missing: scripts/install-prerequisites.sh test");
        }
        let (program, _) = self.plane.programs();
        assert!(repository().join("build").join(program).exists(), "there is no build/{program}: run `make` first.");
        if self.plane == Plane::Dpdk {
            assert!(Path::new("/dev/net/tun").exists(), "there is no /dev/net/tun: this kernel has no TAP devices.");
        }
    }
}

/// Says that a test did not take place, and why.
fn skip(name: &str, reason: &str) {
    say(&format!("skipped, because {reason}: {name}"));
}

fn say(text: &str) {
    // Not by a macro: the test harness would keep it for itself.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn play_in_sandbox(name: &str) {
    let mut sandbox = Command::new(repository().join("scripts/sandbox.sh"));
    sandbox.arg(std::env::current_exe().expect("we know our own name"));
    sandbox.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // The sandbox dies with whoever started it; if this process is killed, it must, too.
    // SAFETY: prctl only sets a property of the new process; no memory is touched.
    unsafe {
        sandbox.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut sandbox = Running::start(&mut sandbox);
    let ended = sandbox.finish_within(DEADLINE);
    ended.stdout.lines().filter_map(|line| line.strip_prefix(NOTE)).for_each(|text| say(&format!("{name}: {text}")));
    if ended.code != Some(0) || !ended.stdout.contains(COMPLETED) {
        panic!("in the sandbox:\n{}{}", ended.stdout, ended.stderr);
    }
}

/// The name of the test that a closure was written in.
fn test_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.strip_suffix("::{{closure}}").unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|directory| Path::new(directory).join(program).is_file())
}
