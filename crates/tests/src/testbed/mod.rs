//! End-to-end tests: real programs, in the walk-through's testbed, in a sandbox of the test's own.
//!
//! [`on`] makes a [`Scenario`] for a [`Plane`]. It starts the test's own executable again inside `scripts/sandbox.sh`, asks
//! for that one test, and there builds the testbed and plays the scenario. So tests run side by side, and what a killed
//! one leaves dies with its sandbox. Everything waits with a deadline ([`until`]) and nothing measures time.

mod ask;
mod backend;
mod echo;
mod file;
mod flood;
mod huge_pages;
mod load;
mod nc;
mod newcomers;
mod own_process;
mod peers;
mod plane;
mod process;
mod refusal;
mod scenario;
mod stranger;

pub use ask::{address, is_up};
pub use backend::Backend;
pub use echo::{Noise, Transfer, datagram_echo_servers, echo_servers};
pub use file::{GOOD_CONFIG, SERVICE_PORT, file};
pub use flood::{Flood, Flooded, Flooding};
pub use load::Load;
pub use nc::{ROUNDS, connect_until_both_have_received};
pub use newcomers::{Manners, Newcomers, Welcome};
pub use own_process::{in_own_process, long_form, note, skip};
pub use peers::{Connection, Servers, within};
pub use plane::{Plane, TAP, connect_tap, wait_for_walkthrough_backends};
pub use process::{Ended, Running};
pub use refusal::{assert_clean, assert_refused};
pub use scenario::{Scenario, on};
pub use stranger::Stranger;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that ought to be quick. Only a guard against waiting for ever: machines may be slow.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Makes a test on each plane of each of these functions, which take a [`Testbed`]: `on_dpdk::NAME` and so on. Behind a
/// name stand the programs that it needs.
#[macro_export]
macro_rules! on_every_plane {
    ($($name:ident [$($program:literal),*]),+ $(,)?) => {
        $crate::scenarios!(on_generic_xdp, testbed::on(Plane::GenericXdp), $($name [$($program),*]),+);
        $crate::scenarios!(on_native_xdp, testbed::on(Plane::NativeXdp), $($name [$($program),*]),+);
        $crate::scenarios!(on_dpdk, testbed::on(Plane::Dpdk), $($name [$($program),*]),+);
    };
}

/// The same for one [`Scenario`].
#[macro_export]
macro_rules! scenarios {
    ($module:ident, $scenario:expr, $($name:ident [$($program:literal),*]),+ $(,)?) => {
        mod $module {
            use $crate::testbed::{self, Plane};
            $(
                #[test]
                fn $name() {
                    $scenario.needs(&[$($program),*]).run(|bed| super::$name(bed));
                }
            )+
        }
    };
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Tries until it yields something, or the deadline is over: then the test fails with `what` it waited for.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Words that run a program in a namespace's network and with the mounts that are here: `ip netns exec` gives every program
/// a /sys of its own, and so either no BPF file system or one that ends with it.
pub fn in_network(namespace: &str, words: &[&str]) -> Vec<String> {
    let network = format!("--net=/run/netns/{namespace}");
    [&["nsenter", &network], words].concat().into_iter().map(str::to_owned).collect()
}

/// The walk-through's topology, in the sandbox that the test runs in: 10.0.0.1 here, h2, h3, and for XDP lb with veth6.
#[derive(Debug)]
pub struct Testbed {
    /// Where balancers run.
    pub plane: Plane,
    /// A directory that goes with the sandbox.
    pub work: PathBuf,
    name: &'static str,
    lcores: usize,
    names: AtomicU32,
}

impl Testbed {
    fn set_up(plane: Plane, with_lb: bool, name: &'static str, lcores: usize) -> Self {
        assert!(std::env::var_os("EVENKEEL_SANDBOX").is_some(), "not in a sandbox");
        let work = std::env::temp_dir().join("scenario");
        fs::create_dir_all(&work).expect("the sandbox has a directory for temporary files");
        let mut setup = Command::new(repository().join("scripts/testbed-setup.sh"));
        let ended = Running::start(setup.args(with_lb.then_some("ebpf"))).finish();
        assert_eq!(ended.code, Some(0), "testbed-setup.sh: {ended}");
        Self { plane, work, name, lcores, names: AtomicU32::new(0) }
    }

    /// Gives everybody an IPv6 address beside the IPv4 one: fd00::1 here, fd00::2 and fd00::3 in h2 and h3, fd00::10 in lb where
    /// there is one. Nobody looks whether somebody else has it, so they are there at once.
    pub fn add_ipv6(&self) {
        for (namespace, device, last) in
            [("", "veth0", "1"), ("h2", "veth2", "2"), ("h3", "veth4", "3"), ("lb", "veth6", "10")]
        {
            if namespace != "lb" || self.plane != Plane::Dpdk {
                let address = format!("fd00::{last}/64");
                self.do_in(namespace, &["ip", "address", "add", &address, "dev", device, "nodad"]);
            }
        }
    }

    /// A name that nothing else in this testbed has.
    fn new_name(&self, kind: &str) -> String {
        format!("{kind}{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A line typed into a terminal of its own: bash, in scripts/, with the aliases.
    pub fn terminal(&self, line: &str) -> Running {
        self.terminal_in("scripts", line)
    }

    /// The same in another directory of the repository. Where there is no sudo, we are root and need none.
    pub fn terminal_in(&self, directory: &str, line: &str) -> Running {
        let aliases = repository().join("scripts/aliases.sh").display().to_string();
        let before = format!("source '{aliases}'\ncommand -v sudo >/dev/null || sudo() {{ \"$@\"; }}");
        let mut bash = Command::new("bash");
        bash.current_dir(repository().join(directory)).args(["-c", &format!("{before}\n{line}")]);
        Running::start(&mut bash)
    }

    /// Types a line and waits for its end; it must succeed.
    pub fn typed(&self, line: &str) -> Ended {
        let ended = self.terminal(line).finish();
        assert_eq!(ended.code, Some(0), "`{line}`: {ended}");
        ended
    }

    /// Types an endless `ping`, waits for an answer, types Ctrl-C.
    pub fn ping(&self, line: &str) {
        let mut ping = self.terminal(line);
        ping.wait_for("bytes from");
        let ended = ping.interrupt();
        assert_eq!(ended.code, Some(0), "`{line}`: {ended}");
    }

    /// Starts a program in a namespace; an empty name is the local machine.
    pub fn start<S: AsRef<OsStr>>(&self, namespace: &str, words: &[S]) -> Running {
        Running::start(&mut Self::command(namespace, words))
    }

    /// Runs a program in a namespace to its end, which must be a good one.
    pub fn do_in<S: AsRef<OsStr>>(&self, namespace: &str, words: &[S]) -> Ended {
        let ended = self.start(namespace, words).finish();
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        assert_eq!(ended.code, Some(0), "`{}` in '{namespace}': {ended}", words.join(" "));
        ended
    }

    /// A program in a namespace, not yet started.
    pub fn command<S: AsRef<OsStr>>(namespace: &str, words: &[S]) -> Command {
        if namespace.is_empty() {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            return command;
        }
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).args(words);
        command
    }

    /// Writes a configuration file.
    pub fn config(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work.join(name);
        fs::write(&path, text).expect("the sandbox's directory can be written");
        path
    }

    /// What `ip link` says of an interface in lb.
    pub fn link(&self, interface: &str) -> String {
        self.do_in("lb", &["ip", "-d", "link", "show", "dev", interface]).stdout
    }

    /// Waits until somebody listens on a port in a namespace; `protocol` is `tcp` or `udp`.
    pub fn wait_for_listener(&self, namespace: &str, protocol: &str, port: u16) {
        let protocol = if protocol == "tcp" { "-Hltn" } else { "-Hlun" };
        let filter = format!("sport = :{port}");
        until(&format!("a listener on {port} in {namespace}"), || {
            let listeners = self.do_in(namespace, &["ss", protocol, &filter]).stdout;
            (!listeners.is_empty()).then_some(())
        });
    }

    /// Another host on the bridge, with a cable like those of the testbed.
    pub fn add_host(&self, name: &str, address: &str, mac: &str) {
        let port = format!("{name}-br");
        self.do_in("", &["ip", "netns", "add", name]);
        self.do_in(
            "",
            &["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", name],
        );
        self.do_in("", &["ethtool", "-K", &port, "tx", "off"]);
        self.do_in(name, &["ethtool", "-K", "eth0", "tx", "off"]);
        self.do_in("", &["ip", "link", "set", "dev", &port, "master", "br0", "up"]);
        self.do_in("", &["ip", "-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        self.do_in("", &["ip", "-n", name, "link", "set", "dev", "eth0", "up"]);
        until(&format!("{name} reaches h2 and h3"), || {
            let reached = ["10.0.0.2", "10.0.0.3"]
                .iter()
                .all(|peer| self.start(name, &["ping", "-c", "1", "-W", "1", peer]).finish().code == Some(0));
            reached.then_some(())
        });
    }
}
