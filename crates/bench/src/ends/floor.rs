//! The least that a balancer does in this testbed: an XDP program that rewrites and remembers nothing.

use crate::error::BenchError;
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use std::io::{Read as _, Write as _, stdin, stdout};
use std::path::Path;

/// The word that this program starts itself with in the balancer's namespace.
pub(crate) const ROLE: &str = "ends-floor";

/// Attaches it until standard input ends.
pub(crate) fn serve(interface: &str, object: &Path) -> Result<(), BenchError> {
    let mut ebpf = Ebpf::load_file(object).map_err(BenchError::driver)?;
    let program: &mut Xdp = ebpf
        .program_mut("floor")
        .ok_or_else(|| BenchError::driver("no program floor"))?
        .try_into()
        .map_err(BenchError::driver)?;
    program.load().map_err(BenchError::driver)?;
    program.attach(interface, XdpMode::Driver).map_err(BenchError::driver)?;
    let _ = writeln!(stdout(), "ready");
    let _ = stdin().read(&mut [0]);
    Ok(())
}
