//! The XDP half: the real program under BPF_PROG_TEST_RUN, beside a yardstick in the same run.
//!
//! A driver program makes the packets and hands them, in chunks of 1,024, to an empty program, the yardstick and the
//! measured program in turn, so that whatever disturbs the machine disturbs all three.

pub(crate) mod beside;
mod driver;
mod figures;
mod memory;
mod report;
mod stage;
mod stream;
mod theatre;
mod tuples;

use crate::error::BenchError;
use figures::Scene;
use memory::Memory;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, thread};
use theatre::{Effort, Objects, Theatre};

/// The default of `max-flows`.
const DEFAULT_ROOM: u32 = 1 << 20;

/// Newcomers a second that are let in where there is a limit: few, beside as many as a CPU looks at.
const NEWCOMERS: u32 = 1000;

/// Measures; `object` is another build of the program, `beside` the bench program of another version to be measured beside.
pub(crate) fn measure(quick: bool, object: Option<&Path>, beside: Option<&Path>) -> Result<(), BenchError> {
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err(BenchError::NotRoot);
    }
    // On a thread of its own, since it stays on one CPU.
    thread::scope(|scope| match scope.spawn(|| play(quick, object, beside)).join() {
        Ok(measured) => measured,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Lends this version's program to another one's bench program: `arguments` are flows, and how many there is room for.
pub(crate) fn lend(arguments: &[String]) -> Result<(), BenchError> {
    let number = |at: usize| arguments.get(at).and_then(|number| number.parse().ok());
    let (Some(flows), Some(room)) = (number(0), number(1)) else { return Err(BenchError::Usage(arguments.join(" "))) };
    beside::lend(&objects(None)?, flows, room)
}

fn objects(object: Option<&Path>) -> Result<Objects, BenchError> {
    Ok(Objects {
        evenkeel: read(object.map_or_else(|| built("evenkeel"), Path::to_owned))?,
        bench: read(built("bench"))?,
    })
}

fn play(quick: bool, object: Option<&Path>, beside: Option<&Path>) -> Result<(), BenchError> {
    stay_on_this_cpu();
    let objects = objects(object)?;
    let same = |flows: u32| Scene { flows, room: flows.next_power_of_two() };
    let (scenes, effort) = if quick {
        (vec![same(1), same(1 << 16)], Effort { rounds: 5, turns: 96 })
    } else {
        let sparse = Scene { flows: 1 << 16, room: DEFAULT_ROOM };
        (vec![same(1), same(1000), same(1 << 16), sparse, same(1_000_000)], Effort { rounds: 15, turns: 256 })
    };

    let started = Instant::now();
    let mut rows = Vec::new();
    let mut last = None;
    for scene in scenes {
        let Scene { flows, room } = scene;
        let progress = |what: &str| {
            eprintln!("[{:3} s] {flows} flows, tables for {room}: {what}", started.elapsed().as_secs());
        };
        progress("opening connections");
        let mut theatre = Theatre::open(&objects, scene, None, beside)?;
        if theatre.refused > 0 {
            progress(&format!("{} connections more found no room in their bucket", theatre.refused));
        }
        rows.extend(theatre.play(effort, &progress)?);
        if scene.floods() {
            progress("a flood beyond a limit of newcomers");
            rows.push(Theatre::open(&objects, scene, Some(NEWCOMERS), None)?.flood_beyond(effort)?);
        }
        last = Some((Memory::of(theatre.plane())?, room));
    }
    report::table(&rows);
    if let Some((used, room)) = last {
        report::memory(&used, room);
        report::verdicts(&rows, &used, room);
    }
    Ok(())
}

/// Keeps the scheduler from moving the measurement to another CPU's cold caches. If it may not be, so be it.
fn stay_on_this_cpu() {
    // SAFETY: the set is a local of ours, for which all zero is a value, and the calls only read or set it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Where scripts/build-bpf.sh puts a program. Cargo says where the crate is when it runs us.
fn built(program: &str) -> PathBuf {
    let root = env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, |path| Path::new(&path).join("../.."));
    root.join("build").join(format!("{program}.bpf.o"))
}

fn read(path: PathBuf) -> Result<Vec<u8>, BenchError> {
    fs::read(&path).map_err(|source| BenchError::NoObject { path, source })
}
