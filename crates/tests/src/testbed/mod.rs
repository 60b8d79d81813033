//! End-to-end tests: real programs, in the walk-through's testbed, in a sandbox of the test's own.
//!
//! [`run`] starts the test's own executable again inside `scripts/sandbox.sh`, asks for that one test, and there builds
//! the testbed and plays the scenario. So tests run side by side, and what a killed one leaves dies with its sandbox.
//! Everything waits with a deadline ([`until`]) and nothing measures time.

mod balancer;
mod peers;
mod process;

pub use balancer::LiveBalancer;
pub use peers::{Connection, Servers, within};
pub use process::{Ended, Running};

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that ought to be quick. Only a guard against waiting for ever: machines may be slow.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// How long a whole scenario may take.
const SCENARIO_DEADLINE: Duration = Duration::from_secs(300);

/// Tells the test's executable that it is in the sandbox.
const INSIDE: &str = "EVENKEEL_TEST_INSIDE";

/// What a scenario prints when it has come to its end: an exit code alone would also be 0 if no test had that name.
const COMPLETED: &str = "the scenario has come to its end";

/// Plays a scenario in a sandbox of its own, with the testbed set up. `programs` are what it needs besides a shell,
/// iproute2 and ethtool. To be called in the test function itself: the closure's type tells the test's name.
pub fn run<F: FnOnce(&Testbed)>(programs: &[&str], scenario: F) {
    if std::env::var_os(INSIDE).is_some() {
        let testbed = Testbed::set_up();
        scenario(&testbed);
        println!("{COMPLETED}");
        return;
    }
    if std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1") {
        // Not by a macro: the test harness would keep it for itself.
        let skipped = format!("skipped, because EVENKEEL_SKIP_PRIVILEGED=1: {}\n", test_name::<F>());
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    }
    // SAFETY: no arguments, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    assert!(
        is_root,
        "this test builds networks, which needs root: run it with sudo, or set EVENKEEL_SKIP_PRIVILEGED=1."
    );
    for program in programs.iter().chain(&["bash", "ip", "ethtool"]) {
        assert!(is_installed(program), "the program '{program}' is missing: scripts/install-prerequisites.sh test");
    }
    let balancer = repository().join("build/xdp_lb");
    assert!(balancer.exists(), "there is no build/xdp_lb: run `make` first.");

    let mut sandbox = Command::new(repository().join("scripts/sandbox.sh"));
    sandbox.arg(std::env::current_exe().expect("we know our own name"));
    sandbox.args(["--exact", test_name::<F>(), "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // The sandbox dies with whoever started it; if this process is killed, it must, too.
    // SAFETY: prctl only sets a property of the new process; no memory is touched.
    unsafe {
        sandbox.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut sandbox = Running::start(&mut sandbox);
    let ended = sandbox.finish_within(SCENARIO_DEADLINE);
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

/// Modes of XDP that the walk-through's program can be told.
pub const MODES: [&str; 2] = ["generic", "native"];

/// The walk-through's topology, in the sandbox that the test runs in: 10.0.0.1 here, h2, h3, and lb with veth6.
#[derive(Debug)]
pub struct Testbed {
    /// A directory that goes with the sandbox.
    pub work: PathBuf,
}

impl Testbed {
    fn set_up() -> Self {
        assert!(std::env::var_os("EVENKEEL_SANDBOX").is_some(), "not in a sandbox");
        let work = std::env::temp_dir().join("scenario");
        fs::create_dir_all(&work).expect("the sandbox has a directory for temporary files");
        let testbed = Self { work };
        let script = repository().join("scripts/testbed-setup.sh");
        let ended = Running::start(Command::new(script).arg("ebpf")).finish();
        assert_eq!(ended.code, Some(0), "testbed-setup.sh: {ended}");
        testbed
    }

    /// A line typed into a terminal of its own: bash, in scripts/, with the aliases.
    pub fn terminal(&self, line: &str) -> Running {
        let mut bash = Command::new("bash");
        bash.current_dir(repository().join("scripts")).args(["-c", &format!("source ./aliases.sh\n{line}")]);
        Running::start(&mut bash)
    }

    /// Types a line and waits for its end; it must succeed.
    pub fn typed(&self, line: &str) -> Ended {
        let ended = self.terminal(line).finish();
        assert_eq!(ended.code, Some(0), "`{line}`: {ended}");
        ended
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

    /// Starts the walk-through's program in lb and waits until it is ready.
    pub fn balance(&self, options: &[&str]) -> Running {
        let program = repository().join("build/xdp_lb");
        let mut words = vec![program.as_os_str()];
        words.extend(options.iter().map(OsStr::new));
        words.push(OsStr::new("veth6"));
        let balancer = self.start("lb", &words);
        balancer.wait_for("xdp_lb: ready on veth6");
        balancer
    }

    /// Writes a configuration file.
    pub fn config(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work.join(name);
        fs::write(&path, text).expect("the sandbox's directory can be written");
        path
    }

    /// Starts `evenkeel run` in lb with this configuration and waits until it is ready.
    pub fn balance_config(&self, mode: &str, text: &str) -> Running {
        let config = self.config("evenkeel.toml", text);
        let program = repository().join("build/evenkeel");
        let words: [&OsStr; 6] = [
            program.as_os_str(),
            OsStr::new("run"),
            OsStr::new("--config"),
            config.as_os_str(),
            OsStr::new("--xdp-mode"),
            OsStr::new(mode),
        ];
        let balancer = self.start("lb", &words);
        balancer.wait_for("evenkeel: ready on veth6");
        balancer
    }

    /// What `ip link` says of an interface in lb.
    pub fn link(&self, interface: &str) -> String {
        self.do_in("lb", &["ip", "-d", "link", "show", "dev", interface]).stdout
    }

    /// Whether an XDP program is attached to veth6.
    pub fn is_attached(&self) -> bool {
        self.link("veth6").contains("prog/xdp")
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
