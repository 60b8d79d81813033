//! How much is said unasked: what comes from nowhere must not make us a source of as many packets.

use crate::allowance::{self, Pace};
use crate::tables::Tables;
use crate::verdict::Reason;

/// 17 answers become due in a unit of time: about a thousand a second, like Linux' net.ipv4.icmp_msgs_per_sec. 50 may be given at
/// once: Linux' net.ipv4.icmp_msgs_burst.
const ANSWERS: Pace = Pace::new(17, 50);

/// Takes one of the answers that all CPUs may give together.
///
/// # Errors
/// None is left for the moment.
#[inline(always)]
pub(super) fn take<T: Tables + ?Sized>(tables: &T) -> Result<(), Reason> {
    let word = tables.allowance(allowance::OF_ANSWERS).ok_or(Reason::AnswerLimit)?;
    if allowance::take(word, tables.now(), ANSWERS) { Ok(()) } else { Err(Reason::AnswerLimit) }
}
