//! Keeps packets off that would change the flow table, for as long as its last changes are carried into another.
//!
//! Packets of established connections that have nothing to say go on: the program that is attached sees to them. All others
//! need a station, and while those that change the table are not in their places, such packets are dropped and counted as
//! `station-missing`, as they are where there are no stations at all.

use crate::attach::wait_for_packets;
use crate::error::XdpError;
use crate::pinned::STATIONS;
use evenkeel_core::Station;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `BPF_MAP_LOOKUP_ELEM` and so on (linux/bpf.h).
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROG_GET_FD_BY_ID: libc::c_int = 13;

/// The part of `union bpf_attr` that commands on a map's elements read.
#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for a program by its number.
#[repr(C)]
#[derive(Default)]
struct Number {
    id: u32,
    next: u32,
    flags: u32,
}

/// Stations that are not in their places. They come back when this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    stations: OwnedFd,
    /// What was there, as far as we may have it: who is no administrator can take a program away, and not give it back.
    taken: Vec<(u32, OwnedFd)>,
}

impl Hold {
    /// Takes the stations of an array away that change connections, and waits until no packet is in the midst of one.
    ///
    /// # Errors
    /// The kernel refused: they are in their places.
    pub(crate) fn begin(stations: OwnedFd) -> Result<Self, XdpError> {
        let mut hold = Self { stations, taken: Vec::new() };
        for (index, station) in (0..).zip(Station::ALL) {
            if station.changes_flows() {
                hold.take(index).map_err(|source| XdpError::Map { map: STATIONS, source })?;
            }
        }
        wait_for_packets();
        Ok(hold)
    }

    /// The program that they belong to is not attached any more: there is nothing to be given back.
    pub(crate) fn forget(mut self) {
        self.taken.clear();
    }

    fn take(&mut self, index: u32) -> io::Result<()> {
        let mut id = 0_u32;
        match element(MAP_LOOKUP, self.stations.as_fd(), &index, Some(&mut id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Who may not ask which program it is can do without.
            Err(_) => {}
            Ok(()) => self.taken.extend(program(id).ok().map(|program| (index, program))),
        }
        element(MAP_DELETE, self.stations.as_fd(), &index, None)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for (index, program) in &self.taken {
            // There is nothing else to be done about it; the next start has stations of its own.
            let _ = element(MAP_UPDATE, self.stations.as_fd(), index, Some(&mut (program.as_raw_fd() as u32)));
        }
    }
}

/// `value` is what the command reads or writes, if it does: the kernel wants zeroes for what it does not know.
fn element(command: libc::c_int, map: BorrowedFd<'_>, key: &u32, value: Option<&mut u32>) -> io::Result<()> {
    let attributes = Element {
        map: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        value: value.map_or(0, |value| std::ptr::from_mut(value) as u64),
        ..Element::default()
    };
    // SAFETY: key and value are of four bytes, which is what an array of programs has, and live; the kernel reads as many bytes
    // of the attributes as it is told there are.
    done(unsafe { libc::syscall(libc::SYS_bpf, command, &attributes, size_of::<Element>()) }).map(drop)
}

fn program(id: u32) -> io::Result<OwnedFd> {
    let attributes = Number { id, ..Number::default() };
    // SAFETY: the kernel reads as many bytes as it is told there are.
    let fd = done(unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &attributes, size_of::<Number>()) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn done(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
