//! What EAL is given: the same memory and the same CPU for every contestant.

use crate::error::BenchError;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Bytes that packets have room for in an mbuf, headroom not counted: as many as they have.
pub(crate) const ROOM: u16 = crate::layout::FRAME as u16;
/// Mbufs beyond those that a port keeps packets in: for lcores' caches and for packets on their way.
const SPARE: u32 = 4096;
/// Bytes that an mbuf of this size takes in a pool, generously: 192 of buffer, 192 of headers, and what is lost so that
/// none lies across two pages.
const MBUF: u64 = 512;
/// Megabytes that EAL and a port need for other things.
const BASE: u64 = 64;

/// What is the same for all.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Whether the machine has huge pages for all of it.
    huge: bool,
    /// Where packets are forwarded.
    cpu: usize,
    /// Where everything else is done, if there is another one.
    other: usize,
    /// Where EAL keeps what it keeps in files.
    runtime: PathBuf,
}

impl Environment {
    /// An environment for measurements with at most so many flows.
    pub(crate) fn new(flows: u32) -> Result<Self, BenchError> {
        let cpus = allowed_cpus();
        let (Some(&cpu), Some(&other)) = (cpus.first(), cpus.last()) else {
            return Err(BenchError::Broken("no CPU is allowed to this process.".to_owned()));
        };
        // Two processes with packets, and the flow table.
        let needed = 2 * megabytes(packets(flows)) + u64::from(flows) * 128 / (1 << 20) + 128;
        let runtime = env::temp_dir().join(format!("evenkeel-bench-{}", std::process::id()));
        fs::create_dir(&runtime).map_err(BenchError::Scratch)?;
        Ok(Self { huge: free_huge_megabytes() >= needed, cpu, other, runtime })
    }

    /// What EAL's memory lies in, in words.
    pub(crate) fn memory(&self) -> &'static str {
        if self.huge { "huge pages" } else { "ordinary pages (no huge pages are reserved, or too few)" }
    }

    /// EAL's arguments for a process with so many packets kept in mbufs, that forwards on one lcore: its main one, or,
    /// with `second`, the one beside it.
    pub(crate) fn eal(&self, name: &str, packets: u32, second: bool) -> Vec<String> {
        let Self { cpu, other, .. } = self;
        let mut arguments = vec![
            if second { format!("--lcores=0@{cpu},1@{other}") } else { format!("--lcores=0@{cpu}") },
            format!("--main-lcore={}", u8::from(second)),
            format!("--file-prefix={name}"),
        ];
        arguments.extend(["--no-pci", "--no-telemetry", "--iova-mode=va"].map(str::to_owned));
        if self.huge {
            arguments.push("--in-memory".to_owned());
        } else {
            let memory = megabytes(packets).to_string();
            arguments.extend(["--no-huge", "--no-shconf", "-m", &memory].map(str::to_owned));
        }
        arguments
    }

    /// A command that runs in this environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("RUNTIME_DIRECTORY", &self.runtime);
        command
    }

    /// This program again, in this environment.
    pub(crate) fn ourselves(&self) -> Command {
        self.command("/proc/self/exe")
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

/// Packets of so many flows: one in either direction.
pub(crate) fn packets(flows: u32) -> u32 {
    2 * flows
}

/// Mbufs for a port that keeps so many packets.
pub(crate) fn mbufs(packets: u32) -> u32 {
    packets + SPARE
}

fn megabytes(packets: u32) -> u64 {
    BASE + u64::from(mbufs(packets)) * MBUF / (1 << 20)
}

/// The CPUs that this process may use.
fn allowed_cpus() -> Vec<usize> {
    // SAFETY: the set is a local of ours, for which all zero is a value, and the call only fills it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Megabytes of huge pages of the default size that nobody uses (proc_meminfo(5)).
fn free_huge_megabytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let figure = |name: &str| -> Option<u64> {
        meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    figure("HugePages_Free:").unwrap_or(0) * figure("Hugepagesize:").unwrap_or(0) / 1024
}
