//! One question to a driver (ethtool ioctl, linux/ethtool.h).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_GGRO`: is generic receive offload on?
const GET_GRO: u32 = 0x2b;

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether GRO is on at the interface with this index in our namespace; nothing if it cannot be asked.
pub(crate) fn gro(index: u32) -> Option<bool> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return None;
    }
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the call may write.
    if unsafe { libc::if_indextoname(index, request.ifr_name.as_mut_ptr()) }.is_null() {
        return None;
    }
    let mut value = Value { command: GET_GRO, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request carries a name and a pointer to a value of the kind that the command wants; both outlive it.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    (answer == 0).then_some(value.data != 0)
}
