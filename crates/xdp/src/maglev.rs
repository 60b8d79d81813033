//! The Maglev tables: an array of arrays, each of which is replaced whole.

use crate::error::XdpError;
use crate::plain::{failed, full};
use crate::programs::Programs;
use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use evenkeel_core::MAGLEV_SLOTS;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::thread;

const NAME: &str = "MAGLEV";

type Slots = [u32; MAGLEV_SLOTS as usize];

/// The program's tables.
pub(crate) struct MaglevTables(MapData);

impl MaglevTables {
    /// Takes them out of the object.
    pub(crate) fn new(programs: &mut Programs) -> Result<Self, XdpError> {
        match programs.take_map(NAME)? {
            Map::ArrayOfMaps(map) => Ok(Self(map)),
            _ => Err(XdpError::Object(format!("no array of maps {NAME}"))),
        }
    }

    /// Replaces tables: their numbers, and their slots.
    ///
    /// The kernel lets a writer of such an array wait until no CPU can be using what was there before (Linux,
    /// kernel/bpf/syscall.c, `maybe_wait_bpf_programs`): some milliseconds for a table. Those who wait at the same time wait
    /// together, so each table is written by a thread.
    pub(crate) fn replace(&self, tables: &[(u32, Vec<u32>)]) -> Result<(), XdpError> {
        thread::scope(|scope| {
            let mut writers = Vec::with_capacity(tables.len());
            for (table, slots) in tables {
                let write = || self.replace_one(*table, slots);
                match thread::Builder::new().spawn_scoped(scope, write) {
                    Ok(writer) => writers.push(writer),
                    // There may be no more threads: then one after the other.
                    Err(_) => write()?,
                }
            }
            writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    fn replace_one(&self, table: u32, slots: &[u32]) -> Result<(), XdpError> {
        let slots: &Slots = slots.try_into().map_err(|_| XdpError::Object(format!("{} Maglev slots", slots.len())))?;
        let mut inner = Array::create(1, 0).map_err(|error| failed(NAME, error))?;
        inner.set(0, slots, 0).map_err(|error| failed(NAME, error))?;
        let mut outer = self.handle()?;
        outer.set(table, &inner, 0).map_err(full(NAME, "services", outer.len()))
    }

    /// The array once more, for one thread.
    fn handle(&self) -> Result<ArrayOfMaps<MapData, Array<MapData, Slots>>, XdpError> {
        let fd = self.0.fd().as_fd().try_clone_to_owned().map_err(|source| XdpError::Map { map: NAME, source })?;
        let map = MapData::from_fd(fd).and_then(Map::from_map_data).and_then(ArrayOfMaps::try_from);
        map.map_err(|error| failed(NAME, error))
    }
}
