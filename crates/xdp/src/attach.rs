//! Attaching the program to an interface.
//!
//! By netlink and not by a BPF link, because that is what `ip link set dev IFACE xdpgeneric off` can undo, and because
//! the program then goes on working when this process is killed.

use crate::error::XdpError;
use crate::interface::{Interface, program};
use crate::plane::{PROGRAM, XdpPlane};
use evenkeel_control::config::XdpMode;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::Handle;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// `XDP_FLAGS_*` (linux/if_link.h).
const UPDATE_IF_NOEXIST: u32 = 1 << 0;
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;
const REPLACE: u32 = 1 << 4;

/// Where in the interface's path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In front of the network stack.
    Generic,
}

impl Mode {
    fn flag(self) -> u32 {
        match self {
            Self::Native => DRV_MODE,
            Self::Generic => SKB_MODE,
        }
    }

    /// The word that `ip link set dev IFACE ... off` wants.
    pub fn ip_link_word(self) -> &'static str {
        match self {
            Self::Native => "xdpdrv",
            Self::Generic => "xdpgeneric",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// The right to attach a program to an interface: nobody else is at work there.
#[derive(Debug)]
pub struct Claim {
    interface: Interface,
    /// The program that a killed evenkeel left behind, and whether it is in generic mode.
    left_behind: Option<(OwnedFd, bool)>,
    only_one: UnixDatagram,
}

impl Claim {
    /// Looks whether the interface is free, and keeps other evenkeels away from it.
    ///
    /// # Errors
    /// Another program is attached, or another evenkeel works there.
    pub fn take(interface: Interface) -> Result<Self, XdpError> {
        let only_one = only_one(&interface)?;
        let left_behind = match interface.program {
            Some((id, generic)) => Some((predecessor(&interface, id, generic)?, generic)),
            None => None,
        };
        Ok(Self { interface, left_behind, only_one })
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Attaches the plane's program. `Auto` is native where frames sent natively arrive, as far as that can be seen,
    /// and the driver can do it; generic otherwise. A program that a killed evenkeel left behind is replaced.
    ///
    /// # Errors
    /// The driver cannot do what was asked, or somebody else has attached a program meanwhile.
    pub async fn attach(self, netlink: &Handle, wanted: XdpMode, plane: &XdpPlane) -> Result<Attachment, XdpError> {
        let Self { interface, left_behind, only_one } = self;
        let object = plane.program()?;
        let unloaded = |error: aya::programs::ProgramError| XdpError::Load(error.to_string());
        let program_id = object.info().map_err(unloaded)?.id();
        let program = object.fd().map_err(unloaded)?.as_fd().try_clone_to_owned();
        let program = program.map_err(|error| XdpError::Load(error.to_string()))?;
        let modes: &[Mode] = match wanted {
            XdpMode::Native => &[Mode::Native],
            XdpMode::Generic => &[Mode::Generic],
            XdpMode::Auto if interface.native_transmit_arrives() == Some(true) => &[Mode::Native, Mode::Generic],
            XdpMode::Auto => &[Mode::Generic],
        };
        let mut refusal = XdpError::Attach { interface: interface.name.clone(), reason: "no mode to try".to_owned() };
        for &mode in modes {
            match replace(netlink, &interface, left_behind.as_ref(), mode, program.as_fd()).await {
                Ok(()) => {
                    let took_over = left_behind.is_some();
                    return Ok(Attachment { interface, mode, program, program_id, took_over, _only_one: only_one });
                }
                Err(error) if mode == Mode::Native && is_unsupported(&error) => {
                    refusal = XdpError::NoNative { interface: interface.name.clone(), reason: error.to_string() };
                }
                Err(error) => refusal = other(&interface)(error),
            }
        }
        Err(refusal)
    }
}

/// Attaches a program where nobody's is, or the one that was left behind.
async fn replace(
    netlink: &Handle,
    interface: &Interface,
    left_behind: Option<&(OwnedFd, bool)>,
    mode: Mode,
    program: BorrowedFd<'_>,
) -> Result<(), rtnetlink::Error> {
    let mut expected = None;
    if let Some((old, generic)) = left_behind {
        let old_mode = if *generic { Mode::Generic } else { Mode::Native };
        if old_mode == mode {
            expected = Some(old.as_fd());
        } else {
            // The kernel replaces within a mode; from one to the other there is a moment without a program.
            change(netlink, interface, old_mode, None, Some(old.as_fd())).await?;
        }
    }
    change(netlink, interface, mode, Some(program), expected).await
}

/// A program at its place. Stays there until [`Attachment::detach`].
#[derive(Debug)]
pub struct Attachment {
    interface: Interface,
    mode: Mode,
    program: OwnedFd,
    program_id: u32,
    took_over: bool,
    /// Held as long as we are at work on this interface; the kernel lets go of it however we end.
    _only_one: UnixDatagram,
}

impl Attachment {
    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The mode that it came to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a program that a killed evenkeel had left behind was replaced.
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

    /// Takes the program away, unless another has taken its place.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn detach(self, netlink: &Handle) -> Result<(), XdpError> {
        change(netlink, &self.interface, self.mode, None, Some(self.program.as_fd()))
            .await
            .map_err(other(&self.interface))
    }
}

/// Sees to it that one evenkeel at a time works on an interface: an abstract socket address is taken by one process of
/// a network namespace and is free again when that process ends.
fn only_one(interface: &Interface) -> Result<UnixDatagram, XdpError> {
    let address = SocketAddr::from_abstract_name(format!("evenkeel-xdp-{}", interface.index));
    address.and_then(|address| UnixDatagram::bind_addr(&address)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => XdpError::Running(interface.name.clone()),
        _ => XdpError::Attach { interface: interface.name.clone(), reason: error.to_string() },
    })
}

/// The program that is attached, if it is one of ours that nobody looks after any more.
fn predecessor(interface: &Interface, id: u32, generic: bool) -> Result<OwnedFd, XdpError> {
    let mut name = String::new();
    for program in aya::programs::loaded_programs() {
        let Ok(program) = program else { return Err(XdpError::Privileges) };
        if program.id() != id {
            continue;
        }
        name = program.name_as_str().unwrap_or_default().to_owned();
        if name == PROGRAM
            && let Ok(fd) = program.fd()
            && let Ok(fd) = fd.as_fd().try_clone_to_owned()
        {
            return Ok(fd);
        }
    }
    Err(XdpError::Occupied {
        interface: interface.name.clone(),
        id,
        name: if name.is_empty() { name } else { format!(", {name}") },
        off: if generic { "xdpgeneric" } else { "xdpdrv" },
    })
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
