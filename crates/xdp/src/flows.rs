//! The flow table and what belongs to it, shared with the program: read and swept by whoever has it, also beside the plane.

use crate::clock::Clock;
use crate::error::XdpError;
use crate::growth::FlowTable;
use crate::maps::MappedArray;
use arc_swap::ArcSwap;
use evenkeel_control::{FlowView, FlowWalk, WalkError};
use evenkeel_core::flow::{Bucket, Now, Timeouts};
use evenkeel_core::hop;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// Connections, the hops towards their clients, and the clock that stamps both.
#[derive(Debug)]
pub(crate) struct Flows {
    /// Exchanged for a larger one when that is in force.
    pub(crate) table: ArcSwap<FlowTable>,
    pub(crate) hops: MappedArray<AtomicU64>,
    pub(crate) timeouts: ArcSwap<Timeouts>,
    pub(crate) clock: Clock,
}

impl Flows {
    /// Now, by the clock that flows are stamped with.
    pub(crate) fn now(&self) -> Result<Now, XdpError> {
        self.clock.now()
    }

    pub(crate) fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), XdpError> {
        let table = self.table.load();
        FlowView::visit(there(&table, buckets), &self.timeouts.load(), self.now()?, visit);
        Ok(())
    }

    pub(crate) fn sweep(&self, buckets: Range<usize>) -> Result<(), XdpError> {
        let (timeouts, now, table) = (self.timeouts.load(), self.now()?, self.table.load());
        there(&table, buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
        Ok(())
    }

    pub(crate) fn sweep_hops(&self) -> Result<(), XdpError> {
        hop::sweep(hop::learned(&self.hops), self.timeouts.load().longest, self.now()?.tick());
        Ok(())
    }
}

/// These buckets, as far as the table has them: who asks may have another one in mind.
fn there(table: &[Bucket<AtomicU64>], buckets: Range<usize>) -> &[Bucket<AtomicU64>] {
    table.get(buckets.start..buckets.end.min(table.len())).unwrap_or_default()
}

impl FlowWalk for Flows {
    fn buckets(&self) -> usize {
        self.table.load().len()
    }

    fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
        Ok(self.visit(buckets, visit)?)
    }

    fn sweep(&self, buckets: Range<usize>) -> Result<(), WalkError> {
        Ok(self.sweep(buckets)?)
    }

    fn sweep_hops(&self) -> Result<(), WalkError> {
        Ok(self.sweep_hops()?)
    }
}
