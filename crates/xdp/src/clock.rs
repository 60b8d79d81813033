//! The clock by which the program stamps flows.

use crate::error::XdpError;
use aya::programs::Xdp;
use evenkeel_core::flow::Now;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The length of the kernel's tick, in nanoseconds: what the coarse clocks resolve (clock_getres(2)).
pub(crate) fn nanoseconds_per_jiffy() -> u64 {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own. The call cannot fail: every Linux since 2.6.32 has the clock.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut resolution) };
    resolution.tv_sec as u64 * 1_000_000_000 + resolution.tv_nsec as u64
}

/// The program `clock`, which reads what the packet path reads. It goes on telling the time, whatever becomes of the object
/// that it was loaded from, and other threads may ask it.
#[derive(Debug)]
pub(crate) struct Clock(OwnedFd);

/// `BPF_PROG_TEST_RUN` (linux/bpf.h).
const PROG_TEST_RUN: libc::c_int = 10;

/// The part of `union bpf_attr` that the command reads and writes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

impl Clock {
    /// A clock of the program, which must be loaded.
    pub(crate) fn of(program: &Xdp) -> Result<Self, XdpError> {
        let fd = program.fd().map_err(|error| XdpError::Clock(io::Error::other(error)))?;
        Ok(Self(fd.as_fd().try_clone_to_owned().map_err(XdpError::Clock)?))
    }

    /// Now.
    pub(crate) fn now(&self) -> Result<Now, XdpError> {
        // The kernel wants an Ethernet header's worth of bytes.
        let data = [0_u8; 14];
        let mut attributes = Attributes {
            program: self.0.as_raw_fd() as u32,
            data_size_in: data.len() as u32,
            data_in: data.as_ptr() as u64,
            repeat: 1,
            ..Attributes::default()
        };
        loop {
            // SAFETY: the kernel reads `data`, which lives, and reads and writes as many bytes of `attributes` as it is
            // told the value has.
            let done =
                unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attributes, size_of::<Attributes>()) };
            if done == 0 {
                return Ok(Now(attributes.answer));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(XdpError::Clock(error));
            }
        }
    }
}
