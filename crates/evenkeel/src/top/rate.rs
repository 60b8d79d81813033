//! How fast a counter grows.

use std::time::Duration;

/// By how much a second a counter grew. Nothing where that cannot be told: it has fallen, so that it was started anew in
/// between, or no time has passed.
pub(super) fn per_second(before: u64, after: u64, span: Duration) -> Option<f64> {
    let grown = after.checked_sub(before)?;
    (!span.is_zero()).then(|| grown as f64 / span.as_secs_f64())
}

/// All together; those that cannot be told count for nothing, unless there are no others.
pub(super) fn sum(rates: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    rates.flatten().reduce(|all, rate| all + rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_counter_that_falls_has_no_rate() {
        assert_eq!(per_second(10, 9, Duration::from_secs(1)), None);
    }

    #[test]
    fn without_time_there_is_no_rate() {
        assert_eq!(per_second(1, 2, Duration::ZERO), None);
    }

    #[test]
    fn a_rate_is_over_the_time_that_has_passed_and_not_over_the_interval() {
        assert_eq!(per_second(100, 400, Duration::from_millis(1500)), Some(200.0));
    }

    #[test]
    fn what_cannot_be_told_does_not_spoil_a_sum() {
        assert_eq!(sum([Some(1.0), None, Some(2.0)].into_iter()), Some(3.0));
        assert_eq!(sum([None, None].into_iter()), None);
    }

    proptest! {
        #[test]
        fn a_rate_is_never_negative_and_always_a_number(before: u64, after: u64, nanoseconds: u64) {
            if let Some(rate) = per_second(before, after, Duration::from_nanos(nanoseconds)) {
                prop_assert!(rate >= 0.0 && rate.is_finite());
            }
        }

        #[test]
        fn a_rate_gives_back_what_the_counter_grew_by(before in 0..1_u64 << 40, grown in 0..1_u64 << 40, milliseconds in 1..100_000_u64) {
            let span = Duration::from_millis(milliseconds);
            let rate = per_second(before, before + grown, span).unwrap_or(-1.0);
            prop_assert!((rate * span.as_secs_f64() - grown as f64).abs() < 1.0);
        }
    }
}
