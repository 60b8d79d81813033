//! How much is said unasked: what comes from nowhere must not make us a source of as many packets.

use crate::tables::Tables;
use crate::verdict::Reason;
use crate::word::Word;

/// Answers that become due in a unit of time: about a thousand a second, like Linux' net.ipv4.icmp_msgs_per_sec.
const EACH_UNIT: u64 = 17;
/// Answers that may be saved up, and so given at once: Linux' net.ipv4.icmp_msgs_burst.
const MOST: u64 = 50;
/// So many units may another CPU's clock be ahead; a difference that is larger is one in the other direction.
const AHEAD: u32 = 64;
/// How often is tried to take one when other CPUs are quicker.
const TRIES: usize = 3;

/// Takes one of the answers that all CPUs may give together.
///
/// The word: how many are left in the low half, the time when that was so in the high half. Zero is a good beginning.
///
/// # Errors
/// None is left for the moment.
#[inline(always)]
pub(super) fn take<T: Tables + ?Sized>(tables: &T) -> Result<(), Reason> {
    let word = tables.allowance().ok_or(Reason::AnswerLimit)?;
    let now = tables.now().0;
    for _ in 0..TRIES {
        let current = word.load();
        let elapsed = now.wrapping_sub((current >> 32) as u32);
        let elapsed = if elapsed > u32::MAX - AHEAD { 0 } else { u64::from(elapsed) };
        // The time is the later one of both.
        let at = if elapsed == 0 { current >> 32 } else { u64::from(now) };
        let left = (current & 0xffff_ffff).saturating_add(elapsed * EACH_UNIT).min(MOST);
        if left == 0 {
            break;
        }
        if word.compare_exchange(current, at << 32 | (left - 1)) {
            return Ok(());
        }
    }
    Err(Reason::AnswerLimit)
}
