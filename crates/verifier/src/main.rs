//! Tells what the kernel's verifier makes of the XDP programs, and holds it against what was agreed.
//!
//! `verifier [--walked] [--toml] [--check BUDGET] OBJECT` loads the object as the balancer does. It prints, for every
//! program and each function in it: bytes of stack, bytes of instructions after the verifier and bytes of machine code;
//! `together` has the instructions that the verifier walked, and for stack the deepest way through the calls, each frame
//! rounded up to 32 bytes as kernels before 6.8 do. `--walked` shows what was walked in each function, which takes the
//! kernel a minute where it takes it a second without. `--toml` prints the rows for the budget instead; `--check` ends with
//! 1 if a program needs more than the budget says.

mod btf;
mod budget;
mod frames;
mod log;
mod measure;
mod program;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use budget::Budget;
use measure::{For, measure};
use std::process::ExitCode;
use watch::Detail;

const USAGE: &str = "usage: verifier [--walked] [--toml] [--check BUDGET] OBJECT";

#[derive(Default)]
struct Arguments {
    walked: bool,
    toml: bool,
    check: Option<String>,
    object: Option<String>,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--walked" => found.walked = true,
            "--toml" => found.toml = true,
            "--check" => found.check = Some(given.next()?),
            option if option.starts_with('-') => return None,
            _ if found.object.is_some() => return None,
            _ => found.object = Some(argument),
        }
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(Arguments { walked, toml, check, object: Some(object) }) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match tell(walked, toml, check.as_deref(), &object) {
        Ok(over) if over.is_empty() => ExitCode::SUCCESS,
        Ok(over) => {
            for line in over {
                eprintln!("verifier: {line}");
            }
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("verifier: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for; returns what is over the budget.
fn tell(walked: bool, toml: bool, check: Option<&str>, object: &str) -> Result<Vec<String>, String> {
    let read = |path: &str| std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"));
    let object = read(object)?;
    let budget = match check {
        Some(path) => {
            let text = String::from_utf8(read(path)?).map_err(|error| format!("{path}: {error}"))?;
            Some(Budget::parse(&text).map_err(|error| format!("{path}: {error}"))?)
        }
        None => None,
    };
    let release = release()?;
    let detail = if walked { Detail::Everything } else { Detail::Sums };
    let programs = measure(&object, For::Everything, detail).map_err(|error| error.to_string())?;
    let rows = budget::rows(&programs);
    if toml {
        print!("{}", budget::lines(&release, &rows));
    } else {
        println!("Linux {release}, {}\n", For::Everything.name());
        print!("{}", table::table(&programs));
        let walkthrough = measure(&object, For::Walkthrough, Detail::Sums).map_err(|error| error.to_string())?;
        if budget::rows(&walkthrough) == rows {
            println!("The same for {}.", For::Walkthrough.name());
        } else {
            println!("{}\n", For::Walkthrough.name());
            print!("{}", table::table(&walkthrough));
        }
    }
    let Some(budget) = budget else { return Ok(Vec::new()) };
    let (over, notes) = budget.over(&release, &rows);
    for note in notes {
        eprintln!("verifier: {note}");
    }
    Ok([budget.faults(), over].concat())
}

fn release() -> Result<String, String> {
    let path = "/proc/sys/kernel/osrelease";
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(text.trim().to_owned())
}
