//! What is known of a next hop, and when to ask it.

use super::Resolution;
use evenkeel_wire::MacAddress;
use std::time::Duration;

/// An answer is believed for so long.
const TRUST: Duration = Duration::from_secs(10);
/// How far apart questions are that get no answer (RFC 1122, section 2.3.2.1: at most one a second).
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
    /// When to ask next.
    due: Duration,
    /// Questions since the last answer.
    unanswered: u32,
}

/// A question to be asked.
pub(super) struct Question {
    /// Whom: the neighbour alone while it is known and has answered (RFC 1122, section 2.3.2.1, "unicast poll").
    pub(super) to: MacAddress,
    /// What has to be said about it now.
    pub(super) verdict: Option<Resolution>,
}

impl Neighbour {
    pub(super) fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    /// It may have moved: ask.
    pub(super) fn doubt(&mut self) {
        self.due = Duration::ZERO;
    }

    /// It was heard of; returns whether that is new: another address, or the first answer after it was given up.
    pub(super) fn heard(&mut self, mac: MacAddress, now: Duration) -> bool {
        let has_moved = self.mac != Some(mac);
        if has_moved && self.mac.is_some() && now < self.since + SETTLING {
            return false;
        }
        let is_new = has_moved || self.unanswered > PATIENCE;
        let since = if has_moved { now } else { self.since };
        *self = Self { mac: Some(mac), since, due: now + TRUST, unanswered: 0 };
        is_new
    }

    /// What to ask at this time.
    pub(super) fn tick(&mut self, now: Duration) -> Option<Question> {
        if now < self.due {
            return None;
        }
        self.due = now + RETRY;
        self.unanswered = self.unanswered.saturating_add(1);
        let to = match self.mac {
            Some(mac) if self.unanswered < PATIENCE => mac,
            _ => MacAddress::BROADCAST,
        };
        let given_up = if self.mac.is_some() { Resolution::Lost } else { Resolution::Silent };
        Some(Question { to, verdict: (self.unanswered == PATIENCE + 1).then_some(given_up) })
    }
}
