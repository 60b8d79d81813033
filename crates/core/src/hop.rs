//! Next hops towards clients: the Ethernet addresses that clients' packets come from, which is where answers go, each under a
//! number that fits into a flow entry.
//!
//! A host with ten thousand clients behind one router has one of them. A number is found by looking through the eight words,
//! one cache line, that the address's keyed hash chooses; who is not there claims a word by compare-and-swap. No lock, and
//! nobody is ever told that a number is given up: a client's packets compare the word under their flow's number with what
//! they bear, and find themselves another number if it differs.
//!
//! What is in use is not given away. A hop is *on trial* until a connection that came by it is established; only so long may
//! another take its place, so that whoever invents Ethernet addresses displaces what others have invented, and a router that
//! is at work stays known. An established connection renews its hop whenever it renews itself, so a hop is abandoned only
//! when the longest idle time has passed since.

use crate::flow::Tick;
use crate::hash;
use crate::key::HopNumber;
use crate::tables::Tables;
use crate::word::Word;
use core::hint::black_box;
use evenkeel_wire::MacAddress;

/// How many hops can be known: as many as there are numbers.
pub const HOPS: u32 = 1 << 16;

/// Words that are looked through for one hop: a cache line.
const WAYS: u16 = 8;

/// A hop as a word. From the low end: Ethernet address (48 bits), port that its packets arrive by (7), whether it has been
/// *proved* by an established connection (1), when it was renewed last (8, units of 256 ticks). Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop(pub u64);

impl Hop {
    const NEIGHBOUR: u64 = (1 << 55) - 1;
    const PROVED: u64 = 1 << 55;
    const AGE_SHIFT: u32 = 56;
    /// Hops on trial are swept after so many units: longer than any handshake takes.
    const TRIAL: i8 = 2;

    /// Where its packets come from, and answers go.
    #[inline(always)]
    pub fn mac(self) -> MacAddress {
        MacAddress::from_bits(self.0)
    }

    /// Whether this is the hop that packets from this neighbour come by: [`crate::Packet::neighbour`].
    #[inline(always)]
    pub(crate) fn is(self, neighbour: u64) -> bool {
        (self.0 ^ neighbour) & Self::NEIGHBOUR == 0
    }

    /// Whether a connection that came by it was established.
    #[inline(always)]
    pub fn is_proved(self) -> bool {
        self.0 & Self::PROVED != 0
    }

    #[inline(always)]
    fn renewed(self, is_proved: bool, now: Tick) -> Self {
        let proved = if is_proved { Self::PROVED } else { 0 };
        Self(self.0 & (Self::NEIGHBOUR | Self::PROVED) | proved | u64::from(now.0 >> 8) << Self::AGE_SHIFT)
    }

    /// Units since it was renewed last; negative if that lies ahead, as it may when another CPU wrote it.
    #[inline(always)]
    fn age(self, now: Tick) -> i8 {
        ((now.0 >> 8) as u8).wrapping_sub((self.0 >> Self::AGE_SHIFT) as u8) as i8
    }

    /// 1 if no live connection can name it any more, else 0: `longest` is the longest idle time, in ticks.
    #[inline(always)]
    fn abandoned(self, longest: u16, now: Tick) -> u64 {
        // One unit for what the division drops, one for stamps that lag behind.
        let overdue = i64::from(self.age(now)) - i64::from((longest >> 8) + 2);
        // The sign bit, inverted.
        !(overdue as u64) >> 63
    }

    /// How hard it is to part with: nothing for a free word, then what is on trial or abandoned, and what is at
    /// [`Hop::PROVED`] or above never. Without a branch, and so in one path for the verifier.
    #[inline(always)]
    fn worth(self, longest: u16, now: Tick) -> u64 {
        self.0 & (Self::PROVED | Self::NEIGHBOUR) & !(self.abandoned(longest, now) * Self::PROVED)
    }
}

/// The number of the hop that packets from this neighbour come by, see [`crate::Packet::neighbour`]. Nothing if it has none and there is no room for it.
#[inline(always)]
pub fn number<T: Tables + ?Sized>(tables: &T, neighbour: u64, now: Tick) -> Option<HopNumber> {
    let settings = tables.settings();
    let first = hash::hop(neighbour, &settings.flow_secret) & !(WAYS - 1);
    for step in 0..WAYS {
        let number = HopNumber(first | step);
        if Hop(tables.hop(number)?.load()).is(neighbour) {
            return Some(number);
        }
    }
    claim(tables, first, neighbour, now)
}

#[inline(always)]
fn claim<T: Tables + ?Sized>(tables: &T, first: u16, neighbour: u64, now: Tick) -> Option<HopNumber> {
    let longest = tables.settings().timeouts.longest;
    let mut least = u64::MAX;
    for step in 0..WAYS {
        let hop = Hop(tables.hop(HopNumber(first | step))?.load());
        // See `most_expendable` in flow/bucket.rs for the black box.
        least = black_box(least.min(hop.worth(longest, now) * u64::from(WAYS) + u64::from(step)));
    }
    let number = HopNumber(first | (least as u16 % WAYS));
    let word = tables.hop(number)?;
    let hop = Hop(word.load());
    // Asked once more: somebody else may have taken it, and be at work by now.
    if hop.worth(longest, now) >= Hop::PROVED {
        return None;
    }
    let claimed = word.compare_exchange(hop.0, Hop(neighbour).renewed(false, now).0);
    // Whoever was quicker may have brought the same.
    (claimed || Hop(word.load()).is(neighbour)).then_some(number)
}

/// Notes that a connection that comes by this hop is active. `proof` is the neighbour that has just sent a packet of an
/// established one, see [`crate::Packet::neighbour`]: if the number is still its own, it is not given away from now on.
/// Writes only what is news.
#[inline(always)]
pub fn renew<T: Tables + ?Sized>(tables: &T, number: HopNumber, proof: Option<u64>, now: Tick) {
    let Some(word) = tables.hop(number) else { return };
    let hop = Hop(word.load());
    let renewed = hop.renewed(proof.is_some_and(|neighbour| hop.is(neighbour)), now);
    if hop.0 != 0 && renewed != hop {
        word.compare_exchange(hop.0, renewed.0);
    }
}

/// Frees the hops that no connection names any more, so that their ages, which are told modulo some hours, do not look young
/// again. `longest`: the longest idle time, in ticks.
pub fn sweep<W: Word>(hops: &[W], longest: u16, now: Tick) {
    for word in hops {
        let hop = Hop(word.load());
        let is_over = hop.abandoned(longest, now) == 1 || !hop.is_proved() && hop.age(now) >= Hop::TRIAL;
        if hop.0 != 0 && is_over {
            word.compare_exchange(hop.0, 0);
        }
    }
}
