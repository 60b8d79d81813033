//! What the kernel's verifier makes of each program of the object.

use crate::frames;
use crate::log;
use crate::program::{Chain, Linked};
use crate::watch::{self, Detail, Load, Made};
use evenkeel_control::{Secrets, Sizes};
use evenkeel_core::Features;
use evenkeel_core::flow::IdleTimes;
use evenkeel_wire::MacAddress;
use evenkeel_xdp::{XdpError, XdpPlane};

/// Which configuration the programs are loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// All features, which is what has to fit.
    Everything,
    /// `xdp_lb` with no arguments.
    Walkthrough,
}

/// A program and what the verifier made of it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) program: Linked,
    pub(crate) made: Made,
    /// Instructions walked, by function, if that was asked for; those that the log does not show are missing.
    pub(crate) walked: Option<Vec<u32>>,
    /// Bytes of stack by function, as the verifier found them; if some are gone, as the object has them.
    pub(crate) frames: Vec<u32>,
    /// The way through the calls that needs the most stack, each function's rounded up.
    pub(crate) deepest: Chain,
}

/// Why there is nothing to be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    /// The loader's reason.
    #[error(transparent)]
    Load(#[from] XdpError),
    /// The verifier's statistics cannot be read.
    #[error("this kernel's verifier does not tell {0}")]
    Untold(String),
}

impl For {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Everything => "all features",
            Self::Walkthrough => "the walk-through's configuration",
        }
    }

    fn features(self) -> Features {
        match self {
            Self::Everything => Features::ALL,
            Self::Walkthrough => evenkeel_control::features(&evenkeel_control::walkthrough()),
        }
    }
}

/// Loads the object as the real loader does, and says what the verifier did, by the programs' names.
///
/// # Errors
/// It cannot be loaded, or the kernel does not say.
pub(crate) fn measure(object: &[u8], purpose: For, detail: Detail) -> Result<Vec<Program>, MeasureError> {
    let mut config = evenkeel_control::walkthrough();
    // The verifier does not mind how large a table is.
    config.dataplane.max_flows = 1024;
    let sizes = Sizes::for_config(&config);
    let secrets = Secrets { pick: [1, 2], flow: [3, 4, 5, 6] };
    let settings = sizes.settings(&config, &secrets, MacAddress([2, 0, 0, 0, 0, 1]), IdleTimes::DEFAULT);
    let features = purpose.features();
    let load = || XdpPlane::load(object, sizes, settings, &config.nat.addresses, features);
    let (plane, loads) = watch::during(detail, load);
    plane?;
    let mut programs = loads.into_iter().map(|load| program(load, detail)).collect::<Result<Vec<_>, _>>()?;
    programs.sort_by(|one, other| one.program.name().cmp(other.program.name()));
    Ok(programs)
}

fn program(Load { program, log, made }: Load, detail: Detail) -> Result<Program, MeasureError> {
    let untold = |what: &str| MeasureError::Untold(format!("{what} of {}", program.name()));
    let made = made.ok_or_else(|| untold("anything"))?;
    let told = log::read(&log, &program);
    // A function that no packet of this configuration can need is gone, and the verifier does not say which one.
    let frames = told.stack.unwrap_or_else(|| frames::frames(&program));
    // Programs have borne it since Linux 5.16.
    if made.walked == 0 || told.processed != Some(made.walked) {
        return Err(untold("how much it walked"));
    }
    let walked = (detail == Detail::Everything).then_some(told.walked);
    Ok(Program { deepest: program.deepest(&frames), walked, frames, made, program })
}
