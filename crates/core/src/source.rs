//! Who may be answered.

use crate::tables::Tables;
use crate::verdict::Reason;
use evenkeel_wire::Ipv4Address;

/// Whether somebody other than us can be at this source address. Asked before anything is sent because of a packet that
/// belongs to no known connection.
#[inline(always)]
pub(crate) fn check_source<T: Tables + ?Sized>(tables: &T, source: Ipv4Address) -> Result<(), Reason> {
    if !source.is_host() {
        return Err(Reason::MartianSource);
    }
    // The filter spares most of the exact look-ups.
    if tables.may_be_ours(source) && tables.is_ours(source) {
        return Err(Reason::OwnSource);
    }
    Ok(())
}
