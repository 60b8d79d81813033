//! Where a program is attached, and which one it is by now.

use crate::attach;
use crate::error::XdpError;
use crate::foothold::Foothold;
use crate::interface::Interface;
use crate::mode::Mode;
use aya::maps::Map;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place on an interface, known to the plane, which may exchange the program, and to whoever watches over it.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) interface: Interface,
    pub(crate) mode: Mode,
    /// Where the program's stations have a name that lasts, if there is such a place.
    foothold: Option<Foothold>,
    program: Mutex<Program>,
}

/// A program that the kernel knows by this id.
#[derive(Debug)]
pub(crate) struct Program {
    /// Shared, so that it can be named without another descriptor, of which there may be none.
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) id: u32,
}

impl Program {
    /// The program of a loaded object.
    pub(crate) fn of(loaded: &aya::programs::Xdp) -> Result<Self, XdpError> {
        let unloaded = |error: aya::programs::ProgramError| XdpError::Load(error.to_string());
        let id = loaded.info().map_err(unloaded)?.id();
        let fd = loaded.fd().map_err(unloaded)?.as_fd().try_clone_to_owned();
        Ok(Self { fd: Arc::new(fd.map_err(|error| XdpError::Load(error.to_string()))?), id })
    }
}

impl Post {
    /// A place where this program is attached.
    pub(crate) fn new(interface: Interface, mode: Mode, program: Program, foothold: Option<Foothold>) -> Self {
        Self { interface, mode, foothold, program: Mutex::new(program) }
    }

    /// Whether the program takes new connections also when this process is killed and its mount namespace gone.
    pub(crate) fn lasts(&self) -> bool {
        self.foothold.is_some()
    }

    /// Nothing is attached here any more.
    pub(crate) fn leave(&self) {
        if let Some(foothold) = &self.foothold {
            foothold.forget_all_but(None);
        }
    }

    /// The id of the program that was put there last.
    pub(crate) fn program_id(&self) -> u32 {
        self.program().id
    }

    /// The program that was put there last.
    pub(crate) fn program_fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.program().fd)
    }

    /// Puts another program, which has these stations, in the place of the one that is there, in one step.
    ///
    /// # Errors
    /// The kernel refused: the old one is still there, or somebody else's is.
    pub(crate) fn exchange(&self, next: Program, stations: &Map) -> Result<(), XdpError> {
        let mut program = self.program();
        if let Some(foothold) = &self.foothold {
            foothold.hold(stations, next.id)?;
        }
        let exchanged = attach::exchange(&self.interface, self.mode, next.fd.as_fd(), program.fd.as_fd());
        if let (Err(_), Some(foothold)) = (&exchanged, &self.foothold) {
            foothold.release(next.id);
        }
        exchanged?;
        *program = next;
        Ok(())
    }

    /// Forgets the stations of a program that was there before.
    pub(crate) fn settle(&self) {
        if let Some(foothold) = &self.foothold {
            foothold.forget_all_but(Some(self.program_id()));
        }
    }

    fn program(&self) -> MutexGuard<'_, Program> {
        // What is in there is whole even if somebody has panicked meanwhile.
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
