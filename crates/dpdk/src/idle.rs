//! What an lcore does when nothing arrives.

use std::time::{Duration, Instant};

/// How an lcore waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Polls without a pause: the lowest latency, and a CPU that is never idle. For benchmarks and dedicated machines.
    Poll,
    /// Polls for a while, then rests: until it is called, if the port calls (receive interrupts), or else between polls,
    /// longer and longer.
    #[default]
    Sleep,
}

/// How a port lets an lcore rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It calls when packets arrive.
    Interrupt,
    /// It has to be asked at least so often, or it loses some when they come all at once.
    Sleep(Duration),
}

impl Rest {
    /// The longest sleep on any port. A packet that comes meanwhile waits at most so long, once; a thousand wake-ups a
    /// second cost one or two percent of a CPU.
    pub const LONGEST: Duration = Duration::from_millis(1);
    /// Sleeps on a port that keeps so many packets, to which so many come in a second at most: until it may be half full.
    pub fn sleep(descriptors: u16, packets_a_second: u64) -> Self {
        let time = Duration::from_nanos(u64::from(descriptors) / 2 * 1_000_000_000 / packets_a_second.max(1));
        Self::Sleep(time.clamp(Idle::SHORTEST, Self::LONGEST))
    }
}

/// What to do until the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    None,
    Sleep(Duration),
    /// Until the port calls.
    Wait,
}

/// Counts polls that brought nothing, and says when to rest.
#[derive(Debug)]
pub(crate) struct Idle {
    policy: IdlePolicy,
    rest: Rest,
    empty: u32,
    since: Option<Instant>,
    sleeps: u32,
}

impl Idle {
    /// Polls that bring nothing before anybody looks at the clock.
    const FEW: u32 = 16;
    /// How long polls may bring nothing before the first rest: longer than the pauses within a transfer.
    const PATIENCE: Duration = Duration::from_micros(50);
    /// Sleeps after which a sleep becomes twice as long.
    const STEP: u32 = 32;
    const SHORTEST: Duration = Duration::from_micros(10);

    /// Nothing has been waited for yet.
    pub(crate) fn new(policy: IdlePolicy, rest: Rest) -> Self {
        Self { policy, rest, empty: 0, since: None, sleeps: 0 }
    }

    /// What is to be done after a poll that brought something, or nothing.
    #[inline(always)]
    pub(crate) fn after(&mut self, busy: bool) -> Pause {
        if busy {
            self.empty = 0;
            return Pause::None;
        }
        self.empty = self.empty.saturating_add(1);
        if self.empty < Self::FEW || self.policy == IdlePolicy::Poll {
            std::hint::spin_loop();
            return Pause::None;
        }
        self.pause(Instant::now())
    }

    /// The port, or somebody, has called: something will be there.
    pub(crate) fn called(&mut self) {
        self.empty = 0;
    }

    #[cold]
    fn pause(&mut self, now: Instant) -> Pause {
        if self.empty == Self::FEW {
            (self.since, self.sleeps) = (Some(now), 0);
        }
        if self.since.is_none_or(|since| now.saturating_duration_since(since) < Self::PATIENCE) {
            return Pause::None;
        }
        match self.rest {
            Rest::Interrupt => Pause::Wait,
            Rest::Sleep(longest) => {
                self.sleeps = self.sleeps.saturating_add(1);
                Pause::Sleep((Self::SHORTEST * (1 << (self.sleeps / Self::STEP).min(16))).min(longest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An lcore that has polled in vain for so long, the last time now.
    fn idle_for(policy: IdlePolicy, rest: Rest, time: Duration) -> (Idle, Instant) {
        let begun = Instant::now();
        let mut idle = Idle { empty: Idle::FEW, ..Idle::new(policy, rest) };
        assert_eq!(idle.pause(begun), Pause::None);
        idle.empty += 1;
        (idle, begun + time)
    }

    #[test]
    fn sleeps_come_after_patience_grow_and_end_with_the_next_packet() {
        let rest = Rest::Sleep(Rest::LONGEST);
        let (mut idle, now) = idle_for(IdlePolicy::Sleep, rest, Idle::PATIENCE - Duration::from_nanos(1));
        assert_eq!(idle.pause(now), Pause::None);
        let later = now + Duration::from_nanos(1);
        let pauses: Vec<_> = (0..1000).map(|_| idle.pause(later)).collect();
        let sleeps: Vec<_> =
            pauses.iter().map(|pause| if let Pause::Sleep(time) = pause { *time } else { Duration::ZERO }).collect();
        assert!(sleeps.is_sorted());
        assert_eq!((sleeps.first(), sleeps.last()), (Some(&Idle::SHORTEST), Some(&Rest::LONGEST)));

        assert_eq!((idle.after(true), idle.after(false), idle.empty), (Pause::None, Pause::None, 1));
    }

    #[test]
    fn where_the_port_calls_it_is_waited_for() {
        let (mut idle, now) = idle_for(IdlePolicy::Sleep, Rest::Interrupt, Idle::PATIENCE);
        assert_eq!(idle.pause(now), Pause::Wait);
    }

    #[test]
    fn a_sleep_is_over_before_the_queue_can_be_full() {
        assert_eq!(Rest::sleep(1024, 14_880_000), Rest::Sleep(Duration::from_nanos(34_408)));
        assert_eq!(Rest::sleep(1024, 1000), Rest::Sleep(Rest::LONGEST));
        assert_eq!(Rest::sleep(1024, 0), Rest::Sleep(Rest::LONGEST));
        assert_eq!(Rest::sleep(64, u64::MAX), Rest::Sleep(Idle::SHORTEST));
    }

    #[test]
    fn polling_never_rests() {
        let mut idle = Idle { empty: u32::MAX, ..Idle::new(IdlePolicy::Poll, Rest::Interrupt) };
        assert_eq!(idle.after(false), Pause::None);
    }
}
