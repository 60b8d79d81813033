//! Attaching the program to an interface.
//!
//! By netlink and not by a BPF link, because that is what `ip link set dev IFACE xdpgeneric off` can undo, and because
//! the program then goes on working when this process is killed.

use crate::error::XdpError;
use crate::interface::{Interface, program};
use crate::left_behind::LeftBehind;
use crate::mode::Mode;
use crate::pinned::Pins;
use evenkeel_control::config::XdpMode;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::Handle;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// `XDP_FLAGS_*` (linux/if_link.h).
const UPDATE_IF_NOEXIST: u32 = 1 << 0;
const REPLACE: u32 = 1 << 4;

/// Attaches a program in the first of the wanted modes that the interface can do. `Auto` stays in the mode in which a
/// program was left behind, because the kernel replaces at once only there.
pub(crate) async fn attach(
    netlink: &Handle,
    interface: &Interface,
    wanted: XdpMode,
    left_behind: Option<&LeftBehind>,
    program: BorrowedFd<'_>,
) -> Result<Mode, XdpError> {
    let modes: &[Mode] = match wanted {
        XdpMode::Native => &[Mode::Native],
        XdpMode::Generic => &[Mode::Generic],
        XdpMode::Auto => match (left_behind.map(|left| left.mode), interface.native_transmit_arrives()) {
            (Some(Mode::Native), Some(true) | None) => &[Mode::Native],
            (None, Some(true)) => &[Mode::Native, Mode::Generic],
            _ => &[Mode::Generic],
        },
    };
    let mut refusal = XdpError::Attach { interface: interface.name.clone(), reason: "no mode to try".to_owned() };
    for &mode in modes {
        match replace(netlink, interface, left_behind, mode, program).await {
            Ok(()) => return Ok(mode),
            Err(error) if mode == Mode::Native && is_unsupported(&error) => {
                refusal = XdpError::NoNative { interface: interface.name.clone(), reason: error.to_string() };
            }
            Err(error) => refusal = other(interface)(error),
        }
    }
    Err(refusal)
}

/// Attaches a program where nobody's is, or the one that was left behind.
async fn replace(
    netlink: &Handle,
    interface: &Interface,
    left_behind: Option<&LeftBehind>,
    mode: Mode,
    program: BorrowedFd<'_>,
) -> Result<(), rtnetlink::Error> {
    let Some(LeftBehind { program: old, mode: old_mode, .. }) = left_behind else {
        return change(netlink, interface, mode, Some(program), None).await;
    };
    if *old_mode == mode {
        return change(netlink, interface, mode, Some(program), Some(old.as_fd())).await;
    }
    // From one mode to the other there is a moment without a program.
    change(netlink, interface, *old_mode, None, Some(old.as_fd())).await?;
    let outcome = change(netlink, interface, mode, Some(program), None).await;
    if outcome.is_err() {
        // The refusal is what matters; whether the old program could be put back shows in `ip link`.
        let _ = change(netlink, interface, *old_mode, Some(old.as_fd()), None).await;
    }
    outcome
}

/// Takes a program away, unless another has taken its place.
pub(crate) async fn detach(
    netlink: &Handle,
    interface: &Interface,
    mode: Mode,
    program: BorrowedFd<'_>,
) -> Result<(), XdpError> {
    change(netlink, interface, mode, None, Some(program)).await.map_err(other(interface))
}

/// A program at its place. Stays there until [`Attachment::detach`].
#[derive(Debug)]
pub struct Attachment {
    interface: Interface,
    mode: Mode,
    program: OwnedFd,
    program_id: u32,
    took_over: bool,
    /// Where its tables have names.
    pins: Vec<Pins>,
    /// Held as long as we are at work on this interface; the kernel lets go of it however we end.
    _only_one: UnixDatagram,
}

impl Attachment {
    pub(crate) fn new(
        interface: Interface,
        mode: Mode,
        program: OwnedFd,
        program_id: u32,
        took_over: bool,
        pins: Vec<Pins>,
        only_one: UnixDatagram,
    ) -> Self {
        Self { interface, mode, program, program_id, took_over, pins, _only_one: only_one }
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The mode that it came to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a program that was left behind was replaced.
    pub fn took_over(&self) -> bool {
        self.took_over
    }

    /// Whether the program is still where it was put, judged by a message about the interface.
    pub fn is_in(&self, message: &LinkMessage) -> bool {
        message.header.index != self.interface.index || program(message).is_some_and(|(id, _)| id == self.program_id)
    }

    /// Whether the program is still where it was put.
    pub async fn is_in_place(&self, netlink: &Handle) -> bool {
        self.interface
            .message(netlink)
            .await
            .and_then(|message| program(&message))
            .is_some_and(|(id, _)| id == self.program_id)
    }

    /// Takes the program away, unless another has taken its place, and with it the names of its tables.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn detach(self, netlink: &Handle) -> Result<(), XdpError> {
        detach(netlink, &self.interface, self.mode, self.program.as_fd()).await?;
        self.clear()
    }

    /// Ends, and leaves program and tables at work, for another process to take over.
    pub fn leave(self) {}

    /// Ends after the program has been taken away by somebody else: its tables are of no use any more.
    ///
    /// # Errors
    /// Their names cannot be removed.
    pub fn lost(self) -> Result<(), XdpError> {
        self.clear()
    }

    fn clear(&self) -> Result<(), XdpError> {
        self.pins.iter().try_for_each(Pins::remove)
    }
}

/// Sets (`new`) or clears the program, if the one that is there now is `expected`.
async fn change(
    netlink: &Handle,
    interface: &Interface,
    mode: Mode,
    new: Option<BorrowedFd<'_>>,
    expected: Option<BorrowedFd<'_>>,
) -> Result<(), rtnetlink::Error> {
    let condition = if expected.is_some() { REPLACE } else { UPDATE_IF_NOEXIST };
    let mut xdp = vec![LinkXdp::Fd(new.map_or(-1, |fd| fd.as_raw_fd())), LinkXdp::Flags(mode.flag() | condition)];
    if let Some(expected) = expected {
        xdp.push(LinkXdp::ExpectedFd(expected.as_raw_fd() as u32));
    }
    let mut message = LinkMessage::default();
    message.header.index = interface.index;
    message.attributes.push(LinkAttribute::Xdp(xdp));
    netlink.link().set(message).execute().await
}

fn is_unsupported(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(error) if [libc::EOPNOTSUPP, libc::EINVAL, libc::ERANGE].contains(&-error.raw_code()))
}

fn other(interface: &Interface) -> impl Fn(rtnetlink::Error) -> XdpError {
    let interface = interface.name.clone();
    move |error| match &error {
        rtnetlink::Error::NetlinkError(message) if message.raw_code() == -libc::EPERM => XdpError::Privileges,
        _ => XdpError::Attach { interface: interface.clone(), reason: error.to_string() },
    }
}
