//! A scenario's sandbox: the test's own executable, started again inside `scripts/sandbox.sh` and asked for that one test.

use super::huge_pages::HugePages;
use super::own_process::{complete, is_inside, own_program, skip, start_again, test_name};
use super::{Plane, Testbed, repository};
use crate::program::cpus;
use std::path::Path;
use std::process::Command;

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
        if is_inside() {
            play(&Testbed::set_up(self.plane, self.with_lb, name, self.lcores));
            complete();
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
        let mut sandbox = Command::new(repository().join("scripts/sandbox.sh"));
        sandbox.arg(own_program());
        start_again(sandbox, name);
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

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|directory| Path::new(directory).join(program).is_file())
}
