//! Tables and program by name: what a later process finds when this one has ended, however it has.
//!
//! A set of pins is one directory: the maps that the program shares with us, the [`State`] that goes with them, and the
//! program. It counts only while its program is the one attached to the interface, so a set that was made and never came
//! into force, or whose interface is gone, is recognised as stale. A new set is made beside the old one; attaching its
//! program is what puts it into force, in one step.

use crate::bpffs::{self, failed};
use crate::error::XdpError;
use crate::interface::Interface;
use crate::lock::only_one;
use crate::state::{STATE, State};
use aya::maps::MapData;
use aya::pin::PinError;
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use evenkeel_core::flow::{Bucket, WideBucket};
use evenkeel_core::hop::{HOPS, Hop};
use evenkeel_core::{AddressFilter, Backend, Counters, Ours, Service, Traffic};
use evenkeel_wire::{Ipv4Address, Ipv6Address};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The maps of the program, and how large a value is in each.
pub(crate) const MAPS: [(&str, usize); 13] = [
    ("FLOWS", size_of::<Bucket<u64>>()),
    ("WIDE_FLOWS", size_of::<WideBucket<u64>>()),
    ("HOPS", size_of::<Hop>() * HOPS as usize),
    ("BACKENDS", size_of::<Backend<u64>>()),
    ("SERVICES", size_of::<Service>()),
    // Ids of the maps inside.
    ("MAGLEV", size_of::<u32>()),
    ("OURS_FILTER", size_of::<AddressFilter>()),
    ("OURS", size_of::<Ours>()),
    ("WIDE_OURS", size_of::<Ours>()),
    ("NAT_ADDRESSES", size_of::<Ipv4Address>()),
    ("WIDE_NAT", size_of::<Ipv6Address>()),
    ("COUNTERS", size_of::<Counters>()),
    ("TRAFFIC", size_of::<Traffic>()),
];

/// The one map that is never taken over: with it the program that is attached would jump into the next one's stations before
/// those are in force. It has a name because the kernel empties it when nobody in user space holds it.
pub(crate) const STATIONS: &str = "STATIONS";

/// The names that tables have which can be taken over.
pub(crate) const HERITABLE: [&str; MAPS.len() + 1] = {
    let mut names = [STATIONS; MAPS.len() + 1];
    let mut index = 0;
    while index < MAPS.len() {
        names[index] = MAPS[index].0;
        index += 1;
    }
    names
};

/// The names that tables have which go with their process: what the program needs to work on when it is killed.
pub(crate) const PRIVATE: [&str; 1] = [STATIONS];

/// The program's name among the pins.
const PROGRAM: &str = "program";

/// A set of pins, or the place for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pins(PathBuf);

impl Pins {
    /// Both places where pins of an interface can be: the usual one, and the one where they are made ready.
    pub(crate) fn places(interface: &str) -> [Self; 2] {
        [Self(bpffs::directory(interface)), Self(bpffs::second_directory(interface))]
    }

    /// The set whose program has this id, and the program.
    pub(crate) fn in_force(interface: &str, id: u32) -> Option<(Self, OwnedFd)> {
        let mut places = Self::places(interface).into_iter().filter(|_| bpffs::is_private());
        places.find_map(|pins| {
            let program = Xdp::from_pin(pins.path(PROGRAM), XdpAttachType::Interface).ok()?;
            let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            (program.info().ok()?.id() == id).then_some((pins, fd))
        })
    }

    /// A map of the set, if it has it.
    pub(crate) fn map(&self, name: &str) -> Option<MapData> {
        MapData::from_pin(self.path(name)).ok()
    }

    /// Where a map of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names something.
    pub(crate) fn add(&self, name: &str, pin: impl FnOnce(&Path) -> Result<(), PinError>) -> Result<(), XdpError> {
        bpffs::pin(&self.path(name), pin)
    }

    /// Names the program. Everything else of the set must be there.
    pub(crate) fn add_program(&self, program: &mut Xdp) -> Result<(), XdpError> {
        self.add(PROGRAM, |path| program.pin(path))
    }

    /// Gives the tables of this set, and what is known of them, names in another one as well. `anew`: those that the other
    /// one has of its own.
    pub(crate) fn share(&self, other: &Self, anew: &[&str]) -> Result<(), XdpError> {
        let names = MAPS.iter().map(|(name, _)| *name).chain([STATE]);
        for name in names.filter(|name| !anew.contains(name)) {
            let map = self.map(name).ok_or_else(|| XdpError::Names { path: self.path(name) })?;
            other.add(name, |path| map.pin(path))?;
        }
        Ok(())
    }

    /// Removes the set, if there is one. What it named lives on where it is in use.
    pub(crate) fn remove(&self) -> Result<(), XdpError> {
        bpffs::remove_directory(&self.0)?;
        bpffs::remove_home_if_empty();
        Ok(())
    }

    fn take_the_place_of(&self, other: &Self) -> Result<(), XdpError> {
        bpffs::remove_directory(&other.0)?;
        fs::rename(&self.0, &other.0).map_err(failed(&self.0))
    }

    /// Whether nobody can need the set any more, once another one is in force on `interface`.
    ///
    /// # Errors
    /// It is not ours to judge.
    fn check_stale(&self, interface: &Interface) -> Result<(), XdpError> {
        match self.map(STATE).and_then(State::load) {
            Some(state) if !state.is_of_this_namespace() => Err(XdpError::ForeignPins { path: self.0.clone() }),
            // The interface may have got the name of another one, where an evenkeel is at work.
            Some(state) if state.interface != interface.index => only_one(&interface.name, state.interface).map(drop),
            _ => Ok(()),
        }
    }
}

/// A set of pins that is made ready, and removed again if it does not come into force.
#[derive(Debug)]
pub(crate) struct Staging {
    usual: Pins,
    next: Pins,
    names: &'static [&'static str],
    is_in_force: AtomicBool,
}

impl Staging {
    /// Begins a set for this interface, of maps with these names. `in_force` is the one that is, if any; it stays.
    pub(crate) fn begin(
        interface: &Interface,
        in_force: Option<&Pins>,
        names: &'static [&'static str],
    ) -> Result<Self, XdpError> {
        let [usual, next] = Pins::places(&interface.name);
        for pins in [&usual, &next].into_iter().filter(|pins| Some(*pins) != in_force) {
            pins.check_stale(interface)?;
        }
        if in_force == Some(&next) {
            // Its process was killed before it could do this.
            next.take_the_place_of(&usual)?;
        } else {
            next.remove()?;
        }
        bpffs::ready()?;
        bpffs::make_directory(&next.0)?;
        Ok(Self { usual, next, names, is_in_force: AtomicBool::new(false) })
    }

    /// Where the set is while it is made.
    pub(crate) fn pins(&self) -> &Pins {
        &self.next
    }

    /// Where the set in force is since this one was begun, if there is one.
    pub(crate) fn in_force(&self) -> &Pins {
        &self.usual
    }

    /// The maps that it is of.
    pub(crate) fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Brings the set to the usual place, since its program is attached now. Where that cannot be done it is found as well,
    /// and the next start does it.
    pub(crate) fn settle(&self) {
        self.is_in_force.store(true, Ordering::Relaxed);
        let _ = self.next.take_the_place_of(&self.usual);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_in_force.load(Ordering::Relaxed) {
            let _ = self.next.remove();
        }
    }
}
