//! Ties maps to programs that do not use them.

use std::os::fd::{AsRawFd, BorrowedFd};

/// `BPF_PROG_BIND_MAP` (linux/bpf.h), Linux 5.10 and newer.
const PROG_BIND_MAP: libc::c_int = 35;

/// The part of `union bpf_attr` that the command reads.
#[repr(C)]
struct Attributes {
    program: u32,
    map: u32,
    flags: u32,
}

/// Lets the map live as long as the program, and be listed with it. A kernel that cannot do it does not: the map has a
/// name beside, and is found by number only where names are lost.
pub(crate) fn bind(program: BorrowedFd<'_>, map: BorrowedFd<'_>) {
    let attributes = Attributes { program: program.as_raw_fd() as u32, map: map.as_raw_fd() as u32, flags: 0 };
    // SAFETY: the kernel reads as many bytes as it is told the value has, and writes none.
    unsafe { libc::syscall(libc::SYS_bpf, PROG_BIND_MAP, &attributes, size_of::<Attributes>()) };
}
