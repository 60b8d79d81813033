//! A bucket of entries, and finding one.
//!
//! Readers take no lock: they read the control word, the entry, and the control word again. What writers do is in
//! `insertion`.

use super::entry::{Entry, Record, WideEntry};
use super::meta::Meta;
use super::time::Now;
use super::timeouts::Timeouts;
use crate::backend::BackendRef;
use crate::key::Peer;
use crate::word::Word;

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
    pub(super) fn entry(&self, index: usize) -> Option<&E> {
        self.0.get(index & (N - 1))
    }

    /// Frees the entries whose place may be given away.
    pub fn sweep(&self, timeouts: &Timeouts, now: Now) {
        for entry in &self.0 {
            let meta = Meta(entry.meta().load());
            if meta.is_live() && timeouts.abandoned(meta, entry.class(), now) {
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
    /// See [`Record::class`].
    pub class: usize,
    /// See [`Record::peer`].
    pub address: E::Peer,
    /// See [`Record::proof`].
    pub proof: u32,
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

impl<W: Word> WideEntry<W> {
    /// As [`Entry::read`].
    #[inline(always)]
    pub fn read(&self) -> Option<Found<'_, Self>> {
        read(self)
    }
}

/// What an entry says, whole, if it stands for a connection; nothing if it is free or changes hands right now.
#[inline(always)]
pub fn read<E: Record>(entry: &E) -> Option<Found<'_, E>> {
    let before = Meta(entry.meta().load());
    let key = entry.key();
    let backend = entry.backend();
    let (class, address, proof) = (entry.class(), entry.peer(), entry.proof());
    let meta = Meta(entry.meta().load());
    if !before.is_live() || !before.is_same_use(meta) {
        return None;
    }
    Some(Found { entry, key, meta, backend, class, address, proof })
}

/// The live entry with this key. It may be expired; that is for the caller to judge.
#[inline(always)]
pub fn find<E: Record, const N: usize>(bucket: &BucketOf<E, N>, key: E::Key, start: usize) -> Option<Found<'_, E>> {
    Some(search(bucket, &key, start)?.1)
}

/// The same, and where it is.
#[inline(always)]
pub(super) fn search<'b, E: Record, const N: usize>(
    bucket: &'b BucketOf<E, N>,
    key: &E::Key,
    start: usize,
) -> Option<(usize, Found<'b, E>)> {
    for step in 0..N {
        let entry = bucket.entry(start + step)?;
        if !entry.resembles(key) {
            continue;
        }
        if let Some(found) = read(entry)
            && found.key == *key
        {
            return Some(((start + step) & (N - 1), found));
        }
    }
    None
}
