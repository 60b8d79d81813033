//! What to do with a packet that does not simply follow an established connection: open one, bring one a step further,
//! renew it, or end it.

use crate::flow::{Tick, find};
use crate::follow::follow;
use crate::hash;
use crate::open::open;
use crate::parse::Packet;
use crate::rewrite::Route;
use crate::tables::Tables;
use crate::verdict::Reason;

/// Finds the packet's route, or says why it has none.
///
/// # Errors
/// The reason for which the packet is dropped or passed on.
#[inline(always)]
pub fn settle<T: Tables + ?Sized>(tables: &T, packet: &Packet, now: Tick, route: &mut Route) -> Result<(), Reason> {
    let settings = tables.settings();
    let place = hash::place(packet.key, &settings.flow_secret);
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    let known = match find(bucket, packet.key, hash::start(place)) {
        Some(_) if packet.ttl <= 1 => return Err(Reason::TtlExpired),
        Some(flow) => follow(tables, packet, &flow, now)?,
        None => None,
    };
    *route = match known {
        Some(route) => route,
        None => open(tables, packet, now)?,
    };
    Ok(())
}
