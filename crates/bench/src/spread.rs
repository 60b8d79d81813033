//! A figure and how far it spreads.

/// The least, the middle and the greatest of several rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(values.len() / 2), most: at(values.len().saturating_sub(1)) }
    }

    /// The median, and the spread in brackets.
    pub(crate) fn cell(self, digits: usize) -> String {
        let Self { least, median, most } = self;
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }
}

/// One line about an aim: how much something is, and the most or the least that it may be.
pub(crate) fn aim(what: &str, is: f64, limit: Limit, unit: &str, digits: usize) {
    let (limit, beyond) = match limit {
        Limit::AtMost(most) => (most, is / most - 1.0),
        Limit::AtLeast(least) => (least, 1.0 - is / least),
    };
    let said = if beyond <= 0.0 { "reached".to_owned() } else { format!("missed by {:.0} %", beyond * 100.0) };
    println!("  {what:44}{is:>7.digits$} {unit}, aim {limit:.digits$}: {said}");
}

/// What an aim is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}
