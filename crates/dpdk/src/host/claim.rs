//! An address of ours, as the others get to know of it.

use std::time::Duration;

/// An address is announced so often, this far apart (RFC 5227, section 2.3: ANNOUNCE_NUM, ANNOUNCE_INTERVAL; RFC 4861, section
/// 7.2.6, allows three, a second apart).
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Who has an address of IPv6 already says so within this time (RFC 4862, section 5.4: RETRANS_TIMER).
const PROBE: Duration = Duration::from_secs(1);
/// An address that somebody else has is asked for again after this time: when he has gone, it is announced.
const TRUCE: Duration = Duration::from_secs(10);
/// Somebody who goes on claiming an address of ours is told about so often.
const CONFLICT_INTERVAL: Duration = Duration::from_secs(60);

/// An address of ours.
#[derive(Debug)]
pub(super) struct Claim {
    stage: Stage,
    /// When it was said last that somebody else has it.
    told: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Whether somebody else has it is to be asked.
    Unproved { due: Duration },
    /// It has been asked.
    Asked { until: Duration },
    /// To be announced so often still.
    Announced { left: u32, due: Duration },
    /// Everybody knows.
    Settled,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask whether somebody else has it.
    Probe,
    /// Tell everybody.
    Announce,
}

impl Claim {
    /// An address of IPv6, which is asked for before it is announced (RFC 4862, section 5.4). Answered for it is at once, but so
    /// that nobody believes it who knows better (RFC 4429, "optimistic").
    pub(super) fn asked_for(now: Duration) -> Self {
        Self { stage: Stage::Unproved { due: now }, told: None }
    }

    /// An address of IPv4, which is announced at once.
    pub(super) fn announced(now: Duration) -> Self {
        Self { stage: Stage::Announced { left: ANNOUNCEMENTS, due: now }, told: None }
    }

    /// Everybody may have forgotten us, or be somebody else.
    pub(super) fn renew(&mut self, new: Self) {
        self.stage = new.stage;
    }

    /// Whether others may believe us more than what they know.
    pub(super) fn is_sure(&self) -> bool {
        matches!(self.stage, Stage::Announced { .. } | Stage::Settled)
    }

    /// Somebody else has it; returns whether that is to be said.
    pub(super) fn dispute(&mut self, now: Duration) -> bool {
        if !self.is_sure() {
            self.stage = Stage::Unproved { due: now + TRUCE };
        }
        let is_said = self.told.is_none_or(|told| now >= told + CONFLICT_INTERVAL);
        if is_said {
            self.told = Some(now);
        }
        is_said
    }

    pub(super) fn tick(&mut self, now: Duration) -> Option<Step> {
        match self.stage {
            Stage::Unproved { due } if due <= now => {
                self.stage = Stage::Asked { until: now + PROBE };
                Some(Step::Probe)
            }
            Stage::Asked { until } if until <= now => {
                self.stage = Stage::Announced { left: ANNOUNCEMENTS, due: now };
                self.tick(now)
            }
            Stage::Announced { left, due } if due <= now => {
                self.stage = match left - 1 {
                    0 => Stage::Settled,
                    left => Stage::Announced { left, due: now + ANNOUNCE_INTERVAL },
                };
                Some(Step::Announce)
            }
            _ => None,
        }
    }
}
