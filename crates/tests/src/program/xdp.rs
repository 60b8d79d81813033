//! The real BPF object under BPF_PROG_TEST_RUN.

use super::outcome::Passage;
use super::setup::Setup;
use aya::TestRun as _;
use aya::programs::{ProgramError, Xdp};
use aya::{TestRunOptions, programs};
use evenkeel_core::Verdict;
use evenkeel_xdp::{XdpError, XdpPlane};
use std::io;
use std::path::Path;

/// The BPF object, as the build left it.
pub fn object() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/evenkeel.bpf.o");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read build/evenkeel.bpf.o ({error}): build the XDP program with `scripts/build-bpf.sh`.")
    })
}

/// The program with empty tables; nothing if that needs privileges that we lack and the tests may do without.
pub fn load(setup: &Setup) -> Option<XdpPlane> {
    let load = if setup.is_timeless { XdpPlane::load_timeless } else { XdpPlane::load };
    match load(&object(), setup.sizes(), setup.settings(), &setup.config.nat.addresses, setup.features) {
        Ok(plane) => Some(plane),
        Err(XdpError::Privileges) => {
            let allowed = std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1");
            assert!(
                allowed,
                "this test loads a BPF program and needs root: run it as root, or set EVENKEEL_SKIP_PRIVILEGED=1 to skip it."
            );
            println!("skipped: loading a BPF program needs root, and EVENKEEL_SKIP_PRIVILEGED=1 is set.");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A packet through the program, on the CPU that the calling thread happens to be on.
#[track_caller]
pub(super) fn run(plane: &XdpPlane, packet: &[u8]) -> Passage {
    let program = plane.program().expect("it is loaded");
    let (verdict, bytes) = match test_run(program, packet, None, 1) {
        Ok(outcome) => outcome,
        Err(error) => panic!("BPF_PROG_TEST_RUN of {} bytes: {error}", packet.len()),
    };
    if verdict == Verdict::Transmit {
        return Passage { verdict: Some(verdict), sent: Some(bytes) };
    }
    assert_eq!(bytes, packet, "{} (right) is not as it came (left: changed)", verdict.name());
    Passage { verdict: Some(verdict), sent: None }
}

/// BPF_PROG_TEST_RUN: the verdict, and the packet afterwards. `linear`: how much of the packet is in its first buffer, if
/// not as much as fits.
///
/// # Errors
/// The kernel's.
pub fn test_run(program: &Xdp, packet: &[u8], linear: Option<u32>, repeat: u32) -> io::Result<(Verdict, Vec<u8>)> {
    // `struct xdp_md`: data, data_end, then four fields that are zero.
    let context: Vec<u8> =
        [0, linear.unwrap_or(0), 0, 0, 0, 0].iter().flat_map(|field: &u32| field.to_ne_bytes()).collect();
    // What is answered by a message about itself may be longer.
    let mut out = vec![0; packet.len() + 64];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: linear.map(|_| context.as_slice()),
        repeat,
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).map_err(system_error)?;
    out.truncate(result.data_size_out as usize);
    // `enum xdp_action` of linux/bpf.h.
    let verdict = match result.return_value {
        1 => Verdict::Drop,
        2 => Verdict::Pass,
        3 => Verdict::Transmit,
        other => panic!("the program returned {other}"),
    };
    Ok((verdict, out))
}

fn system_error(error: ProgramError) -> io::Error {
    match error {
        programs::ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
