//! Next hops towards clients: the Ethernet addresses that clients' packets come from, which is where answers go, each under a
//! number that fits into a flow entry.
//!
//! A host with ten thousand clients behind one router has one of them. A number is found by looking through the eight words,
//! one cache line, that the neighbour's keyed hash chooses; who is not there claims a word by compare-and-swap. No lock, and
//! nobody is ever told that a number is given up: a client's packets compare the word under their flow's number with what
//! they bear, and find themselves another number if it differs.
//!
//! Who makes room: a hop is *on trial* until a handshake is completed through it, and those on trial go first, the longest
//! silent before the others. So whoever invents Ethernet addresses displaces what others have invented, and a router that
//! is at work stays known. A hop that was *proved* goes only when all eight are, and never one that was renewed in the last
//! minutes, as any connection in use renews its own every few seconds. What a client has lost it finds again with its next
//! packet. (What counts as a completed handshake is the flow table's business: see [`crate::flow::State`].)

use crate::branchless::larger;
use crate::flow::Tick;
use crate::hash;
use crate::key::HopNumber;
use crate::reply::KEPT;
use crate::settings::Settings;
use crate::word::Word;
use evenkeel_wire::MacAddress;

/// How many hops can be known: as many as there are numbers. The first [`KEPT`] are the control side's.
pub const HOPS: u32 = 1 << 16;

/// Words that are looked through for one hop: a cache line.
const WAYS: u16 = 8;

/// How often a claim is tried when another CPU was quicker.
const TRIES: usize = 2;

/// A hop as a word. From the low end: Ethernet address (48 bits), port that its packets arrive by (7), whether it was
/// *proved* by a completed handshake (1), when it was renewed last (8, units of 256 ticks). Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop(pub u64);

impl Hop {
    const NEIGHBOUR: u64 = (1 << 55) - 1;
    const PROVED: u64 = 1 << 55;
    const AGE_SHIFT: u32 = 56;
    /// Units without a renewal after which a hop on trial is swept, and a proved one may make room: longer than any handshake
    /// takes, and than any connection in use is silent.
    const SILENT: i64 = 2;
    /// [`Hop::worth`] of a hop that never makes room.
    const KEPT: u64 = 512;
    /// The most that [`Hop::worth`] can be.
    const MOST_WORTH: u64 = 768;

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

    /// Whether a handshake was completed through it.
    #[inline(always)]
    pub fn is_proved(self) -> bool {
        self.0 & Self::PROVED != 0
    }

    #[inline(always)]
    fn renewed(self, is_proved: bool, now: Tick) -> Self {
        let proved = if is_proved { Self::PROVED } else { 0 };
        Self(self.0 & (Self::NEIGHBOUR | Self::PROVED) | proved | u64::from(now.0 >> 8) << Self::AGE_SHIFT)
    }

    /// Units since it was renewed last, at most 127; negative if that lies ahead, as it may when another CPU wrote it.
    #[inline(always)]
    fn age(self, now: Tick) -> i64 {
        i64::from(((now.0 >> 8) as u8).wrapping_sub((self.0 >> Self::AGE_SHIFT) as u8) as i8)
    }

    /// How hard it is to part with: 0 for a free word, up to 256 for one on trial, up to 511 for a proved one that is silent,
    /// the longest silent least; from [`Hop::KEPT`] on never. Without a branch, and so in one path for the verifier.
    #[inline(always)]
    fn worth(self, now: Tick) -> u64 {
        let age = self.age(now);
        let proved = self.0 >> 55 & 1;
        // Sign bits: 1 if it is not silent yet, and 0 for a free word.
        let is_in_use = ((age - Self::SILENT) as u64) >> 63;
        let is_taken = (self.0 | self.0.wrapping_neg()) >> 63;
        ((128 - age) as u64 + proved * 256 + proved * is_in_use * 256) * is_taken
    }
}

/// The number of the hop that packets from this neighbour come by, see [`crate::Packet::neighbour`]. Nothing if it has none
/// and there is no room for it, or it is no address that a host can have (zero; a group's, IEEE 802, section 8.2).
#[inline(always)]
pub fn number<'h, W: Word + 'h>(
    settings: &Settings,
    hops: impl Fn(HopNumber) -> Option<&'h W>,
    neighbour: u64,
    now: Tick,
) -> Option<HopNumber> {
    if MacAddress::from_bits(neighbour).is_zero() || neighbour & 1 != 0 {
        return None;
    }
    let start = outside(hash::hop(neighbour, &settings.flow_secret));
    for step in 0..WAYS {
        let number = at(start, step);
        if Hop(hops(number)?.load()).is(neighbour) {
            return Some(number);
        }
    }
    for _ in 0..TRIES {
        if let Some(number) = claim(&hops, start, neighbour, now) {
            return Some(number);
        }
    }
    None
}

/// A place where nothing is the control side's. Without a branch.
#[inline(always)]
fn outside(start: u16) -> u16 {
    let below = (u32::from(start).wrapping_sub(u32::from(KEPT)) >> 31) as u16;
    start.wrapping_add(below * KEPT)
}

/// The word `step` of the eight, counted from where the hash says: of equals not always the same goes first.
#[inline(always)]
fn at(start: u16, step: u16) -> HopNumber {
    HopNumber(start & !(WAYS - 1) | (start.wrapping_add(step) & (WAYS - 1)))
}

#[inline(always)]
fn claim<'h, W: Word + 'h>(
    hops: impl Fn(HopNumber) -> Option<&'h W>,
    start: u16,
    neighbour: u64,
    now: Tick,
) -> Option<HopNumber> {
    // How gladly it is given away and, in the low bits, how many steps are left.
    let mut best = 0;
    for step in 0..WAYS {
        let hop = Hop(hops(at(start, step))?.load());
        best = larger((Hop::MOST_WORTH - hop.worth(now)) * u64::from(WAYS) + u64::from(WAYS - 1 - step), best);
    }
    let number = at(start, WAYS - 1 - (best as u16 % WAYS));
    let word = hops(number)?;
    let hop = Hop(word.load());
    // Asked once more: somebody else may have taken it, and be at work by now.
    if hop.worth(now) >= Hop::KEPT {
        return None;
    }
    let claimed = word.compare_exchange(hop.0, Hop(neighbour).renewed(false, now).0);
    // Whoever was quicker may have brought the same.
    (claimed || Hop(word.load()).is(neighbour)).then_some(number)
}

/// Notes that a connection that comes by the hop in this word is active. `proof` is the neighbour through which it has just
/// completed its handshake, see [`crate::Packet::neighbour`]: if the word is still that one's, it is proved from now on.
/// Writes only what is news.
#[inline(always)]
pub fn renew<W: Word>(word: &W, proof: Option<u64>, now: Tick) {
    let hop = Hop(word.load());
    let renewed = hop.renewed(proof.is_some_and(|neighbour| hop.is(neighbour)), now);
    if hop.0 != 0 && renewed != hop {
        word.compare_exchange(hop.0, renewed.0);
    }
}

/// Those that are the control side's, of all of them.
pub fn kept<W>(hops: &[W]) -> &[W] {
    hops.get(..usize::from(KEPT)).unwrap_or_default()
}

/// Those that packets have brought, of all of them.
pub fn learned<W>(hops: &[W]) -> &[W] {
    hops.get(usize::from(KEPT)..).unwrap_or_default()
}

/// Frees hops that packets have brought ([`learned`]) and no connection names any more, so that their ages, which are told modulo
/// some hours, do not look young again. `longest`: the longest idle time, in ticks.
pub fn sweep<W: Word>(hops: &[W], longest: u16, now: Tick) {
    // One unit for what the division drops, one for stamps that lag behind.
    let abandoned = i64::from(longest >> 8) + 2;
    for word in hops {
        let hop = Hop(word.load());
        let most = if hop.is_proved() { abandoned } else { Hop::SILENT };
        if hop.0 != 0 && hop.age(now) >= most {
            word.compare_exchange(hop.0, 0);
        }
    }
}
