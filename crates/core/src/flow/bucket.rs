//! A bucket of entries: finding, and claiming by compare-and-swap.
//!
//! Readers take no lock: they read the control word, the entry, and the control word again. Writers claim a place by
//! swapping its control word, fill it, publish it, and then look through the bucket once more: of two CPUs that insert
//! the same key at once, at least one sees the other and withdraws.

use super::entry::{Entry, Record, WideEntry};
use super::meta::Meta;
use super::time::Tick;
use super::timeouts::Timeouts;
use crate::backend::BackendRef;
use crate::key::Peer;
use crate::word::Word;
use core::hint::black_box;

/// How often a change is tried again when another CPU changes the same entry.
pub(crate) const TRIES: usize = 3;

/// Entries in a bucket.
pub const WAYS: usize = 8;

/// A bucket. The search begins at an entry that the flow's hash chooses, so that a flow in a table that is not full is found
/// in the first line it looks at.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct BucketOf<E, const N: usize = WAYS>(pub [E; N]);

/// A bucket of narrow entries: four cache lines.
pub type Bucket<W, const N: usize = WAYS> = BucketOf<Entry<W>, N>;

/// A bucket of wide entries: eight cache lines.
pub type WideBucket<W, const N: usize = WAYS> = BucketOf<WideEntry<W>, N>;

const _: () = assert!(size_of::<Bucket<u64>>() == 256 && size_of::<WideBucket<u64>>() == 512);

impl<E: Record, const N: usize> BucketOf<E, N> {
    /// The entry `index`, counted round the bucket. `N` is a power of two.
    #[inline(always)]
    fn entry(&self, index: usize) -> Option<&E> {
        self.0.get(index & (N - 1))
    }

    /// Frees the entries whose place may be given away.
    pub fn sweep(&self, timeouts: &Timeouts, now: Tick) {
        for entry in &self.0 {
            let meta = Meta(entry.meta().load());
            if meta.is_live() && timeouts.abandoned(meta, now) {
                entry.meta().compare_exchange(meta.0, meta.released().0);
            }
        }
    }
}

/// A live entry and what it said when it was found.
#[derive(Debug)]
pub struct Found<'a, E: Record> {
    /// Where it is.
    pub entry: &'a E,
    /// Its key.
    pub key: E::Key,
    /// Its control word.
    pub meta: Meta,
    /// The connection's backend.
    pub backend: BackendRef,
    /// See [`Record::peer`].
    pub address: E::Peer,
}

impl<E: Record> Found<'_, E> {
    /// Gives the entry's place up, unless somebody has changed it meanwhile.
    #[inline(always)]
    pub fn release(&self) -> bool {
        self.entry.meta().compare_exchange(self.meta.0, self.meta.released().0)
    }
}

impl<W: Word> Found<'_, Entry<W>> {
    /// For a client entry the NAT address and port to send from; for a reply entry the client.
    #[inline(always)]
    pub fn peer(&self) -> Peer {
        Peer { address: self.address, port: self.meta.peer_port() }
    }
}

impl<W: Word> Entry<W> {
    /// What the entry says, whole, if it stands for a connection; nothing if it is free or changes hands right now.
    #[inline(always)]
    pub fn read(&self) -> Option<Found<'_, Self>> {
        read(self)
    }
}

#[inline(always)]
fn read<E: Record>(entry: &E) -> Option<Found<'_, E>> {
    let before = Meta(entry.meta().load());
    let key = entry.key();
    let backend = entry.backend();
    let address = entry.peer();
    let meta = Meta(entry.meta().load());
    if !before.is_live() || !before.is_same_use(meta) {
        return None;
    }
    Some(Found { entry, key, meta, backend, address })
}

/// The live entry with this key. It may be expired; that is for the caller to judge.
#[inline(always)]
pub fn find<E: Record, const N: usize>(bucket: &BucketOf<E, N>, key: E::Key, start: usize) -> Option<Found<'_, E>> {
    for step in 0..N {
        let entry = bucket.entry(start + step)?;
        if !entry.resembles(&key) {
            continue;
        }
        if let Some(found) = read(entry)
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
///
/// One question a scan: is the key taken, which place is given away, has somebody else inserted the key meanwhile. A scan
/// that asked two would have BPF's verifier walk every combination of their answers.
#[inline(always)]
pub fn insert<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    start: usize,
    new: &E::New,
    timeouts: &Timeouts,
) -> Insertion {
    let key = E::key_of(new);
    let now = E::meta_of(new).seen();
    for step in 0..N {
        let Some(entry) = bucket.entry(start + step) else { break };
        let meta = Meta(entry.meta().load());
        if meta.is_live() && entry.key() == key {
            if !timeouts.abandoned(meta, now) {
                return Insertion::Taken;
            }
            // Cleared first, or the bucket could hold the key twice.
            if !entry.meta().compare_exchange(meta.0, meta.released().0) {
                return Insertion::Contended;
            }
        }
    }
    let Some(slot) = most_expendable(bucket, start, now, timeouts) else { return Insertion::Full };
    let Some(entry) = bucket.entry(slot) else { return Insertion::Full };
    let meta = Meta(entry.meta().load());
    let rank = rank(meta, now, timeouts);
    // Somebody else may have used the place since: for a connection that is not given away, or for this very key, which
    // would then be in the bucket twice.
    if rank < EVICTABLE || meta.is_live() && entry.key() == key {
        return Insertion::Contended;
    }
    let claim = meta.claim();
    if !entry.meta().compare_exchange(meta.0, claim.0) {
        return Insertion::Contended;
    }
    entry.write(new);
    let meta = E::meta_of(new).in_use(claim);
    entry.meta().publish(meta.0);
    for step in 1..N {
        let Some(other) = bucket.entry(slot + step) else { break };
        if other.key() == key && Meta(other.meta().load()).is_live() {
            withdraw(bucket, slot as u8, meta.uses());
            return Insertion::Contended;
        }
    }
    Insertion::Done { slot: slot as u8, uses: meta.uses(), evicted: rank < IDLE }
}

/// Where the entry is that is given away most gladly, if any is. Of equals the first that the search comes by.
#[inline(always)]
fn most_expendable<E: Record, const N: usize>(
    bucket: &BucketOf<E, N>,
    start: usize,
    now: Tick,
    timeouts: &Timeouts,
) -> Option<usize> {
    // The rank and, in the low bits, how many steps are left: one number to keep. The black box sees to it that it is kept:
    // compared at the end, all candidates would lie on BPF's stack until then.
    let mut best = 0;
    for step in 0..N {
        let entry = bucket.entry(start + step)?;
        let candidate = rank(Meta(entry.meta().load()), now, timeouts) * N as u32 + (N - 1 - step) as u32;
        best = black_box(best.max(candidate));
    }
    if best < EVICTABLE * N as u32 { None } else { Some((start + N - 1 - best as usize % N) & (N - 1)) }
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
