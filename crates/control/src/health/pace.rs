//! When a backend is checked: regularly, but not in step with the others.

use fastrand::Rng;
use std::time::Duration;

/// The waits between the checks of one backend.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Who can guess it gains nothing.
    random: Rng,
}

impl Pace {
    pub(super) fn new(interval: Duration, random: Rng) -> Self {
        Self { interval, random }
    }

    /// The wait before the first check, for the one with this number of so many that begin together. They come in their order and
    /// spread out, not faster than one a millisecond, or than they will go on to come.
    pub(super) fn first(&mut self, number: usize, of: usize) -> Duration {
        let spread = Duration::from_millis(of as u64).min(self.interval);
        spread.mul_f64((number as f64 + self.random.f64()) / of.max(1) as f64)
    }

    /// The wait from the beginning of a check to that of the next: the interval, less up to a tenth of it. Never more,
    /// so that so many checks take no longer than so many intervals.
    pub(super) fn next(&mut self) -> Duration {
        self.interval - (self.interval / 10).mul_f64(self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_interval_nor_much_shorter(seed: u64, millis in 10..3_600_000_u64) {
            let interval = Duration::from_millis(millis);
            let mut pace = Pace::new(interval, Rng::with_seed(seed));
            prop_assert!(pace.first(0, 1) <= interval.min(Duration::from_secs(1)) / 10);
            for _ in 0..50 {
                let wait = pace.next();
                prop_assert!(wait <= interval && wait >= interval - interval / 10, "{wait:?} of {interval:?}");
            }
        }
    }

    #[test]
    fn backends_that_begin_together_do_not_stay_in_step() {
        let interval = Duration::from_secs(1);
        let waits: std::collections::BTreeSet<_> = (0..1000).map(|_| Pace::new(interval, Rng::new()).next()).collect();
        assert!(waits.len() > 990, "{} different waits", waits.len());
        let mut sorted = waits.iter();
        let (first, last) = (sorted.next().expect("there are some"), sorted.next_back().expect("there are some"));
        assert!(*last - *first > Duration::from_millis(90), "they are spread over a tenth of the interval");
    }
}
