//! What is known of a next hop, and when to ask it.

use super::Resolution;
use evenkeel_wire::MacAddress;
use std::time::Duration;

/// An answer is believed for so long, if there are few neighbours.
const TRUST: Duration = Duration::from_secs(10);
/// Of many neighbours so many are asked a second, and each is believed for as long as it takes to come round. Who has another
/// Ethernet address says so by itself (RFC 5227, section 2.3), as a rule.
const TRUSTED_A_SECOND: u32 = 500;
/// And so many of those that have not answered for a while.
const SILENT_A_SECOND: u32 = 2000;
/// How far apart questions are that get no answer (RFC 1122, section 2.3.2.1: at most one a second).
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
    /// When it has answered last, or was asked in vain.
    at: Option<Duration>,
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
        self.at = None;
    }

    /// It was heard of; returns whether that is new: another address, or the first answer after it was given up.
    pub(super) fn heard(&mut self, mac: MacAddress, now: Duration) -> bool {
        let has_moved = self.mac != Some(mac);
        if has_moved && self.mac.is_some() && now < self.since + SETTLING {
            return false;
        }
        let is_new = has_moved || self.unanswered > PATIENCE;
        let since = if has_moved { now } else { self.since };
        *self = Self { mac: Some(mac), since, at: Some(now), unanswered: 0 };
        is_new
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&self, now: Duration, pace: Pace) -> bool {
        let pause = match self.unanswered {
            0 => pace.trust,
            1..=PATIENCE => RETRY,
            _ => pace.silence,
        };
        self.at.is_none_or(|at| now >= at + pause)
    }

    /// What to ask, when it is time.
    pub(super) fn ask(&mut self, now: Duration) -> Question {
        self.at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        let to = match self.mac {
            Some(mac) if self.unanswered < PATIENCE => mac,
            _ => MacAddress::BROADCAST,
        };
        let given_up = if self.mac.is_some() { Resolution::Lost } else { Resolution::Silent };
        Question { to, verdict: (self.unanswered == PATIENCE + 1).then_some(given_up) }
    }
}
