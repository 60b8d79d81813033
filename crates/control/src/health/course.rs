//! What follows from one finding after another: the condition, and whether there is something to tell. No I/O, no clock.

use super::finding::Finding;
use crate::operator::Condition;
use std::mem::Discriminant;

/// Checks in a row that must find another kind of reason for the same condition until it is told: a backend that fails
/// now in one way and now in another shall not be talked about all the time.
const SETTLED: u32 = 3;

/// The state of a backend.
#[derive(Debug)]
pub(super) struct Course {
    condition: RiseFall,
    /// The reason that was told last.
    told: Option<Discriminant<Finding>>,
    /// The other reason that the last checks found, and how many of them in a row.
    other: Option<(Discriminant<Finding>, u32)>,
}

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) condition: Condition,
    /// Whether the condition has turned, or is the first; otherwise it is only the reason that is another.
    pub(super) turned: bool,
}

impl Course {
    /// `before`: what is held of the backend so far, if anything is.
    pub(super) fn new(rise: u32, fall: u32, before: Option<Condition>) -> Self {
        Self { condition: RiseFall { current: before, ..RiseFall::new(rise, fall) }, told: None, other: None }
    }

    /// Takes what a check has found; returns what there is to tell, if there is.
    pub(super) fn follow(&mut self, finding: Finding) -> Option<News> {
        let speaks_for = finding.speaks_for();
        if let Some(condition) = speaks_for.and_then(|speaks_for| self.condition.count(speaks_for)) {
            self.told = Some(finding.kind());
            self.other = None;
            return Some(News { condition, turned: true });
        }
        let condition = self.condition.current?;
        // What speaks against the condition has not turned it yet, and is no reason for it; nor is what was told already.
        if speaks_for.is_some_and(|speaks_for| speaks_for != condition) || self.told == Some(finding.kind()) {
            self.other = None;
            return None;
        }
        let times = match self.other {
            Some((kind, times)) if kind == finding.kind() => times + 1,
            _ => 1,
        };
        if times < SETTLED {
            self.other = Some((finding.kind(), times));
            return None;
        }
        self.told = Some(finding.kind());
        self.other = None;
        Some(News { condition, turned: false })
    }
}

/// The condition alone.
#[derive(Debug)]
struct RiseFall {
    rise: u32,
    fall: u32,
    current: Option<Condition>,
    /// The last checks in a row that spoke against it; while there is none, those that failed.
    against: u32,
}

impl RiseFall {
    fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, current: None, against: 0 }
    }

    /// Counts a check that speaks for a condition; returns the condition if that turns it, or makes the first.
    fn count(&mut self, speaks_for: Condition) -> Option<Condition> {
        if self.current == Some(speaks_for) {
            self.against = 0;
            return None;
        }
        let needed = match (self.current, speaks_for) {
            // Until the first condition a backend is taken to serve, so a success turns nothing.
            (None, Condition::Up) => 1,
            (Some(_), Condition::Up) => self.rise,
            (_, Condition::Down) => self.fall,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.current = Some(speaks_for);
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Hindrance;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const GOOD: Finding = Finding::Connected(Duration::ZERO);
    const REFUSED: Finding = Finding::Refused;
    const SILENT: Finding = Finding::Silent(Duration::ZERO);
    const HINDERED: Finding = Finding::NotMade(Hindrance::Descriptors);
    const UP: Option<News> = Some(News { condition: Condition::Up, turned: true });
    const DOWN: Option<News> = Some(News { condition: Condition::Down, turned: true });

    fn follow(rise: u32, fall: u32, findings: &[Finding]) -> Vec<Option<News>> {
        follow_from(None, rise, fall, findings)
    }

    fn follow_from(before: Option<Condition>, rise: u32, fall: u32, findings: &[Finding]) -> Vec<Option<News>> {
        let mut course = Course::new(rise, fall, before);
        findings.iter().map(|finding| course.follow(*finding)).collect()
    }

    #[test]
    fn the_first_success_is_told_at_once_whatever_rise_says() {
        assert_eq!(follow(5, 3, &[GOOD, GOOD]), [UP, None]);
        assert_eq!(follow(5, 3, &[REFUSED, REFUSED, GOOD]), [None, None, UP]);
    }

    #[test]
    fn a_backend_that_never_served_is_down_after_fall_failures() {
        assert_eq!(follow(2, 3, &[REFUSED, SILENT, REFUSED, REFUSED]), [None, None, DOWN, None]);
    }

    #[test]
    fn a_backend_that_was_down_before_is_up_after_rise_successes() {
        let findings = [REFUSED, GOOD, GOOD, GOOD];
        assert_eq!(follow_from(Some(Condition::Down), 3, 2, &findings)[1..], [None, None, UP]);
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let findings = [GOOD, REFUSED, REFUSED, GOOD, REFUSED, REFUSED, REFUSED, GOOD, REFUSED, GOOD, GOOD];
        assert_eq!(follow(2, 3, &findings), [UP, None, None, None, None, None, DOWN, None, None, None, UP]);
    }

    #[test]
    fn a_check_that_could_not_be_made_counts_for_nothing() {
        assert_eq!(follow(1, 2, &[HINDERED; 5]), [None; 5]);
        assert_eq!(follow(1, 2, &[REFUSED, HINDERED, REFUSED]), [None, None, DOWN]);
        let reason = Some(News { condition: Condition::Up, turned: false });
        assert_eq!(follow(1, 2, &[GOOD, HINDERED, HINDERED, HINDERED, HINDERED]), [UP, None, None, reason, None]);
    }

    #[test]
    fn another_reason_for_the_same_condition_is_told_once_it_lasts() {
        let reason = Some(News { condition: Condition::Down, turned: false });
        let lasting = [REFUSED, SILENT, SILENT, SILENT, SILENT];
        assert_eq!(follow(2, 1, &lasting), [DOWN, None, None, reason, None]);
        let changing = [REFUSED, SILENT, SILENT, REFUSED, SILENT, SILENT, Finding::Reset, SILENT, SILENT, REFUSED];
        assert_eq!(follow(2, 1, &changing)[1..], [None; 9]);
    }

    #[test]
    fn failures_that_do_not_bring_a_backend_down_are_not_told() {
        assert_eq!(follow(2, 100, &[GOOD, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED])[1..], [None; 5]);
    }

    /// The condition that a whole history leads to, told from where in it the last runs lie that are long enough.
    fn expected(history: &[bool], rise: usize, fall: usize) -> Option<Condition> {
        let ends_run = |end: usize, of: bool, length: usize| {
            end + 1 >= length && history[end + 1 - length..=end].iter().all(|success| *success == of)
        };
        let down = (0..history.len()).rfind(|end| ends_run(*end, false, fall));
        let first_down = (0..history.len()).find(|end| ends_run(*end, false, fall));
        let first_success = history.iter().position(|success| *success);
        let risen = (0..history.len()).rfind(|end| ends_run(*end, true, rise));
        let begun = first_success.filter(|success| first_down.is_none_or(|down| *success < down));
        match (down, risen.max(begun)) {
            (None, None) => None,
            (down, up) if up > down => Some(Condition::Up),
            _ => Some(Condition::Down),
        }
    }

    proptest! {
        #[test]
        fn the_condition_is_what_the_history_says(
            history in prop::collection::vec(any::<bool>(), 0..60), rise in 1..6_u32, fall in 1..6_u32,
        ) {
            let mut state = RiseFall::new(rise, fall);
            for length in 1..=history.len() {
                let before = state.current;
                let speaks_for = if history[length - 1] { Condition::Up } else { Condition::Down };
                let turned = state.count(speaks_for);
                prop_assert_eq!(state.current, expected(&history[..length], rise as usize, fall as usize));
                prop_assert_eq!(turned, state.current.filter(|_| state.current != before));
            }
        }

        #[test]
        fn what_is_told_turns_the_condition_or_lasts(
            kinds in prop::collection::vec(0..4_usize, 0..200), fall in 1..4_u32,
        ) {
            let findings: Vec<_> = kinds.iter().map(|kind| [GOOD, REFUSED, SILENT, HINDERED][*kind]).collect();
            let mut condition = None;
            for (at, news) in follow(2, fall, &findings).into_iter().enumerate() {
                let Some(news) = news else { continue };
                prop_assert_eq!(news.turned, condition != Some(news.condition));
                if !news.turned {
                    let last = &findings[at + 1 - SETTLED as usize..=at];
                    prop_assert!(last.iter().all(|finding| *finding == findings[at]), "{:?}", last);
                }
                condition = Some(news.condition);
            }
        }
    }
}
