//! The flow table and what belongs to it, shared with the program: read and swept by whoever has it, also beside the plane.

use crate::clock::Clock;
use crate::error::XdpError;
use crate::growth::{FlowTable, WideFlowTable};
use crate::maps::MappedArray;
use arc_swap::ArcSwap;
use evenkeel_control::{FlowView, FlowWalk, WalkError, by_family};
use evenkeel_core::flow::{Now, Timeouts};
use evenkeel_core::hop;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// Connections, the hops towards their clients, and the clock that stamps both.
#[derive(Debug)]
pub(crate) struct Flows {
    /// Exchanged for a larger one when that is in force.
    pub(crate) table: ArcSwap<FlowTable>,
    /// The same of IPv6.
    pub(crate) wide: ArcSwap<WideFlowTable>,
    /// What IPv6 connections are sent from, by number.
    pub(crate) wide_nat: Box<[Ipv6Addr]>,
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
        let (table, wide, timeouts, now) = (self.table.load(), self.wide.load(), self.timeouts.load(), self.now()?);
        let (narrow_buckets, wide_buckets) = by_family(buckets, table.len());
        FlowView::visit(there(&table, narrow_buckets), &timeouts, now, visit);
        FlowView::visit_wide(there(&wide, wide_buckets), &self.wide_nat, &timeouts, now, visit);
        Ok(())
    }

    pub(crate) fn sweep(&self, buckets: Range<usize>) -> Result<(), XdpError> {
        let (table, wide, timeouts, now) = (self.table.load(), self.wide.load(), self.timeouts.load(), self.now()?);
        let (narrow_buckets, wide_buckets) = by_family(buckets, table.len());
        there(&table, narrow_buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
        there(&wide, wide_buckets).iter().for_each(|bucket| bucket.sweep(&timeouts, now));
        Ok(())
    }

    pub(crate) fn sweep_hops(&self) -> Result<(), XdpError> {
        hop::sweep(hop::learned(&self.hops), self.timeouts.load().longest, self.now()?.tick());
        Ok(())
    }
}

/// These buckets, as far as the table has them: who asks may have another one in mind.
fn there<B>(table: &[B], buckets: Range<usize>) -> &[B] {
    table.get(buckets.start..buckets.end.min(table.len())).unwrap_or_default()
}

impl FlowWalk for Flows {
    fn buckets(&self) -> usize {
        self.table.load().len() + self.wide.load().len()
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
