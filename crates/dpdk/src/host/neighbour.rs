//! What is known of a next hop, and when to ask it.

use super::Resolution;
use super::message::Word;
use evenkeel_wire::MacAddress;
use std::time::Duration;

/// An answer is believed for so long, if there are few neighbours.
const TRUST: Duration = Duration::from_secs(10);
/// Of many neighbours so many are asked a second, and each is believed for as long as it takes to come round. Who has another
/// Ethernet address says so by itself (RFC 5227, section 2.3; RFC 4861, section 7.2.6), as a rule.
const TRUSTED_A_SECOND: u32 = 500;
/// And so many of those that have not answered for a while.
const SILENT_A_SECOND: u32 = 2000;
/// How far apart questions are that get no answer (RFC 1122, section 2.3.2.1: at most one a second; RFC 4861, section 10:
/// RETRANS_TIMER).
const RETRY: Duration = Duration::from_secs(1);
/// How far apart other Ethernet addresses are believed: one who answers for somebody else, or two who have the same
/// address, do not move a backend to and fro with every packet.
const SETTLING: Duration = Duration::from_secs(1);
/// Questions without an answer after which it is said.
const PATIENCE: u32 = 2;

/// How often so many neighbours are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    trust: Duration,
    silence: Duration,
}

impl Pace {
    pub(super) fn of(neighbours: usize) -> Self {
        let at = |a_second| Duration::from_secs(1) * u32::try_from(neighbours).unwrap_or(u32::MAX).div_ceil(a_second);
        Self { trust: TRUST.max(at(TRUSTED_A_SECOND)), silence: RETRY.max(at(SILENT_A_SECOND)) }
    }
}

/// A next hop.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    mac: Option<MacAddress>,
    /// Since when it has been there.
    since: Duration,
    /// When it may be asked again, however much there is to doubt.
    rests_until: Duration,
    /// When to ask next.
    due: Duration,
    /// Questions since the last answer.
    unanswered: u32,
}

/// A question to be asked.
pub(super) struct Asking {
    /// Where: the neighbour alone while it is known and has answered (RFC 1122, section 2.3.2.1, "unicast poll"; RFC 4861,
    /// section 7.3.1), else everybody.
    pub(super) to: Option<MacAddress>,
    /// What has to be said about it now.
    pub(super) verdict: Option<Resolution>,
}

impl Neighbour {
    pub(super) fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    /// When to ask next.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// It may have moved: ask.
    pub(super) fn doubt(&mut self) {
        self.due = self.rests_until;
    }

    /// It was heard of; returns where it is if that is new: another address, or the first answer after it was given up. Who speaks
    /// unasked is believed, and asked (RFC 4861, section 7.2.5 and appendix C).
    pub(super) fn heard(&mut self, word: &Word, now: Duration, pace: Pace) -> Option<MacAddress> {
        let mac = word.mac.or(self.mac)?;
        let has_moved = self.mac != Some(mac);
        if has_moved && self.mac.is_some() {
            if !word.overrides {
                self.doubt();
                return None;
            }
            if now < self.since + SETTLING {
                return None;
            }
        }
        let is_new = has_moved || (word.is_answer && self.unanswered > PATIENCE);
        if has_moved {
            (self.mac, self.since, self.unanswered) = (Some(mac), now, 0);
        }
        if word.is_answer {
            (self.due, self.unanswered) = (now + pace.trust, 0);
        } else if has_moved {
            self.doubt();
        }
        is_new.then_some(mac)
    }

    /// What to ask at this time.
    pub(super) fn tick(&mut self, now: Duration, pace: Pace) -> Option<Asking> {
        if now < self.due {
            return None;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.rests_until = now + RETRY;
        self.due = now + if self.unanswered > PATIENCE { pace.silence } else { RETRY };
        let to = self.mac.filter(|_| self.unanswered < PATIENCE);
        let given_up = if self.mac.is_some() { Resolution::Lost } else { Resolution::Silent };
        Some(Asking { to, verdict: (self.unanswered == PATIENCE + 1).then_some(given_up) })
    }
}
