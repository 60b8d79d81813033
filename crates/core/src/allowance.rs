//! How many packets a second may have what costs more than they do: a token bucket that all CPUs share.

use crate::flow::Now;
use crate::word::Word;

/// So many units may another CPU's clock be ahead; a difference that is larger is one in the other direction.
const AHEAD: u32 = 64;
/// How often is tried to take one when other CPUs are quicker.
const TRIES: usize = 3;
/// Parts of an allowance that one packet takes.
const WHOLE: u32 = 256;

/// The number of the word for answers that nobody asked for.
pub(crate) const OF_ANSWERS: u32 = 0;

/// The number of the word for newcomers to the service that has this Maglev table.
#[inline(always)]
pub(crate) fn of_newcomers(table: u32) -> u32 {
    table.wrapping_add(1)
}

/// What becomes due, and how much may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Parts that become due in a unit of time ([`Now`]), 256 of them for a packet.
    each_unit: u32,
    /// Parts that may be saved up, and so taken at once.
    most: u32,
}

impl Pace {
    /// So many packets in each unit of time, and at most so many at once.
    pub(crate) const fn new(each_unit: u32, most: u32) -> Self {
        Self { each_unit: each_unit * WHOLE, most: most * WHOLE }
    }

    /// So many parts in each unit of time, and what becomes due in a second at once.
    #[inline(always)]
    pub(crate) fn of_parts(parts: u32) -> Self {
        Self { each_unit: parts, most: parts.saturating_mul(Now::A_SECOND) }
    }

    /// The parts for so many packets a second, rounded up, and at most what can be saved up for a second.
    pub(crate) const fn parts(a_second: u32) -> u32 {
        let parts = (a_second as u64 * WHOLE as u64).div_ceil(Now::A_SECOND as u64);
        let most = (u32::MAX / Now::A_SECOND) as u64;
        if parts < most { parts as u32 } else { most as u32 }
    }
}

/// Takes what one packet takes, if it is there.
///
/// The word: parts that are left in the low half, the time when that was so in the high half. Zero is a good beginning.
#[inline(always)]
pub(crate) fn take<W: Word>(word: &W, now: Now, pace: Pace) -> bool {
    let now = now.0;
    for _ in 0..TRIES {
        let current = word.load();
        let elapsed = now.wrapping_sub((current >> 32) as u32);
        let elapsed = if elapsed > u32::MAX - AHEAD { 0 } else { u64::from(elapsed) };
        // The time is the later one of both.
        let at = if elapsed == 0 { current >> 32 } else { u64::from(now) };
        let due = elapsed * u64::from(pace.each_unit);
        let left = (current & 0xffff_ffff).saturating_add(due).min(pace.most.into());
        if left < u64::from(WHOLE) {
            return false;
        }
        if word.compare_exchange(current, at << 32 | (left - u64::from(WHOLE))) {
            return true;
        }
    }
    false
}
