//! Figures in few characters.

/// In at most five characters: `0`, `0.3`, `42`, `9.9k`, `120k`, `1.2M`.
pub(super) fn short(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    if value < 0.095 {
        return "<0.1".to_owned();
    }
    let mut value = value;
    // The bounds are those at which rounding would need one digit more.
    for unit in ["", "k", "M", "G", "T", "P", "E"] {
        if value < 9.95 || (value < 99.95 && !unit.is_empty()) {
            return format!("{value:.1}{unit}");
        }
        if value < 999.5 {
            return format!("{value:.0}{unit}");
        }
        value /= 1000.0;
    }
    "many".to_owned()
}

/// A rate, or that there is none to tell.
pub(super) fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), short)
}

/// Exactly, up to six digits.
pub(super) fn count(count: u64) -> String {
    if count < 1_000_000 { count.to_string() } else { short(count as f64) }
}

/// The two largest units that say something.
pub(super) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_figures_have_a_fraction_and_large_ones_a_unit() {
        let cases = [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.3, "0.3"),
            (9.96, "10"),
            (42.4, "42"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_340.0, "12.3k"),
            (120_400.0, "120k"),
            (1_250_000_000.0, "1.2G"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn uptimes_are_told_in_two_units() {
        assert_eq!(uptime(59), "59 s");
        assert_eq!(uptime(61), "1 min 1 s");
        assert_eq!(uptime(7260), "2 h 1 min");
        assert_eq!(uptime(90_000), "1 d 1 h");
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(rate(None), "-");
    }

    proptest! {
        #[test]
        fn every_figure_fits_in_its_column(value in 0.0..2e19, number: u64) {
            prop_assert!(short(value).len() <= 5);
            prop_assert!(count(number).len() <= 6);
        }
    }
}
