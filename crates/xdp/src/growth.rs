//! Larger tables in the place of others, while packets fly.
//!
//! What the control side writes alone needs nothing of this: it is made as large as it can ever be. The flow tables grow, and
//! the table of what backends have carried. The flow tables are carried as [`evenkeel_control::carry`] says, with a [`Hold`] on the stations that would change them. What backends have
//! carried is counted anew, and what was counted before goes into the upper half of the new table, where no packet counts.

use crate::error::XdpError;
use crate::hold::Hold;
use crate::maps::{Cells, MappedArray};
use crate::pinned::STATIONS;
use crate::plain::{Plain, failed};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use evenkeel_control::carry::{Carried, Carrying};
use evenkeel_core::Traffic;
use evenkeel_core::flow::{Bucket, BucketOf, Entry, WideBucket, WideEntry};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The table of IPv4 flows, as it is mapped.
pub(crate) type FlowTable = MappedArray<Bucket<AtomicU64>>;

/// The table of IPv6 flows.
pub(crate) type WideFlowTable = MappedArray<WideBucket<AtomicU64>>;

/// What backends have carried: twice as many rows as there can be backends. Packets are counted in the lower half; in the
/// upper half there is what was counted in a smaller table before.
pub(crate) type TrafficTable = PerCpuArray<MapData, Plain<Traffic>>;

/// Tables that are to be exchanged for larger ones.
pub(crate) struct Growth {
    pub(crate) flows: Option<FlowGrowth<Entry<AtomicU64>>>,
    pub(crate) wide: Option<FlowGrowth<WideEntry<AtomicU64>>>,
    pub(crate) traffic: Option<TrafficGrowth>,
    /// The stations of the program that works over the old ones.
    pub(crate) stations: OwnedFd,
}

/// A table of traffic and the one that follows it, each with the number of backends that it has room for.
pub(crate) struct TrafficGrowth {
    pub(crate) old: (TrafficTable, u32),
    pub(crate) new: (TrafficTable, u32),
}

/// A flow table, of entries of one size or the other, on its way.
#[derive(Debug)]
pub(crate) struct FlowGrowth<E> {
    old: Arc<MappedArray<BucketOf<E>>>,
    new: Arc<MappedArray<BucketOf<E>>>,
    carrying: Carrying,
}

impl<E: Carried> FlowGrowth<E>
where
    BucketOf<E>: Cells,
{
    /// Carries what is there. The old table goes on working.
    pub(crate) fn begin(
        old: Arc<MappedArray<BucketOf<E>>>,
        new: Arc<MappedArray<BucketOf<E>>>,
        secret: [u32; 4],
    ) -> Self {
        let mut carrying = Carrying::new(old.len(), secret);
        carrying.bring_up_to_date(&old, &new);
        Self { old, new, carrying }
    }

    /// The table that is at work.
    pub(crate) fn old_table(&self) -> &Arc<MappedArray<BucketOf<E>>> {
        &self.old
    }

    /// The larger table.
    pub(crate) fn new_table(&self) -> &Arc<MappedArray<BucketOf<E>>> {
        &self.new
    }

    /// Carries what has changed since.
    fn catch_up(&mut self) {
        let Self { old, new, carrying } = self;
        carrying.bring_up_to_date(old, new);
    }
}

impl Growth {
    /// Carries what has changed since, and keeps packets off that would change more, until the program has been exchanged.
    pub(crate) fn finish(&mut self) -> Result<Option<Hold>, XdpError> {
        if self.flows.is_none() && self.wide.is_none() {
            return Ok(None);
        }
        // Once more beforehand, so that there is little to be done while packets are kept off.
        self.catch_up();
        let stations = self.stations.try_clone().map_err(|source| XdpError::Map { map: STATIONS, source })?;
        let hold = Hold::begin(stations)?;
        self.catch_up();
        Ok(Some(hold))
    }

    fn catch_up(&mut self) {
        self.flows.iter_mut().for_each(FlowGrowth::catch_up);
        self.wide.iter_mut().for_each(FlowGrowth::catch_up);
    }
}

impl TrafficGrowth {
    /// What this place has carried is not to be carried along: it has a new owner, and no packet counts there.
    pub(crate) fn forget(&mut self, index: u32) -> Result<(), XdpError> {
        let (old, had) = &mut self.old;
        let rows = [index, index + *had].into_iter().filter(|_| index < *had);
        rows.into_iter().try_for_each(|row| set_traffic(old, row, Traffic::default()))
    }

    /// Notes in the new table what was counted in the old one. The program that counted there must not be at work any more.
    pub(crate) fn finish(self) -> Result<(), XdpError> {
        let Self { old: (old, had), new: (mut new, has) } = self;
        carry_traffic(&old, had, &mut new, has)
    }
}

/// [`TrafficGrowth::finish`] for who has the tables.
pub(crate) fn carry_traffic(old: &TrafficTable, had: u32, new: &mut TrafficTable, has: u32) -> Result<(), XdpError> {
    for index in 0..had.min(has) {
        let sum = traffic(old, index, had)?;
        if sum != Traffic::default() {
            set_traffic(new, index + has, sum)?;
        }
    }
    Ok(())
}

/// What a backend has carried, in a table with room for so many.
pub(crate) fn traffic(table: &TrafficTable, index: u32, room: u32) -> Result<Traffic, XdpError> {
    let mut sum = Traffic::default();
    for row in [index, index + room] {
        let values = table.get(&row, 0).map_err(|error| failed("TRAFFIC", error))?;
        values.iter().for_each(|Plain(traffic)| sum.add(traffic));
    }
    Ok(sum)
}

/// Sets a row to this much, over all CPUs.
pub(crate) fn set_traffic(table: &mut TrafficTable, row: u32, sum: Traffic) -> Result<(), XdpError> {
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| XdpError::Map { map: "TRAFFIC", source })?;
    let mut values = vec![Plain(Traffic::default()); cpus];
    if let Some(first) = values.first_mut() {
        *first = Plain(sum);
    }
    let values = PerCpuValues::try_from(values).map_err(|source| XdpError::Map { map: "TRAFFIC", source })?;
    table.set(row, values, 0).map_err(|error| failed("TRAFFIC", error))
}
