//! Who may open a connection while more want to than the service lets in.
//!
//! A flood of SYNs costs the machine and its backends more than it costs the sender, and nothing tells one of them from an honest
//! one. But who is there asks again when nothing answers (RFC 9293, section 3.8.1: after a second), with the same packet; who
//! invents addresses has to send everything twice.

use crate::allowance::{self, Pace, of_newcomers};
use crate::choose::service;
use crate::family::Family;
use crate::flow::Now;
use crate::hash;
use crate::key::Key as _;
use crate::tables::FamilyTables;
use crate::verdict::Event;
use crate::word::Word;
use evenkeel_wire::IpProtocol;

/// Who has asked in vain, the latest first: eight marks of 16 bits, zero for none. As many of these as half the flow table's
/// buckets, so that somebody is remembered for long enough: with the default, nearly everybody for a second of 750,000 in vain.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Asked<W>(pub [W; 2]);

/// The lowest bit of each mark in a word.
const ONES: u64 = 0x0001_0001_0001_0001;

/// Whether a packet with this key may open a connection now: the service has no limit or has not reached it, or somebody asks
/// again. Datagrams are not asked again by everybody, and not with the same port: beyond the limit none opens a flow.
#[inline(always)]
pub fn admits<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key, now: Now) -> bool {
    let Ok(service) = service::<A, T>(tables, key) else { return true };
    if service.newcomers == 0 {
        return true;
    }
    let Some(word) = tables.allowance(of_newcomers(service.table)) else { return true };
    if allowance::take(word, now, Pace::of_parts(service.newcomers)) {
        return true;
    }
    key.protocol() == IpProtocol::TCP && asks_again::<A, T>(tables, key)
}

/// Whether this one has asked before. If not, it has now.
#[inline(always)]
fn asks_again<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key) -> bool {
    let settings = tables.settings();
    let place = key.place(settings);
    // One table for both families, as large as the one of IPv4 flows wants it.
    let Some(Asked([first, second])) = tables.asked(hash::bucket(place, settings.flow_mask) >> 1) else { return true };
    // Of the bits that do not say which bucket.
    let mark = (place >> 12 & 0xffff).max(1);
    let (newer, older) = (first.load(), second.load());
    if has(newer, mark) || has(older, mark) {
        tables.count_event(Event::AskedAgain);
        return true;
    }
    // Two CPUs may do this at once: one mark is lost, and that client asks a third time.
    second.store(older << 16 | newer >> 48);
    first.store(newer << 16 | mark);
    false
}

/// Whether one of the four marks is this one (Warren, "Hacker's Delight", section 6-1: which byte is zero).
#[inline(always)]
fn has(marks: u64, mark: u64) -> bool {
    let differs = marks ^ mark.wrapping_mul(ONES);
    differs.wrapping_sub(ONES) & !differs & (ONES << 15) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_is_found_where_it_is_and_nowhere_else(marks: u64, mark: u16, place in 0..4_u32) {
            let at = |place: u32| (marks >> (16 * place)) as u16;
            prop_assert_eq!(has(marks, mark.into()), (0..4).any(|place| at(place) == mark));
            prop_assert!(has(marks, at(place).into()));
        }
    }
}
