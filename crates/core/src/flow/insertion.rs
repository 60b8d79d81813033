//! Making entries, by compare-and-swap.
//!
//! Writers claim a place by swapping its control word, fill it, publish it, and then look through the bucket once more: of
//! two CPUs that insert the same key at once, at least one sees the other and withdraws.

use super::bucket::BucketOf;
use super::entry::Record;
use super::meta::Meta;
use super::time::Now;
use super::timeouts::Timeouts;
use super::worth::{self, Victim};
use crate::branchless::larger;
use crate::word::Word;

/// How often a change is tried again when another CPU changes the same entry.
pub(crate) const TRIES: usize = 3;

/// What came of an attempt to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The entry is in the bucket.
    Done {
        /// Where.
        slot: u8,
        /// Which use of the place it is, see [`withdraw`].
        uses: u8,
        /// Who made room, if that was not yet idle for its time.
        victim: Option<Victim>,
    },
    /// The key is in use.
    Taken {
        /// How gladly its owner gives up the port, if it is a reply entry: the more the better, 0 not at all. See
        /// [`take_over`].
        worth: u32,
    },
    /// Every entry of the bucket is an established connection's.
    Full,
    /// Another CPU was quicker, or inserts the same key.
    Contended,
}

impl Insertion {
    /// The low byte of [`Insertion::bits`] for [`Insertion::Taken`].
    pub(crate) const TAKEN: u32 = 1;
    /// The low byte of [`Insertion::bits`] for [`Insertion::Full`].
    pub(crate) const FULL: u32 = 2;

    /// One number for it, to cross a call that a plane makes.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        match self {
            Self::Done { slot, uses, victim } => {
                let victim = match victim {
                    None => 0,
                    Some(Victim::HalfOpen) => 1,
                    Some(Victim::Finished) => 2,
                    Some(Victim::Udp) => 3,
                };
                u32::from(slot) << 8 | u32::from(uses) << 16 | victim << 24
            }
            Self::Taken { worth } => Self::TAKEN | worth << 8,
            Self::Full => Self::FULL,
            Self::Contended => 3,
        }
    }

    /// The inverse of [`Insertion::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        match bits as u8 {
            0 => {
                let victim = match bits >> 24 {
                    1 => Some(Victim::HalfOpen),
                    2 => Some(Victim::Finished),
                    3 => Some(Victim::Udp),
                    _ => None,
                };
                Self::Done { slot: (bits >> 8) as u8, uses: (bits >> 16) as u8, victim }
            }
            1 => Self::Taken { worth: bits >> 8 },
            2 => Self::Full,
            _ => Self::Contended,
        }
    }
}

/// Inserts an entry in the best place that the bucket has, see `worth`. Never in an established TCP connection's.
///
/// One question a scan: is the key taken, which place is given away, has somebody else inserted the key meanwhile. A scan
/// that asked two would have BPF's verifier walk every combination of their answers.
#[inline(always)]
pub fn insert<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    start: usize,
    new: &E::New,
    timeouts: &Timeouts,
    now: Now,
) -> Insertion {
    let key = E::key_of(new);
    for step in 0..N {
        let Some(entry) = bucket.entry(start + step) else { break };
        if !entry.resembles(&key) {
            continue;
        }
        let meta = Meta(entry.meta().load());
        if meta.is_live() && entry.key() == key {
            if !timeouts.abandoned(meta, entry.class(), now) {
                return Insertion::Taken { worth: worth::port(meta, now) };
            }
            // Cleared first, or the bucket could hold the key twice.
            if !entry.meta().compare_exchange(meta.0, meta.released().0) {
                return Insertion::Contended;
            }
        }
    }
    let newcomer = E::meta_of(new);
    let Some(slot) = most_expendable(bucket, start, now, timeouts, newcomer) else { return Insertion::Full };
    let Some(entry) = bucket.entry(slot) else { return Insertion::Full };
    let meta = Meta(entry.meta().load());
    let worth = timeouts.worth(meta, entry.class(), now, newcomer);
    // Somebody else may have used the place since: for a connection that is not given away, or for this very key, which
    // would then be in the bucket twice.
    if worth < worth::EVICTABLE || meta.is_live() && entry.key() == key {
        return Insertion::Contended;
    }
    let victim = if worth < worth::IDLE { worth::victim(meta) } else { None };
    settle(bucket, slot, meta, new, victim)
}

/// Makes an entry in the place of the one that has the same key: a reply entry whose owner gives up its port, as
/// [`Insertion::Taken`] has told. Until then the former connection had two entries; its client's packets find now that the
/// other one is not theirs.
#[inline(always)]
pub fn take_over<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    start: usize,
    new: &E::New,
    now: Now,
) -> Insertion {
    let key = E::key_of(new);
    for step in 0..N {
        let slot = (start + step) & (N - 1);
        let Some(entry) = bucket.entry(slot) else { break };
        if !entry.resembles(&key) {
            continue;
        }
        let meta = Meta(entry.meta().load());
        if meta.is_live() && entry.key() == key {
            let worth = worth::port(meta, now);
            let victim = if meta.is_udp() {
                Victim::Udp
            } else if worth::is_finished(worth) {
                Victim::Finished
            } else {
                Victim::HalfOpen
            };
            return if worth == 0 { Insertion::Taken { worth } } else { settle(bucket, slot, meta, new, Some(victim)) };
        }
    }
    // It has gone by itself: the next try will find the port free.
    Insertion::Contended
}

/// Puts the entry into this place, if that still is what it was when `meta` was read.
#[inline(always)]
fn settle<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    slot: usize,
    meta: Meta,
    new: &E::New,
    victim: Option<Victim>,
) -> Insertion {
    let Some(entry) = bucket.entry(slot) else { return Insertion::Full };
    let claim = meta.claim();
    if !entry.meta().compare_exchange(meta.0, claim.0) {
        return Insertion::Contended;
    }
    entry.write(new);
    let meta = E::meta_of(new).in_use(claim);
    entry.meta().publish(meta.0);
    let key = E::key_of(new);
    for step in 1..N {
        let Some(other) = bucket.entry(slot + step) else { break };
        if other.resembles(&key) && other.key() == key && Meta(other.meta().load()).is_live() {
            withdraw(bucket, slot as u8, meta.uses());
            return Insertion::Contended;
        }
    }
    Insertion::Done { slot: slot as u8, uses: meta.uses(), victim }
}

/// Where the entry is that is given away most gladly, if any is. Of equals the first that the search comes by.
#[inline(always)]
fn most_expendable<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    start: usize,
    now: Now,
    timeouts: &Timeouts,
    newcomer: Meta,
) -> Option<usize> {
    // The worth and, in the low bits, how many steps are left: one number to keep, and no branch, which a CPU could foretell as
    // little as who is the oldest.
    let mut best = 0;
    for step in 0..N {
        let entry = bucket.entry(start + step)?;
        let worth = timeouts.worth(Meta(entry.meta().load()), entry.class(), now, newcomer);
        best = larger(u64::from(worth * N as u32 + (N - 1 - step) as u32), best);
    }
    if best < u64::from(worth::EVICTABLE) * N as u64 {
        None
    } else {
        Some((start + N - 1 - best as usize % N) & (N - 1))
    }
}

/// Takes an entry back that was just inserted, as long as it is still the same use of its place. Another CPU may have
/// found it already and be bringing it up to date, so more than one attempt may be needed.
#[inline(always)]
pub fn withdraw<E: Record, const N: usize>(bucket: &BucketOf<E, N>, slot: u8, uses: u8) {
    let Some(entry) = bucket.entry(usize::from(slot)) else { return };
    for _ in 0..TRIES {
        let meta = Meta(entry.meta().load());
        if !meta.is_live() || meta.uses() != uses || entry.meta().compare_exchange(meta.0, meta.released().0) {
            return;
        }
    }
}
