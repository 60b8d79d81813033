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

/// Finds the packet's route, or says why it has none. `known` is whether the flow table has the packet's flow.
///
/// # Errors
/// The reason for which the packet is dropped or passed on.
#[inline(always)]
pub fn settle<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    now: Tick,
    known: bool,
    route: &mut Route,
) -> Result<(), Reason> {
    let followed = if known { follow_known(tables, packet, now)? } else { None };
    *route = match followed {
        Some(route) => route,
        None => open(tables, packet, now)?,
    };
    Ok(())
}

#[inline(always)]
fn follow_known<T: Tables + ?Sized>(tables: &T, packet: &Packet, now: Tick) -> Result<Option<Route>, Reason> {
    let settings = tables.settings();
    let place = hash::place(packet.key, &settings.flow_secret);
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    match find(bucket, packet.key, hash::start(place)) {
        Some(_) if packet.ttl <= 1 => Err(Reason::TtlExpired),
        Some(flow) => follow(tables, packet, &flow, now),
        None => Ok(None),
    }
}
