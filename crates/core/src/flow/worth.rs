//! Who gives way: to whom a place in the table, or a NAT port, does more good than to its owner.
//!
//! Everything here is arithmetic without a branch, and so one path for BPF's verifier: tables of four bits for each
//! [`Meta::kind`], TCP's states from the low end of the word, UDP's from the middle.

use super::meta::{Meta, State};
use super::time::Now;
use super::timeouts::Timeouts;

/// What makes room when a bucket is full, or when no port is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A TCP connection whose handshake was not complete.
    HalfOpen,
    /// A TCP connection that had ended.
    Finished,
    /// A UDP flow.
    Udp,
}

/// Places of a [`Timeouts::worth`] below this are never given away.
pub(super) const EVICTABLE: u32 = 1 << AGE_BITS;
/// From here on the place is free, or its owner has been idle for too long.
pub(super) const IDLE: u32 = 8 << AGE_BITS;

const AGE_BITS: u32 = Timeouts::RANK_SHIFT;

/// How gladly the place of an entry of this [`Meta::kind`] is given away to a newcomer: free before what may still be of use,
/// there first what nobody has proved yet of the newcomer's own protocol, then of the other one; last streams, and what is
/// said to have been reset; 0: never. A connection that two sides have proved gives way to nobody before its idle time is
/// over; then any goes before all that are not abandoned. Of one rank the oldest first.
///
/// So neither protocol's flood locks the other one out: each lives off its own.
pub(super) const fn rank(kind: usize, newcomer_is_udp: bool) -> u32 {
    // Free 15, claimed 0; TCP: opening 7, answered 6, established 0, closing 4, half-closed 0, reset 1; UDP: 5, 3, 2.
    const TO_TCP: u64 = 0x0002_3500_1040_670f;
    // TCP: opening 5, answered 4, closing 3; UDP: opening 7, answered 6. The rest likewise.
    const TO_UDP: u64 = 0x0002_6700_1030_450f;
    let ranks = if newcomer_is_udp { TO_UDP } else { TO_TCP };
    (ranks >> (kind * 4)) as u32 & 0xf
}

/// Who loses a place of which this was the control word.
#[inline(always)]
pub(super) fn victim(meta: Meta) -> Option<Victim> {
    match meta.state() {
        _ if meta.is_udp() => Some(Victim::Udp),
        State::Opening | State::Answered => Some(Victim::HalfOpen),
        State::Closing | State::Reset => Some(Victim::Finished),
        _ => None,
    }
}

/// How gladly the owner of a reply entry gives up its NAT port to another connection; 0: not at all.
///
/// Finished TCP first, after a second, as Linux' `tcp_tw_reuse` does it (kernel documentation, ip-sysctl); then half-open
/// TCP that is past its first moments, in which most handshakes are completed; last what is said to have been reset, which
/// a stranger may have said; never a connection that two sides have proved. UDP's ports are asked for by UDP only:
/// unanswered ones first, streams that are silent for long last. The oldest of a kind first.
#[inline(always)]
pub(super) fn port(meta: Meta, now: Now) -> u32 {
    // TCP: opening 2, answered 2, closing 3, reset 1; UDP: opening 3, answered 2, established 1.
    const RANKS: u64 = 0x0001_2300_1030_2200;
    // How old it must be at least, a quarter of that in units of its stamp: a second, 67 ms, 17 s for streams.
    const YOUNG: u64 = 0x0004_f100_f0f0_1100;
    let age = u32::from(meta.age(now));
    // All ones if it is old enough.
    let old = !(((age as i32 - 4 * nibble(YOUNG, meta) as i32) >> 31) as u32);
    let rank = nibble(RANKS, meta);
    // All ones if it ever is.
    let ever = ((rank.wrapping_neg() as i32) >> 31) as u32;
    (rank << AGE_BITS | age) & old & ever
}

/// Whether a port of this worth is given up at once, without a look for a better one.
#[inline(always)]
pub(crate) fn is_finished(worth: u32) -> bool {
    worth >> AGE_BITS >= 3
}

#[inline(always)]
fn nibble(table: u64, meta: Meta) -> u32 {
    (table >> (meta.kind() * 4) & 0xf) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::IdleTimes;

    const STATES: [State; 6] =
        [State::Opening, State::Answered, State::Established, State::Closing, State::HalfClosed, State::Reset];

    fn meta(state: State, is_udp: bool, now: Now) -> Meta {
        Meta(u64::from(is_udp) << 6).with_state(state).with_seen(now)
    }

    #[test]
    fn places_are_given_away_in_this_order() {
        let timeouts = Timeouts::uniform(IdleTimes::DEFAULT);
        let (then, now) = (Now(0x40_0000), Now(0x40_0000 + 128));
        let orders = [
            [
                meta(State::Free, false, now),
                meta(State::Opening, false, then),
                meta(State::Opening, false, now),
                meta(State::Answered, false, then),
                meta(State::Opening, true, then),
                meta(State::Closing, false, then),
                meta(State::Answered, true, then),
                meta(State::Established, true, then),
                meta(State::Reset, false, then),
            ],
            [
                meta(State::Free, false, now),
                meta(State::Opening, true, then),
                meta(State::Opening, true, now),
                meta(State::Answered, true, then),
                meta(State::Opening, false, then),
                meta(State::Answered, false, then),
                meta(State::Closing, false, then),
                meta(State::Established, true, then),
                meta(State::Reset, false, then),
            ],
        ];
        for (is_udp, order) in [false, true].into_iter().zip(orders) {
            let newcomer = meta(State::Opening, is_udp, now);
            let worth = |meta: Meta| timeouts.worth(meta, 0, now, newcomer);
            assert!(order.map(worth).is_sorted_by(|one, other| one > other), "{:x?}", order.map(worth));
            assert!(order.iter().all(|&meta| worth(meta) >= EVICTABLE));
            assert!(order.iter().skip(1).all(|&meta| worth(meta) < IDLE && victim(meta).is_some()));
            for state in [State::Claimed, State::Established, State::HalfClosed] {
                assert!(worth(meta(state, false, then)) < EVICTABLE, "{state:?}");
            }
        }
        // Whatever has been idle for too long goes before all that has not.
        let late = Now(0x40_0000 + ((9 * 3600) << 6));
        for state in STATES {
            let worth = timeouts.worth(meta(state, false, then), 0, late, meta(State::Opening, false, late));
            assert!(worth >= IDLE || !state.is_coarse(), "{state:?}");
        }
        assert_eq!(victim(meta(State::Free, false, now)), None);
    }

    #[test]
    fn ports_are_given_up_in_this_order() {
        let then = Now(0x40_0000);
        let second = Now(then.0 + 60);
        let worth = |state, is_udp, now| port(meta(state, is_udp, then), now);
        assert!(worth(State::Closing, false, second) > worth(State::Opening, false, Now(then.0 + 3000)));
        assert!(worth(State::Answered, false, Now(then.0 + 4)) > worth(State::Reset, false, Now(then.0 + 3000)));
        assert!(worth(State::Opening, false, Now(then.0 + 5)) > worth(State::Opening, false, Now(then.0 + 4)));
        for (state, is_udp, young) in [
            (State::Closing, false, 59),
            (State::Reset, false, 59),
            (State::Opening, false, 3),
            (State::Answered, false, 3),
            (State::Opening, true, 3),
            (State::Answered, true, 59),
            (State::Established, true, 15 << 6),
        ] {
            assert_eq!(worth(state, is_udp, Now(then.0 + young)), 0, "{state:?}");
            assert!(worth(state, is_udp, Now(then.0 + young + 64)) > 0, "{state:?}");
        }
        for state in [State::Free, State::Claimed, State::Established, State::HalfClosed] {
            assert_eq!(worth(state, false, Now(then.0 + ((4 * 3600) << 6))), 0, "{state:?}");
        }
    }
}
