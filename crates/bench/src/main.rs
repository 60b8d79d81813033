//! What a packet costs, on both planes, beside a yardstick in the same run. No network is touched, but by `ends`, which
//! wants a sandbox.
//!
//! Timing never makes this fail; a packet that got another verdict than the one that is meant does.

mod deployment;
mod dpdk;
mod ends;
mod error;
mod flood;
#[allow(unreachable_pub, reason = "the measuring programs compile the same file")]
mod layout;
mod packet;
mod segment;
mod shuffle;
mod spread;
mod xdp;

use error::BenchError;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    quick: bool,
    /// Only this plane.
    plane: Option<Plane>,
    /// Another build of the XDP program.
    object: Option<PathBuf>,
    /// The bench program of another version, whose XDP program is measured in the same turns.
    beside: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plane {
    Xdp,
    Dpdk,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // What this program starts itself as, since EAL wants a process to itself.
    if let Some(done) = dpdk::serve(&arguments).or_else(|| ends::serve(&arguments)) {
        return done;
    }
    let done = match arguments.split_first() {
        Some((word, rest)) if word == xdp::beside::LEND => xdp::lend(rest),
        Some((word, [])) if word == "flood" => flood::simulate(),
        Some((word, rest)) if word == "ends" => ends::measure(rest),
        _ => options(arguments.into_iter()).and_then(|options| measure(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, BenchError> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--object" => options.object = Some(arguments.next().ok_or(BenchError::Usage(argument))?.into()),
            "--beside" => options.beside = Some(arguments.next().ok_or(BenchError::Usage(argument))?.into()),
            "--plane" => {
                options.plane = match arguments.next().as_deref() {
                    Some("xdp") => Some(Plane::Xdp),
                    Some("dpdk") => Some(Plane::Dpdk),
                    other => return Err(BenchError::Usage(format!("{argument} {}", other.unwrap_or_default()))),
                }
            }
            _ => return Err(BenchError::Usage(argument)),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), BenchError> {
    if options.plane != Some(Plane::Dpdk) {
        xdp::measure(options.quick, options.object.as_deref(), options.beside.as_deref())?;
    }
    if options.plane != Some(Plane::Xdp) {
        dpdk::measure(options.quick)?;
    }
    Ok(())
}
