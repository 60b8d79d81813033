//! Being called when packets arrive, where a port can do that (DPDK Programmer's Guide, "Poll Mode Driver", "Rx interrupt").

use evenkeel_dpdk_sys as sys;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Calls the lcores of a port that wait for packets. One that does not wait hears it when it does the next time.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: numbers; the descriptor that comes back is nobody else's.
        let fd = unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))? };
        Ok(Self(Arc::new(fd)))
    }

    /// Calls them.
    pub fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes of our own. It fails only if nobody has looked for 2^64 calls.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// What the lcore of a receive queue waits by.
#[derive(Debug)]
pub(crate) struct Interrupt(OwnedFd);

impl Interrupt {
    /// For a queue of a port that has been started; nothing if the port does not call.
    pub(crate) fn of(port: u16, queue: u16, bell: &Bell) -> Option<Self> {
        // SAFETY: numbers; the descriptor that comes back is nobody else's.
        let epoll = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }.ok()?;
        // By edges: nobody has to take back what was rung. Without data, which DPDK would take for its own.
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
        // SAFETY: descriptors that are open, and values of our own. DPDK keeps the epoll's number until the port is closed,
        // and so does whoever has this.
        unsafe {
            let fd = epoll.as_raw_fd();
            let added = libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, bell.0.as_raw_fd(), &mut event) == 0;
            let add = sys::RTE_INTR_EVENT_ADD as i32;
            (added && sys::rte_eth_dev_rx_intr_ctl_q(port, queue, fd, add, std::ptr::null_mut()) == 0)
                .then_some(Self(epoll))
        }
    }

    /// Waits until it is called, or for so long. What arrived before it was armed does not count.
    pub(crate) fn wait(&self, longest: Duration) {
        let mut event = std::mem::MaybeUninit::<sys::rte_epoll_event>::zeroed();
        let milliseconds = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: room for one event, which DPDK writes or leaves.
        unsafe { sys::rte_epoll_wait(self.0.as_raw_fd(), event.as_mut_ptr(), 1, milliseconds) };
    }
}

/// # Safety
/// The descriptor, if it is one, is nobody else's.
unsafe fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
