//! What the maps take.

use crate::error::BenchError;
use aya::maps::MapInfo;
use evenkeel_core::MAGLEV_SLOTS;
use evenkeel_xdp::XdpPlane;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes of memory, as the kernel accounts for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Each map's name and bytes.
    pub(crate) maps: Vec<(String, u64)>,
    /// Of the flow table alone.
    pub(crate) flow_table: u64,
    /// Of each service's Maglev table, which is no map of the program's own.
    pub(crate) maglev: u64,
}

impl Memory {
    pub(crate) fn of(plane: &XdpPlane) -> Result<Self, BenchError> {
        let program = plane.program()?.info().map_err(BenchError::driver)?;
        let mut memory = Self {
            maps: Vec::new(),
            flow_table: std::mem::size_of_val(plane.flow_table()) as u64,
            maglev: u64::from(MAGLEV_SLOTS) * 4,
        };
        for id in program.map_ids().map_err(BenchError::driver)?.unwrap_or_default() {
            let info = MapInfo::from_id(id).map_err(BenchError::driver)?;
            let descriptor = info.fd().map_err(BenchError::driver)?;
            let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
            let text = fs::read_to_string(path).map_err(BenchError::driver)?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok()).unwrap_or(0);
            memory.maps.push((info.name_as_str().unwrap_or("?").to_owned(), bytes));
        }
        memory.maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Ok(memory)
    }

    pub(crate) fn total(&self) -> u64 {
        self.maps.iter().map(|(_, bytes)| bytes).sum()
    }
}
