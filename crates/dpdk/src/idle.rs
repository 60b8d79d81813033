//! What an lcore does when nothing arrives.

use std::time::Duration;

/// How an lcore waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Polls without a pause: the lowest latency, and a CPU that is never idle. For benchmarks and dedicated machines.
    Poll,
    /// Polls for a while, then sleeps between polls, longer and longer up to [`Idle::LONGEST`].
    #[default]
    Sleep,
}

/// Counts polls that brought nothing, and rests accordingly.
#[derive(Debug)]
pub struct Idle {
    policy: IdlePolicy,
    empty: u32,
}

impl Idle {
    /// The longest sleep. A packet that comes meanwhile waits at most so long, once; a thousand wake-ups a second cost
    /// one or two percent of a CPU.
    pub const LONGEST: Duration = Duration::from_millis(1);
    /// Polls that may bring nothing before the first sleep: some tens of microseconds, longer than the pauses within a
    /// transfer.
    const PATIENCE: u32 = 4096;
    /// Polls after which a sleep becomes twice as long.
    const STEP: u32 = 32;
    const SHORTEST: Duration = Duration::from_micros(10);

    /// Nothing has been waited for yet.
    pub fn new(policy: IdlePolicy) -> Self {
        Self { policy, empty: 0 }
    }

    /// To be called after every poll, with whether it brought anything.
    #[inline(always)]
    pub fn after(&mut self, busy: bool) {
        if busy {
            self.empty = 0;
        } else {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.empty = self.empty.saturating_add(1);
        match self.pause() {
            Some(pause) => std::thread::sleep(pause),
            None => std::hint::spin_loop(),
        }
    }

    fn pause(&self) -> Option<Duration> {
        let beyond = self.empty.checked_sub(Self::PATIENCE)?;
        let doublings = (beyond / Self::STEP).min(16);
        (self.policy == IdlePolicy::Sleep).then(|| (Self::SHORTEST * (1 << doublings)).min(Self::LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_come_after_patience_grow_and_end_with_the_next_packet() {
        let pause = |empty| Idle { policy: IdlePolicy::Sleep, empty }.pause();
        assert_eq!(pause(Idle::PATIENCE - 1), None);
        assert_eq!(pause(Idle::PATIENCE), Some(Idle::SHORTEST));
        let pauses: Vec<_> = (Idle::PATIENCE..Idle::PATIENCE + 1000).map(pause).collect();
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&Some(Idle::LONGEST)));
        assert_eq!(pause(u32::MAX), Some(Idle::LONGEST));

        let mut idle = Idle { policy: IdlePolicy::Sleep, empty: Idle::PATIENCE };
        idle.after(true);
        assert_eq!(idle.pause(), None);
    }

    #[test]
    fn polling_never_sleeps() {
        assert_eq!(Idle { policy: IdlePolicy::Poll, empty: u32::MAX }.pause(), None);
    }
}
