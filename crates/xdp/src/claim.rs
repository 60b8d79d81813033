//! The right to work on an interface, and what was found there.

use crate::attach;
use crate::attachment::Attachment;
use crate::error::XdpError;
use crate::estate::Estate;
use crate::foothold::Foothold;
use crate::growth::Growth;
use crate::interface::{Interface, Master, with_programs};
use crate::left_behind::{LeftBehind, Source};
use crate::lock::only_one;
use crate::mode::Mode;
use crate::pinned::Pins;
use crate::plane::XdpPlane;
use crate::post::{Post, Program};
use crate::programs::PROGRAM;
use evenkeel_control::InterfaceClaim;
use evenkeel_control::config::XdpMode;
use rtnetlink::Handle;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The right to attach a program to an interface: nobody else is at work there.
#[derive(Debug)]
pub struct Claim {
    interface: Interface,
    left_behind: Option<LeftBehind>,
    only_one: InterfaceClaim,
}

impl Claim {
    /// Looks whether the interface is free, and keeps other evenkeels away from it.
    ///
    /// # Errors
    /// Another program is attached, another evenkeel works there, or the interface is a port of a bridge or the like, through
    /// which the kernel would send nothing by itself.
    pub fn take(interface: Interface) -> Result<Self, XdpError> {
        if let Some(Master { name, kind }) = interface.master.clone() {
            return Err(XdpError::Port { interface: interface.name, master: name, kind });
        }
        let only_one = only_one(&interface.name, interface.index)?;
        let left_behind = match interface.program {
            Some((id, generic)) => Some(predecessor(&interface, id, generic)?),
            None => None,
        };
        Ok(Self { interface, left_behind, only_one })
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The tables that were left here to be taken over.
    pub(crate) fn estate(&self) -> Option<Estate> {
        Estate::open(&self.left_behind.as_ref()?.source)
    }

    /// The pins of the program that is attached.
    pub(crate) fn pins_in_force(&self) -> Option<&Pins> {
        match &self.left_behind.as_ref()?.source {
            Source::Pins(pins) => Some(pins),
            Source::Numbers(_) => None,
        }
    }

    /// Attaches the plane's program. `Auto` is native where frames sent natively arrive, as far as that can be seen,
    /// and the driver can do it; generic otherwise. A program that was left behind is replaced.
    ///
    /// # Errors
    /// The driver cannot do what was asked, or somebody else has attached a program meanwhile.
    pub async fn attach(self, netlink: &Handle, wanted: XdpMode, plane: &XdpPlane) -> Result<Attachment, XdpError> {
        let Self { interface, left_behind, only_one } = self;
        let program = Program::of(plane.program()?)?;
        let mut growth = plane.take_growth();
        let hold = growth.as_mut().map(Growth::finish).transpose()?.flatten();
        // Without one the program works as well, as long as nobody kills us.
        let foothold = Foothold::find(&interface);
        let foothold = foothold.filter(|foothold| foothold.hold(plane.stations(), program.id).is_ok());
        let mode = attach::attach(netlink, &interface, wanted, left_behind.as_ref(), program.fd.as_fd()).await;
        if let (Err(_), Some(foothold)) = (&mode, &foothold) {
            foothold.release(program.id);
        }
        let (mode, fallback) = mode?;
        if let Some(hold) = hold {
            hold.forget();
        }
        let post = Arc::new(Post::new(interface, mode, program, foothold));
        let pins = plane.take_post(&post, left_behind.as_ref());
        post.settle();
        if let Some(growth) = growth {
            // The program balances; what was counted before is not worth ending it.
            let _ = plane.has_grown(growth);
        }
        Ok(Attachment::new(post, fallback, left_behind.is_some(), pins, only_one))
    }

    /// Gives the claim up before anything was attached, and takes away a program whose tables would have been taken over:
    /// for who is asked to end.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn give_up(self, netlink: &Handle) -> Result<(), XdpError> {
        let Some(LeftBehind { program, mode, source: Source::Pins(_) }) = self.left_behind else { return Ok(()) };
        attach::detach(netlink, &self.interface, mode, program.as_fd()).await?;
        if let Some(foothold) = Foothold::find(&self.interface) {
            foothold.forget_all_but(None);
        }
        Pins::places(&self.interface.name).iter().try_for_each(Pins::remove)
    }
}

/// An interface of our network namespace on which a program of ours balances by itself, and where in its path.
///
/// # Errors
/// Netlink does not answer.
pub async fn left_at_work(netlink: &Handle) -> Result<Option<(String, Mode)>, XdpError> {
    for name in with_programs(netlink).await? {
        // Of others' programs, and of those that somebody is at work with, there is no claim to be had.
        if let Ok(interface) = Interface::find(netlink, &name).await
            && interface.has_program()
            && let Ok(Claim { left_behind: Some(LeftBehind { mode, .. }), .. }) = Claim::take(interface)
        {
            return Ok(Some((name, mode)));
        }
    }
    Ok(None)
}

/// The program that is attached, if it is one of ours that nobody looks after any more.
fn predecessor(interface: &Interface, id: u32, generic: bool) -> Result<LeftBehind, XdpError> {
    let mode = if generic { Mode::Generic } else { Mode::Native };
    if let Some((pins, program)) = Pins::in_force(&interface.name, id) {
        return Ok(LeftBehind { program, mode, source: Source::Pins(pins) });
    }
    let mut name = String::new();
    for program in aya::programs::loaded_programs() {
        // Who may not look has found no pins: somebody else's, as far as can be told.
        let Ok(program) = program else { break };
        if program.id() != id {
            continue;
        }
        name = program.name_as_str().unwrap_or_default().to_owned();
        if name == PROGRAM
            && let Ok(fd) = program.fd()
            && let Ok(fd) = fd.as_fd().try_clone_to_owned()
        {
            let numbers = program.map_ids().ok().flatten().unwrap_or_default();
            return Ok(LeftBehind { program: fd, mode, source: Source::Numbers(numbers) });
        }
    }
    Err(XdpError::Occupied {
        interface: interface.name.clone(),
        id,
        name: if name.is_empty() { name } else { format!(", {name}") },
        off: mode.ip_link_word(),
    })
}
