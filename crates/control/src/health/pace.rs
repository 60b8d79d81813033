//! When a backend is checked: regularly, but not in step with the others.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits between the checks of one backend.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Of a splitmix64 generator: who can guess it gains nothing.
    state: u64,
}

/// A seed that no other backend has.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(())
}

impl Pace {
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Self { interval, state: seed }
    }

    /// The wait before the first check: at most a tenth of the interval, and of a second.
    pub(super) fn first(&mut self) -> Duration {
        (self.interval.min(Duration::from_secs(1)) / 10).mul_f64(self.share())
    }

    /// The wait from the beginning of a check to that of the next: the interval, less up to a tenth of it. Never more,
    /// so that so many checks take no longer than so many intervals.
    pub(super) fn next(&mut self) -> Duration {
        self.interval - (self.interval / 10).mul_f64(self.share())
    }

    /// At random, from 0 to less than 1.
    fn share(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_interval_nor_much_shorter(seed: u64, millis in 10..3_600_000_u64) {
            let interval = Duration::from_millis(millis);
            let mut pace = Pace::new(interval, seed);
            prop_assert!(pace.first() <= interval.min(Duration::from_secs(1)) / 10);
            for _ in 0..50 {
                let wait = pace.next();
                prop_assert!(wait <= interval && wait >= interval - interval / 10, "{wait:?} of {interval:?}");
            }
        }
    }

    #[test]
    fn backends_that_begin_together_do_not_stay_in_step() {
        let interval = Duration::from_secs(1);
        let waits: std::collections::BTreeSet<_> = (0..1000).map(|_| Pace::new(interval, seed()).next()).collect();
        assert!(waits.len() > 990, "{} different waits", waits.len());
        let mut sorted = waits.iter();
        let (first, last) = (sorted.next().expect("there are some"), sorted.next_back().expect("there are some"));
        assert!(*last - *first > Duration::from_millis(90), "they are spread over a tenth of the interval");
    }
}
