//! The DPDK half: the real loop of an lcore on a real port, beside dpdk-testpmd on a port of the same kind with the same
//! packets, and the flow table beside DPDK's own hash.
//!
//! EAL holds its process and a CPU, so each contestant is a process of its own: testpmd, and this program again. All of
//! them are there from the beginning and work in turn on one CPU, so that whatever disturbs the machine disturbs all.

mod capture;
mod contest;
mod cpu_time;
mod environment;
mod lcore;
mod lookups;
mod report;
mod rte_hash;
mod talker;
mod testpmd;

use crate::error::BenchError;
use contest::{Contest, Rounds};
use environment::Environment;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// How often the contestants are started anew. Where the system puts their memory makes a difference of its own.
    starts: u32,
    /// Rounds after each start.
    rounds: u32,
    /// Of every contestant in every round, after [`WARM_UP`].
    turn: Duration,
}

/// What a contestant is given before its turn counts: every packet has been received by then, and more than once.
const WARM_UP: Duration = Duration::from_millis(400);

pub(crate) fn measure(quick: bool) -> Result<(), BenchError> {
    if !testpmd::is_there() {
        return Err(BenchError::NoTestpmd);
    }
    let (scenes, effort): (&[u32], _) = if quick {
        (&[1, 1 << 16], Effort { starts: 1, rounds: 3, turn: Duration::from_millis(400) })
    } else {
        (&[1, 1 << 16, 1_000_000], Effort { starts: 3, rounds: 3, turn: Duration::from_millis(700) })
    };
    let environment = Environment::new(scenes.iter().copied().max().unwrap_or(0))?;
    let started = Instant::now();
    let progress = |what: &str| eprintln!("[{:3} s] DPDK, {what}", started.elapsed().as_secs());

    let mut contests = Vec::new();
    for &flows in scenes {
        let mut rounds = Vec::new();
        for start in 1..=effort.starts {
            progress(&format!("{flows} flows: start {start} of {}, preparing their packets", effort.starts));
            let mut contest = Contest::prepare(&environment, flows)?;
            progress(&format!("{flows} flows: start {start} of {}, {} rounds", effort.starts, effort.rounds));
            for _ in 0..effort.rounds {
                rounds.push(contest.round(effort)?);
            }
        }
        contests.push(Rounds { flows, rounds });
    }
    let mut tables = Vec::new();
    for &entries in scenes {
        progress(&format!("look-ups among {entries} entries"));
        tables.push(lookups::compare(&environment, entries, effort)?);
    }
    report::loops(&contests, &environment);
    report::lookups(&tables);
    report::aims(&contests);
    Ok(())
}

/// Does what this program starts itself for, if these are the arguments that it does so with.
pub(crate) fn serve(arguments: &[String]) -> Option<ExitCode> {
    let served = match arguments {
        [role, flows, capture, eal @ ..] if role == lcore::ROLE => {
            lcore::serve(flows.parse().ok()?, capture.as_ref(), eal)
        }
        [role, entries, rounds, eal @ ..] if role == lookups::ROLE => {
            lookups::serve(entries.parse().ok()?, rounds.parse().ok()?, eal)
        }
        _ => return None,
    };
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Heard by whoever has started this.
            println!("{error}");
            ExitCode::FAILURE
        }
    })
}
