//! Who is measured, and how each is started in the testbed.

use super::{Setting, floor};
use crate::error::BenchError;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that carries clients' packets to servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// The bridge alone: clients go to the servers' own addresses.
    Nobody,
    /// [`floor`].
    Floor,
    /// evenkeel on XDP, in this mode.
    Xdp(&'static str),
    /// evenkeel on DPDK over this kind of port, idle in this way; the programs are in this directory.
    Dpdk { port: Port, idle: &'static str, programs: PathBuf, version: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Tap,
    Packet,
    Xdp,
}

impl Contestant {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Nobody => "no balancer".to_owned(),
            Self::Floor => "a rewriting XDP program without a memory".to_owned(),
            Self::Xdp(mode) => format!("evenkeel, XDP, {mode}"),
            Self::Dpdk { port, idle, version, .. } => {
                let port = match port {
                    Port::Tap => "net_tap",
                    Port::Packet => "net_af_packet",
                    Port::Xdp => "net_af_xdp",
                };
                format!("evenkeel{version}, {port}, {idle}")
            }
        }
    }

    /// Where clients go to.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        match self {
            Self::Nobody => vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
            _ => vec![SERVICE],
        }
    }

    /// Starts it, and waits until it balances.
    pub(crate) fn start(&self, setting: &Setting) -> Result<Option<Running>, BenchError> {
        let in_lb = ["nsenter", "--net=/run/netns/lb"];
        let (words, signs): (Vec<String>, &[&str]) = match self {
            Self::Nobody => return Ok(None),
            Self::Floor => {
                let words = [&shown(&setting.own), floor::ROLE, "veth6", &shown(&setting.object)];
                (owned(&[&in_lb[..], &words].concat()), &["ready"])
            }
            Self::Xdp(mode) => {
                let program = shown(&setting.programs.join("xdp_lb"));
                let words = [&program, "--xdp-mode", mode, "veth6"];
                (owned(&[&in_lb[..], &words].concat()), &["10.0.0.2 is at", "10.0.0.3 is at"])
            }
            Self::Dpdk { port, idle, programs, .. } => {
                let program = shown(&programs.join("base-server"));
                let device = match port {
                    Port::Tap => "net_tap0,iface=tapdpdk",
                    Port::Packet => "net_af_packet0,iface=veth6",
                    Port::Xdp => "net_af_xdp0,iface=veth6",
                };
                let namespace: &[&str] = if *port == Port::Tap { &[] } else { &in_lb };
                let memory: &[&str] =
                    if *port == Port::Xdp { &["--in-memory"] } else { &["--no-huge", "--no-shconf", "-m", "256"] };
                let prefix = format!("--file-prefix=ends{}", std::process::id());
                let device = format!("--vdev={device}");
                let eal = ["-l", "0", "--no-pci", "--no-telemetry", "--iova-mode=va", &prefix, &device];
                let words = [namespace, &[&program], &eal, memory, &["--", "--idle", idle]].concat();
                (owned(&words), &[": ready on "])
            }
        };
        let mut running = Running::start(&words)?;
        running.wait_for(signs)?;
        if let Self::Dpdk { port, .. } = self {
            match port {
                Port::Tap => setting.script("link-dpdk.sh", &[])?,
                Port::Packet | Port::Xdp => {}
            }
            running.wait_for(&["10.0.0.2 is at", "10.0.0.3 is at"])?;
        }
        // Another one has had the address until now.
        run("ip", &["neigh", "flush", "to", "10.0.0.10", "dev", "veth0"])?;
        Ok(Some(running))
    }

    /// The kernel in lb must not answer for an address that a DPDK port has.
    pub(crate) fn needs_a_silent_kernel(&self) -> bool {
        matches!(self, Self::Dpdk { .. })
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(program: &'static str, words: &[&str]) -> Result<(), BenchError> {
    let ended = Command::new(program).args(words).output();
    let ended = ended.map_err(|source| BenchError::NotStarted { program, source })?;
    if ended.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(BenchError::Ended { program, words })
}

/// A program at work; asked to end when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    said: mpsc::Receiver<String>,
    heard: String,
}

impl Running {
    pub(crate) fn start(words: &[String]) -> Result<Self, BenchError> {
        let failed = |source| BenchError::NotStarted { program: "a contestant", source };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (sender, said) = mpsc::channel();
        let channels: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for channel in channels.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(channel).lines().map_while(Result::ok) {
                    // Nobody may be listening any more.
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Self { child, said, heard: String::new() })
    }

    /// Waits until it has said all of this.
    pub(crate) fn wait_for(&mut self, signs: &[&str]) -> Result<(), BenchError> {
        let end = Instant::now() + PATIENCE;
        while !signs.iter().all(|sign| self.heard.contains(sign)) {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.heard = format!("{}{line}\n", self.heard),
                Err(_) => return Err(BenchError::Ended { program: "a contestant", words: self.heard.clone() }),
            }
        }
        Ok(())
    }

    /// CPU time that it has had so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Behind the name, which may hold anything; user and system time are fields 14 and 15 (proc(5)), in hundredths.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(10 * ticks)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: no memory is involved; a child that was not waited for keeps its id.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
