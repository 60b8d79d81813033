//! Values of the core as aya's maps want them, and aya's errors as ours.

use crate::error::XdpError;
use aya::Pod;
use aya::maps::MapError;
use std::io;
use zerocopy::{FromBytes, IntoBytes};

/// A value of `evenkeel-core` as aya wants it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: any bytes are a value (`FromBytes`), and there is no padding (`IntoBytes`).
unsafe impl<T: FromBytes + IntoBytes + Copy + 'static> Pod for Plain<T> {}

/// Why an operation on a map failed.
pub(crate) fn failed(map: &'static str, error: MapError) -> XdpError {
    let source = match error {
        MapError::CreateError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
            return XdpError::Privileges;
        }
        MapError::CreateError { io_error, .. } if io_error.raw_os_error() == Some(libc::ENOSYS) => {
            return XdpError::NoBpf;
        }
        MapError::CreateError { io_error, .. } => io_error,
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other.to_string()),
    };
    XdpError::Map { map, source }
}

/// [`failed`] for a map that has room for `most` of `what` and may be full: E2BIG of a hash (bpf(2), BPF_MAP_UPDATE_ELEM),
/// or an index that an array does not have.
pub(crate) fn full(map: &'static str, what: &'static str, most: u32) -> impl Fn(MapError) -> XdpError {
    move |error| match &error {
        MapError::OutOfBounds { .. } => XdpError::Full { what, most },
        MapError::SyscallError(refused) if refused.io_error.raw_os_error() == Some(libc::E2BIG) => {
            XdpError::Full { what, most }
        }
        _ => failed(map, error),
    }
}
