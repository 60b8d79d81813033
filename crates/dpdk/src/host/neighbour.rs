//! What is known of a next hop, and when to ask it.

use super::Resolution;
use super::message::Word;
use evenkeel_wire::MacAddress;
use std::time::Duration;

/// An answer is believed for so long.
const TRUST: Duration = Duration::from_secs(10);
/// How far apart questions are that get no answer (RFC 1122, section 2.3.2.1: at most one a second; RFC 4861, section 10:
/// RETRANS_TIMER).
const RETRY: Duration = Duration::from_secs(1);
/// How far apart other Ethernet addresses are believed: one who answers for somebody else, or two who have the same
/// address, do not move a backend to and fro with every packet.
const SETTLING: Duration = Duration::from_secs(1);
/// Questions without an answer after which it is said.
const PATIENCE: u32 = 2;

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
    pub(super) fn heard(&mut self, word: &Word, now: Duration) -> Option<MacAddress> {
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
            (self.due, self.unanswered) = (now + TRUST, 0);
        } else if has_moved {
            self.doubt();
        }
        is_new.then_some(mac)
    }

    /// What to ask at this time.
    pub(super) fn tick(&mut self, now: Duration) -> Option<Asking> {
        if now < self.due {
            return None;
        }
        self.due = now + RETRY;
        self.rests_until = self.due;
        self.unanswered = self.unanswered.saturating_add(1);
        let to = self.mac.filter(|_| self.unanswered < PATIENCE);
        let given_up = if self.mac.is_some() { Resolution::Lost } else { Resolution::Silent };
        Some(Asking { to, verdict: (self.unanswered == PATIENCE + 1).then_some(given_up) })
    }
}
