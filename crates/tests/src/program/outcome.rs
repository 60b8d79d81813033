//! What becomes of one packet, and what is true of every packet, whatever it is.

use super::plane::PlaneUnderTest;
use evenkeel_control::Plane as _;
use evenkeel_core::{Counters, Event, Reason, Verdict};

/// What became of a packet, as it shows outside of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// XDP hands a verdict back; a DPDK worker acts on it.
    pub verdict: Option<Verdict>,
    /// The packet as it was sent, if it was.
    pub sent: Option<Vec<u8>>,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The reason that was counted.
    pub reason: Reason,
    /// The packet as it was sent; empty if it was not.
    pub sent: Vec<u8>,
    /// What was counted meanwhile, by [`Event`].
    pub events: [u64; 16],
}

impl Outcome {
    /// Sends a packet through a plane that nobody else uses meanwhile, and says what came of it: one reason was counted,
    /// and it goes with what was done.
    #[track_caller]
    pub(super) fn of(plane: &PlaneUnderTest, packet: &[u8]) -> Self {
        let counters = || plane.counters().expect("the counters can be read");
        let before = counters();
        let passage = plane.run(0, packet);
        judge(passage, &before, &counters()).unwrap_or_else(|fault| panic!("{fault}: {packet:02x?}"))
    }

    /// How often this happened.
    pub fn happened(&self, event: Event) -> u64 {
        self.events[event as usize]
    }
}

fn judge(passage: Passage, before: &Counters, after: &Counters) -> Result<Outcome, String> {
    let Counters { verdicts, events } = since(after, before);
    let reasons: Vec<_> = Reason::ALL.iter().copied().filter(|&reason| verdicts[reason as usize] > 0).collect();
    let (1, &[reason]) = (verdicts.iter().sum(), reasons.as_slice()) else {
        return Err(format!("one packet, and counted were {reasons:?}"));
    };
    if passage.verdict.is_some_and(|verdict| verdict != reason.verdict()) {
        return Err(format!("counted as {}, but the verdict is {:?}", reason.name(), passage.verdict));
    }
    if passage.sent.is_some() != (reason.verdict() == Verdict::Transmit) {
        let what = if passage.sent.is_some() { "sent" } else { "not sent" };
        return Err(format!("counted as {}, and {what}", reason.name()));
    }
    Ok(Outcome { reason, sent: passage.sent.unwrap_or_default(), events })
}

/// What was counted in between.
pub(super) fn since(after: &Counters, before: &Counters) -> Counters {
    Counters {
        verdicts: std::array::from_fn(|reason| after.verdicts[reason] - before.verdicts[reason]),
        events: std::array::from_fn(|event| after.events[event] - before.events[event]),
    }
}
