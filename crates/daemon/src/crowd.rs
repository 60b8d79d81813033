//! Messages of one kind, of which there may be thousands at once: some are said, and the others are counted, so that they push no
//! other message out of the log.

use std::time::{Duration, Instant};

/// So many are said within [`WHILE`].
const SAID: usize = 100;
/// How long it is counted.
const WHILE: Duration = Duration::from_secs(1);

/// What was said of late, and what was not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// Since when it is counted.
    since: Option<Instant>,
    said: usize,
    unsaid: usize,
}

impl Crowd {
    /// Whether another one is to be said.
    pub fn admits(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + WHILE) && self.unsaid == 0 {
            (self.since, self.said) = (Some(now), 0);
        }
        let is_said = self.said < SAID;
        self.said += usize::from(is_said);
        self.unsaid += usize::from(!is_said);
        is_said
    }

    /// How many were not said, once the while is over; then it is time to say that. To be asked every now and then.
    pub fn unsaid(&mut self, now: Instant) -> Option<usize> {
        let is_over = self.since.is_some_and(|since| now >= since + WHILE);
        let unsaid = if is_over { std::mem::take(&mut self.unsaid) } else { 0 };
        (unsaid > 0).then_some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_thousands_at_once_some_are_said_and_the_others_counted() {
        let (mut crowd, begin) = (Crowd::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!((0..2000).filter(|_| crowd.admits(begin)).count(), SAID);
        assert_eq!(crowd.unsaid(begin), None, "there may be more");
        assert!(!crowd.admits(at(1)), "as long as some are not accounted for");
        assert_eq!(crowd.unsaid(at(1)), Some(1901));
        assert_eq!(crowd.unsaid(at(2)), None);
        assert!(crowd.admits(at(2)));
        // Few, one after the other, are all said.
        assert!((3..1000).all(|second| crowd.admits(at(second))));
    }
}
