//! Another version of evenkeel beside the one that is measured: its own bench program opens the same connections in tables of
//! its own and lends us its program, so that nothing of how it is laid out has to be known here.
//!
//! The two speak over a pipe, in lines: first the program's number, and twice a number of tuples and so many; then `refresh`
//! and `clear` are answered by `done`, `counted` by packets transmitted, packets passed and flows opened. It ends when the
//! pipe does.

use super::figures::Scene;
use super::theatre::{Objects, open};
use crate::error::BenchError;
use crate::layout::Tuple;
use aya::programs::{ProgramFd, loaded_programs};
use evenkeel_control::Plane;
use evenkeel_core::{Counters, Event, Reason, Verdict};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The word that makes a bench program lend its program.
pub(crate) const LEND: &str = "--lend";

/// The other version, at work.
pub(crate) struct Beside {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its program.
    pub(crate) program: ProgramFd,
    /// What its connections' packets look like in either direction.
    pub(crate) forth: Vec<Tuple>,
    pub(crate) back: Vec<Tuple>,
}

impl Beside {
    /// Starts another version's bench program, and lets it open so many connections in tables for `room`.
    pub(crate) fn start(bench: &Path, flows: u32, room: u32) -> Result<Self, BenchError> {
        let mut command = Command::new(bench);
        command.args([LEND, &flows.to_string(), &room.to_string()]).env_remove("CARGO_MANIFEST_DIR");
        // It looks for its own build: target/release/ is beside build/.
        if let Some(root) = bench.ancestors().nth(3) {
            command.current_dir(root);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| BenchError::NotStarted { program: "the other version", source })?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::Driver("the other version has no pipes".to_owned()));
        };
        let mut answers = BufReader::new(answers);
        let id: u32 = line(&mut answers)?.parse().map_err(BenchError::driver)?;
        let program = loaded_programs().flatten().find(|program| program.id() == id);
        let program = program.ok_or_else(|| BenchError::Driver("the other version has no program".to_owned()))?;
        let program = program.fd().map_err(BenchError::driver)?;
        let mut tuples = Vec::new();
        for _ in 0..2 {
            let count = line(&mut answers)?.parse().map_err(BenchError::driver)?;
            tuples.push((0..count).map(|_| read(&mut answers)).collect::<Result<Vec<_>, _>>()?);
        }
        let (Some(back), Some(forth)) = (tuples.pop(), tuples.pop()) else { unreachable!("there are two") };
        Ok(Self { child, orders, answers, program, forth, back })
    }

    /// Makes every connection active now.
    pub(crate) fn refresh(&mut self) -> Result<(), BenchError> {
        self.ask("refresh").map(drop)
    }

    /// Empties its flow table.
    pub(crate) fn clear(&mut self) -> Result<(), BenchError> {
        self.ask("clear").map(drop)
    }

    /// Packets transmitted, packets passed, flows opened.
    pub(crate) fn counted(&mut self) -> Result<[u64; 3], BenchError> {
        let answer = self.ask("counted")?;
        let numbers: Vec<u64> = answer.split(' ').filter_map(|number| number.parse().ok()).collect();
        numbers.try_into().map_err(|_| BenchError::Driver(format!("the other version answered {answer:?}")))
    }

    fn ask(&mut self, order: &str) -> Result<String, BenchError> {
        writeln!(self.orders, "{order}").map_err(BenchError::driver)?;
        line(&mut self.answers)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = writeln!(self.orders, "end");
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> Result<String, BenchError> {
    let mut line = String::new();
    from.read_line(&mut line).map_err(BenchError::driver)?;
    Ok(line.trim_end().to_owned())
}

/// A tuple as it is written for another version: its four numbers.
fn read(from: &mut impl BufRead) -> Result<Tuple, BenchError> {
    let text = line(from)?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let mut next =
        || numbers.next().and_then(Result::ok).ok_or_else(|| BenchError::Driver(format!("no tuple: {text:?}")));
    Ok(Tuple {
        addresses: next()?,
        ports: next()? as u32,
        ip_checksum: next()? as u16,
        transport_checksum: next()? as u16,
    })
}

/// Lends this version's program: opens connections, says what their packets look like, and does as it is told.
pub(crate) fn lend(objects: &Objects, flows: u32, room: u32) -> Result<(), BenchError> {
    let (balancer, connected) = open(objects, Scene { flows, room }, None)?;
    let stage = balancer.plane();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut say = |text: String| writeln!(out, "{text}").and_then(|()| out.flush()).map_err(BenchError::driver);
    let info = stage.plane.program()?.info().map_err(BenchError::driver)?;
    say(info.id().to_string())?;
    for tuples in [&connected.forth, &connected.back] {
        let lines = tuples.iter().map(|tuple| {
            let Tuple { addresses, ports, ip_checksum, transport_checksum } = tuple;
            format!("\n{addresses} {ports} {ip_checksum} {transport_checksum}")
        });
        say(tuples.len().to_string() + &lines.collect::<String>())?;
    }
    for order in std::io::stdin().lock().lines() {
        match order.map_err(BenchError::driver)?.as_str() {
            "refresh" => stage.refresh().map(drop)?,
            "clear" => stage.clear()?,
            "counted" => {
                let Counters { verdicts, events } = stage.counters()?;
                let of = |verdict| {
                    let reasons = Reason::ALL.iter().filter(|reason| reason.verdict() == verdict);
                    reasons.map(|reason| verdicts[*reason as usize]).sum::<u64>()
                };
                let opened = events[Event::FlowOpened as usize];
                say(format!("{} {} {opened}", of(Verdict::Transmit), of(Verdict::Pass)))?;
                continue;
            }
            _ => return Ok(()),
        }
        say("done".to_owned())?;
    }
    Ok(())
}
