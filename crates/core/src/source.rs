//! Who may be answered.

use crate::family::Family;
use crate::tables::FamilyTables;
use crate::verdict::Reason;

/// Whether somebody other than us can be at this source address. Asked before anything is sent because of a packet that
/// belongs to no known connection.
#[inline(always)]
pub(crate) fn check_source<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    source: A::Address,
) -> Result<(), Reason> {
    if !A::is_host(source) {
        return Err(Reason::MartianSource);
    }
    // The filter spares most of the exact look-ups.
    if tables.may_be_ours(source) && tables.is_ours(source) {
        return Err(Reason::OwnSource);
    }
    Ok(())
}
