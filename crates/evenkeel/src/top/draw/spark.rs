//! A rate's course in one line.

use crate::top::history::History;

const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Its last minute, as high as its own highest; a dot where nothing happened, and nothing where nothing is known. Right
/// in its columns, so that the same moments stand under each other.
pub(super) fn line(history: &History, width: usize, now: u64) -> String {
    let columns = history.columns(width, now);
    let most = columns.iter().flatten().copied().fold(0.0, f32::max);
    let bar = |rate: &Option<f32>| match rate {
        None => ' ',
        Some(rate) if *rate <= 0.0 => '·',
        Some(rate) => {
            let height = (rate / most * HEIGHTS.len() as f32).ceil() as usize;
            HEIGHTS[height.clamp(1, HEIGHTS.len()) - 1]
        }
    };
    let bars: String = columns.iter().map(bar).collect();
    format!("{bars:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_little_and_much_look_different() {
        let mut history = History::default();
        for rate in [None, Some(0.0), Some(1.0), Some(50.0), Some(100.0)] {
            history.push(rate, 1);
        }
        assert_eq!(line(&history, 60, 5).trim_start(), "·▁▄█");
        assert_eq!(line(&history, 60, 5).chars().count(), 60);
    }

    #[test]
    fn a_rate_that_never_was_draws_a_base_line() {
        let mut history = History::default();
        history.push(Some(0.0), 60);
        assert_eq!(line(&history, 15, 60), "·".repeat(15));
    }
}
