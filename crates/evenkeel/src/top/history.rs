//! The last minute of a rate.

use std::collections::VecDeque;

/// How far back it goes, in seconds.
pub(super) const SECONDS: usize = 60;

/// A rate by the second, the newest last. Nothing stands for a second of which the rate is not known.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Option<f32>>);

impl History {
    /// Adds a rate that has held for so many seconds.
    pub(super) fn push(&mut self, rate: Option<f64>, seconds: u64) {
        for _ in 0..seconds.min(SECONDS as u64) {
            if self.0.len() == SECONDS {
                self.0.pop_front();
            }
            self.0.push_back(rate.map(|rate| rate as f32));
        }
    }

    /// Whether anything has happened.
    pub(super) fn moves(&self) -> bool {
        self.0.iter().flatten().any(|rate| *rate > 0.0)
    }

    /// The minute in at most so many columns, the newest last. Columns that stand for several seconds have their mean.
    ///
    /// `now` counts the seconds since the screen began. Columns begin at its multiples: otherwise what they stand for, and
    /// so their height, would change every second.
    pub(super) fn columns(&self, width: usize, now: u64) -> Vec<Option<f32>> {
        if width == 0 {
            return Vec::new();
        }
        let each = SECONDS.div_ceil(width) as u64;
        let mut columns: Vec<(u64, f32, u16)> = Vec::with_capacity(width);
        for (age, rate) in (1..).zip(self.0.iter().rev()) {
            let column = now.saturating_sub(age) / each;
            if columns.last().is_none_or(|last| last.0 != column) {
                if columns.len() == width {
                    break;
                }
                columns.push((column, 0.0, 0));
            }
            if let (Some((_, sum, count)), Some(rate)) = (columns.last_mut(), rate) {
                *sum += rate;
                *count += 1;
            }
        }
        columns.iter().rev().map(|(_, sum, count)| (*count > 0).then(|| sum / f32::from(*count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(rates: &[Option<f64>]) -> History {
        let mut history = History::default();
        rates.iter().for_each(|rate| history.push(*rate, 1));
        history
    }

    #[test]
    fn a_second_each_where_there_is_room() {
        assert_eq!(of(&[Some(1.0), None, Some(3.0)]).columns(60, 3), [Some(1.0), None, Some(3.0)]);
    }

    #[test]
    fn a_rate_over_several_seconds_stands_for_all_of_them() {
        let mut history = History::default();
        history.push(Some(2.0), 3);
        assert_eq!(history.columns(60, 3), [Some(2.0); 3]);
    }

    #[test]
    fn narrow_columns_have_the_mean_of_their_seconds() {
        assert_eq!(of(&[Some(1.0), Some(3.0), None, Some(5.0)]).columns(30, 4), [Some(2.0), Some(5.0)]);
    }

    #[test]
    fn full_columns_keep_their_height_as_time_goes_on() {
        let mut history = of(&[Some(1.0), Some(3.0), Some(5.0), Some(7.0)]);
        let before = history.columns(30, 4);
        history.push(Some(9.0), 1);
        assert_eq!(history.columns(30, 5)[..2], before);
    }

    #[test]
    fn a_minute_without_anything_does_not_move() {
        let mut history = of(&[Some(1.0)]);
        assert!(history.moves());
        history.push(Some(0.0), 60);
        assert!(!history.moves());
    }

    proptest! {
        #[test]
        fn columns_fit_and_lie_within_what_was_seen(
            rates in proptest::collection::vec(proptest::option::of(0.0..1e9), 0..150),
            width in 0_usize..200,
            earlier in 0_u64..1000,
        ) {
            let columns = of(&rates).columns(width, earlier + rates.len() as u64);
            prop_assert!(columns.len() <= width.min(SECONDS));
            let seen: Vec<f32> = rates.iter().rev().take(SECONDS).flatten().map(|rate| *rate as f32).collect();
            let most = seen.iter().copied().fold(0.0, f32::max);
            let least = seen.iter().copied().fold(f32::MAX, f32::min);
            for column in columns.into_iter().flatten() {
                prop_assert!(column <= most * 1.001 && column >= least * 0.999);
            }
        }
    }
}
