//! A bucket of entries: finding, and claiming by compare-and-swap.
//!
//! Readers take no lock: they read the control word, the entry, and the control word again. Writers claim a place by
//! swapping its control word, fill it, publish it, and then look through the bucket once more: of two CPUs that insert
//! the same key at once, at least one sees the other and withdraws.

use super::entry::{Entry, NewEntry, unpack_peer};
use super::meta::Meta;
use super::time::Tick;
use super::timeouts::Timeouts;
use crate::backend::BackendRef;
use crate::key::{FlowKey, Peer};
use crate::word::Word;
use evenkeel_wire::MacAddress;

/// How often a change is tried again when another CPU changes the same entry.
pub(crate) const TRIES: usize = 3;

/// Entries in a bucket.
pub const WAYS: usize = 8;

/// A bucket: four cache lines. The search begins at an entry that the flow's hash chooses, so that a flow in a table
/// that is not full is found in the first line it looks at.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Bucket<W, const N: usize = WAYS>(pub [Entry<W>; N]);

const _: () = assert!(size_of::<Bucket<u64>>() == 256);

impl<W: Word, const N: usize> Bucket<W, N> {
    /// The entry `index`, counted round the bucket. `N` is a power of two.
    #[inline(always)]
    fn entry(&self, index: usize) -> Option<&Entry<W>> {
        self.0.get(index & (N - 1))
    }

    /// Frees the entries whose place may be given away.
    pub fn sweep(&self, timeouts: &Timeouts, now: Tick) {
        for entry in &self.0 {
            let meta = Meta(entry.meta.load());
            if meta.is_live() && timeouts.abandoned(meta, now) {
                entry.meta.compare_exchange(meta.0, meta.released().0);
            }
        }
    }
}

/// A live entry and what it said when it was found.
#[derive(Debug)]
pub struct Found<'a, W> {
    /// Where it is.
    pub entry: &'a Entry<W>,
    /// Its key.
    pub key: FlowKey,
    /// Its control word.
    pub meta: Meta,
    /// The connection's backend.
    pub backend: BackendRef,
    /// See [`NewEntry::new`].
    pub peer: Peer,
    /// See [`NewEntry::new`].
    pub mac: MacAddress,
}

impl<W: Word> Found<'_, W> {
    /// Gives the entry's place up, unless somebody has changed it meanwhile.
    #[inline(always)]
    pub fn release(&self) -> bool {
        self.entry.meta.compare_exchange(self.meta.0, self.meta.released().0)
    }
}

impl<W: Word> Entry<W> {
    /// What the entry says, whole, if it stands for a connection; nothing if it is free or changes hands right now.
    #[inline(always)]
    pub fn read(&self) -> Option<Found<'_, W>> {
        let before = Meta(self.meta.load());
        let key = self.key();
        let backend = self.backend();
        let peer = self.peer.load();
        let meta = Meta(self.meta.load());
        if !before.is_live() || !before.is_same_use(meta) {
            return None;
        }
        let (peer, mac) = unpack_peer(peer, meta);
        Some(Found { entry: self, key, meta, backend, peer, mac })
    }
}

/// The live entry with this key. It may be expired; that is for the caller to judge.
#[inline(always)]
pub fn find<W: Word, const N: usize>(bucket: &Bucket<W, N>, key: FlowKey, start: usize) -> Option<Found<'_, W>> {
    for step in 0..N {
        let entry = bucket.entry(start + step)?;
        // A hint that saves reading the rest of most entries.
        if entry.addresses.load() != key.addresses {
            continue;
        }
        if let Some(found) = entry.read()
            && found.key == key
        {
            return Some(found);
        }
    }
    None
}

/// What came of an attempt to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The entry is in the bucket.
    Done {
        /// Where.
        slot: u8,
        /// Which use of the place it is, see [`withdraw`].
        uses: u8,
        /// Whether an entry that was not yet idle for its time made room.
        evicted: bool,
    },
    /// The key is in use.
    Taken,
    /// Every entry of the bucket is an established connection's.
    Full,
    /// Another CPU was quicker, or inserts the same key.
    Contended,
}

impl Insertion {
    /// One number for it, to cross a call that a plane makes.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        match self {
            Self::Done { slot, uses, evicted } => {
                u32::from(slot) << 8 | u32::from(uses) << 16 | u32::from(evicted) << 24
            }
            Self::Taken => 1,
            Self::Full => 2,
            Self::Contended => 3,
        }
    }

    /// The inverse of [`Insertion::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        match bits as u8 {
            0 => Self::Done { slot: (bits >> 8) as u8, uses: (bits >> 16) as u8, evicted: bits >> 24 != 0 },
            1 => Self::Taken,
            2 => Self::Full,
            _ => Self::Contended,
        }
    }
}

/// Ranks below this are never given away.
const EVICTABLE: u32 = 1 << 16;
/// Ranks from here on are free or abandoned.
const IDLE: u32 = 4 << 16;

/// How gladly an entry is given away: free before abandoned before half-open before closing, the longest idle first.
///
/// Without a branch, and so in one path for the verifier: a class for each state, four classes higher when abandoned.
#[inline(always)]
fn rank(meta: Meta, now: Tick, timeouts: &Timeouts) -> u32 {
    // By state, four bits each from the low end: free 8, claimed 0, opening 3, answered 2, established 0, closing 1.
    const CLASSES: u32 = 0x10_23_08;
    let class = CLASSES >> ((meta.0 & 7) * 4) & 0xf;
    // The sign bit, inverted: 1 when overdue.
    let abandoned = !(timeouts.overdue(meta, now) as u32) >> 31;
    (class + 4 * abandoned) << 16 | u32::from(now.since(meta.seen()))
}

/// Inserts an entry in the best place that the bucket has: free, abandoned, then the oldest half-open one, then the
/// oldest closing one. Never in an established connection's.
#[inline(always)]
pub fn insert<W: Word, const N: usize>(
    bucket: &Bucket<W, N>,
    start: usize,
    new: &NewEntry,
    timeouts: &Timeouts,
) -> Insertion {
    let key = new.key();
    let now = new.seen();
    // The rank and, in the low bits, how many steps are left: of equals the first is taken, and there is one number less
    // to keep on a BPF stack.
    let mut best = EVICTABLE * N as u32 - 1;
    let mut best_meta = 0;
    for step in 0..N {
        let Some(entry) = bucket.entry(start + step) else { break };
        let mut meta = Meta(entry.meta.load());
        if entry.has_key(key) && meta.is_live() {
            if !timeouts.abandoned(meta, now) {
                return Insertion::Taken;
            }
            // Cleared first, or the bucket could hold the key twice.
            if !entry.meta.compare_exchange(meta.0, meta.released().0) {
                return Insertion::Contended;
            }
            meta = meta.released();
        }
        let candidate = rank(meta, now, timeouts) * N as u32 + (N - 1 - step) as u32;
        if candidate > best {
            (best, best_meta) = (candidate, meta.0);
        }
    }
    if best < EVICTABLE * N as u32 {
        return Insertion::Full;
    }
    let best_slot = start + N - 1 - best as usize % N;
    let Some(entry) = bucket.entry(best_slot) else { return Insertion::Full };
    let claim = Meta(best_meta).claim();
    if !entry.meta.compare_exchange(best_meta, claim.0) {
        return Insertion::Contended;
    }
    entry.write(new);
    let meta = new.meta(claim);
    entry.meta.publish(meta.0);
    for step in 1..N {
        let Some(other) = bucket.entry(best_slot + step) else { break };
        if other.has_key(key) && Meta(other.meta.load()).is_live() {
            withdraw(bucket, best_slot as u8 & (N - 1) as u8, meta.uses());
            return Insertion::Contended;
        }
    }
    Insertion::Done { slot: (best_slot & (N - 1)) as u8, uses: meta.uses(), evicted: best < IDLE * N as u32 }
}

/// Takes an entry back that was just inserted, as long as it is still the same use of its place. Another CPU may have
/// found it already and be bringing it up to date, so more than one attempt may be needed.
#[inline(always)]
pub fn withdraw<W: Word, const N: usize>(bucket: &Bucket<W, N>, slot: u8, uses: u8) {
    let Some(entry) = bucket.entry(usize::from(slot)) else { return };
    for _ in 0..TRIES {
        let meta = Meta(entry.meta.load());
        if !meta.is_live() || meta.uses() != uses || entry.meta.compare_exchange(meta.0, meta.released().0) {
            return;
        }
    }
}
