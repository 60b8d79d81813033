//! Attaching the program to an interface.
//!
//! By netlink and not by a BPF link, because that is what `ip link set dev IFACE xdpgeneric off` can undo, and because
//! the program then goes on working when this process is killed.

use crate::error::XdpError;
use crate::interface::Interface;
use crate::left_behind::LeftBehind;
use crate::mode::Mode;
use crate::netlink::{self, order};
use evenkeel_control::config::XdpMode;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::Handle;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::thread;

/// `XDP_FLAGS_*` (linux/if_link.h).
const UPDATE_IF_NOEXIST: u32 = 1 << 0;
const REPLACE: u32 = 1 << 4;

/// Attaches a program in the first of the wanted modes that the interface can do, and says which that is, and if `Auto` came to
/// generic mode, why. `Auto` stays in the mode in which a program was left behind, because the kernel replaces at once only
/// there.
pub(crate) async fn attach(
    netlink: &Handle,
    interface: &Interface,
    wanted: XdpMode,
    left_behind: Option<&LeftBehind>,
    program: BorrowedFd<'_>,
) -> Result<(Mode, Option<String>), XdpError> {
    let generic = |why: &str| (&[Mode::Generic][..], Some(why.to_owned()));
    let (modes, mut fallback): (&[Mode], Option<String>) = match wanted {
        XdpMode::Native => (&[Mode::Native], None),
        XdpMode::Generic => (&[Mode::Generic], None),
        XdpMode::Auto => match (left_behind.map(|left| left.mode), interface.native_transmit_arrives()) {
            (Some(Mode::Native), Some(true) | None) => (&[Mode::Native], None),
            (None, Some(true)) => (&[Mode::Native, Mode::Generic], None),
            (Some(Mode::Generic), _) => {
                generic("the program before is in generic mode, where alone it is exchanged in one step")
            }
            (_, Some(false)) => generic("the other end of the veth pair has no XDP program"),
            (_, None) => generic("the other end of the veth pair is out of sight, and may have no XDP program"),
        },
    };
    let mut refusal = XdpError::Attach { interface: interface.name.clone(), reason: "no mode to try".to_owned() };
    for &mode in modes {
        match replace(netlink, interface, left_behind, mode, program).await {
            Ok(()) => {
                wait_for_packets();
                return Ok((mode, fallback));
            }
            Err(error) if mode == Mode::Native && is_unsupported(&error) => {
                fallback = Some(format!("the driver refuses native mode ({error})"));
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

/// Puts a program in the place of the one that is there. Waits for the kernel's answer, for who cannot wait in another way.
pub(crate) fn exchange(
    interface: &Interface,
    mode: Mode,
    next: BorrowedFd<'_>,
    current: BorrowedFd<'_>,
) -> Result<(), XdpError> {
    let failed =
        |error: std::io::Error| XdpError::Attach { interface: interface.name.clone(), reason: error.to_string() };
    // A thread of its own, because this one may be a runtime's already.
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let netlink = netlink::connect().map_err(failed)?;
            change(&netlink, interface, mode, Some(next), Some(current)).await.map_err(other(interface))
        })
    };
    thread::scope(|scope| scope.spawn(ask).join().unwrap_or_else(|panic| resume_unwind(panic)))?;
    wait_for_packets();
    Ok(())
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
    order(netlink.link().set(message).execute(), || rtnetlink::Error::RequestFailed).await
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

/// Waits until no CPU can be in the midst of a packet that the program before has begun (membarrier(2): the kernel waits for
/// an RCU grace period): its stations go next.
pub(crate) fn wait_for_packets() {
    // SAFETY: takes numbers and touches no memory. A kernel that cannot do it says so, and packets take a microsecond.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
