//! A flow table carried over into a larger one, while packets fly.
//!
//! Both tables have a power of two of buckets and place by the same secret, so what is in one bucket of the smaller belongs in
//! as many of the larger as it is larger by, and what is in one of those came from a single one. An entry keeps its place
//! *within* its bucket. So there is always room, nothing is searched for, and the larger table is a picture of the smaller one that
//! can be brought up to date as often as one likes.
//!
//! That is what makes it possible not to stop: the picture is made while the old table is at work. Then packets that would
//! change the table are kept off (an established connection's ordinary packets change nothing and go on), the picture is
//! brought up to date, and the new table takes the old one's place. Since nobody writes to the old one from the last look at it to
//! the exchange, and nobody to the new one before, no connection is in one and not in the other, none is in both, and no NAT
//! port can be given away twice. Who is kept off meets what a lost packet meets, for as long as it takes to look at the old
//! table once: a SYN, a FIN or the renewal of a connection is sent again.

use evenkeel_core::flow::{BucketOf, Entry, Key, Meta, Record, WAYS, WideEntry};
use evenkeel_core::{Settings, Word, hash};

/// How often an entry is read again that changes while it is read. What goes on changing is carried the next time.
const TRIES: usize = 4;

/// An entry of either size, as the words that it is made of.
pub trait Carried: Record<Key: Key> + Default {
    /// All of its words, the control word first.
    type Words: Copy + PartialEq;

    /// Reads them.
    fn load(&self) -> Self::Words;

    /// Writes them, the control word last.
    fn store(&self, words: Self::Words);

    /// The control word among them.
    fn meta_of_words(words: &Self::Words) -> Meta;
}

impl<W: Word + Default> Carried for Entry<W> {
    type Words = [u64; 4];

    fn load(&self) -> [u64; 4] {
        [&self.meta, &self.addresses, &self.ports, &self.peer].map(Word::load)
    }

    fn store(&self, [meta, addresses, ports, peer]: [u64; 4]) {
        self.addresses.store(addresses);
        self.ports.store(ports);
        self.peer.store(peer);
        self.meta.store(meta);
    }

    fn meta_of_words([meta, ..]: &[u64; 4]) -> Meta {
        Meta(*meta)
    }
}

impl<W: Word + Default> Carried for WideEntry<W> {
    type Words = [u64; 8];

    fn load(&self) -> [u64; 8] {
        let Self { meta, source: [a, b], destination: [c, d], ports, peer: [e, f] } = self;
        [meta, a, b, c, d, ports, e, f].map(Word::load)
    }

    fn store(&self, [meta, words @ ..]: [u64; 8]) {
        let Self { meta: _, source: [a, b], destination: [c, d], ports, peer: [e, f] } = self;
        [a, b, c, d, ports, e, f].into_iter().zip(words).for_each(|(word, value)| word.store(value));
        self.meta.store(meta);
    }

    fn meta_of_words([meta, ..]: &[u64; 8]) -> Meta {
        Meta(*meta)
    }
}

/// A flow table on its way into a larger one.
#[derive(Debug)]
pub struct Carrying {
    /// Whether there is a picture of an entry, a bit for each of the old table's: most of most tables are free, and what is free
    /// and was free needs no look at the new one.
    carried: Vec<u8>,
    placement: Placement,
}

const _: () = assert!(WAYS == 8, "an entry is a bit of its bucket's byte");

impl Carrying {
    /// Begins with a table of so many buckets, whose entries are placed by this secret.
    pub fn new(buckets: usize, secret: [u32; 4]) -> Self {
        Self { carried: vec![0; buckets], placement: Placement::new(secret) }
    }

    /// Makes `new` a picture of `old`, or brings it up to date if it is one. It is exact if nobody changes `old` meanwhile.
    /// `new` is at least as large, was empty at first, and is nobody else's until then. Returns how many entries there are.
    pub fn bring_up_to_date<E: Carried>(&mut self, old: &[BucketOf<E>], new: &[BucketOf<E>]) -> usize {
        let mut entries = 0;
        for ((index, bucket), carried) in old.iter().enumerate().zip(&mut self.carried) {
            for (slot, entry) in bucket.0.iter().enumerate() {
                let bit = 1 << slot;
                let target = read(entry).map(|words| (words, self.placement.bucket(entry, new.len())));
                let is_there = |at: usize, words| new.get(at).is_some_and(|bucket| bucket.0[slot].load() == words);
                entries += usize::from(target.is_some());
                match target {
                    None if *carried & bit == 0 => continue,
                    Some((words, at)) if *carried & bit != 0 && is_there(at, words) => continue,
                    _ => {}
                }
                if *carried & bit != 0 {
                    // It may have been another connection's, which belongs elsewhere.
                    new.iter().skip(index).step_by(old.len()).for_each(|bucket| bucket.0[slot].meta().store(0));
                    *carried &= !bit;
                }
                if let Some((words, at)) = target
                    && let Some(bucket) = new.get(at)
                {
                    bucket.0[slot].store(words);
                    *carried |= bit;
                }
            }
        }
        entries
    }
}

/// What entries are placed by.
#[derive(Debug)]
pub struct Placement(Settings);

impl Placement {
    /// By this secret.
    pub fn new(secret: [u32; 4]) -> Self {
        Self(Settings { flow_secret: secret, wide_secret: hash::wide_secret(&secret), ..Settings::EMPTY })
    }

    /// The bucket in which an entry belongs if there are so many, a power of two.
    fn bucket<E: Record<Key: Key>>(&self, entry: &E, buckets: usize) -> usize {
        hash::bucket(entry.key().place(&self.0), buckets.saturating_sub(1) as u32) as usize
    }

    /// Puts what an entry said into a new table, at the place within its bucket that it had. Returns whether there is that place.
    pub fn put<E: Carried>(&self, new: &[BucketOf<E>], slot: usize, words: E::Words) -> bool {
        let entry = E::default();
        entry.store(words);
        let place = new.get(self.bucket(&entry, new.len())).and_then(|bucket| bucket.0.get(slot));
        place.map(|place| place.store(words)).is_some()
    }
}

/// What an entry says, if it stands for a connection.
fn read<E: Carried>(entry: &E) -> Option<E::Words> {
    (0..TRIES)
        .find_map(|_| {
            let words = entry.load();
            (entry.meta().load() == E::meta_of_words(&words).0).then_some(words)
        })
        .filter(|words| E::meta_of_words(words).is_live())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fmt::Debug;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    const SECRET: [u32; 4] = [1, 20, 300, 4000];

    /// A table of entries of this size.
    type Table<E> = Vec<BucketOf<E>>;

    fn table<E: Carried>(buckets: usize) -> Table<E> {
        (0..buckets).map(|_| BucketOf(std::array::from_fn(|_| E::default()))).collect()
    }

    /// A cheap sequence of numbers that look like any (Marsaglia, "Xorshift RNGs", 2003).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// An entry with this control word, and the rest at random.
    trait Sample: Carried<Words: Debug + Ord> {
        fn words(meta: u64, state: &mut u64) -> Self::Words;
    }

    impl Sample for Entry<AtomicU64> {
        fn words(meta: u64, state: &mut u64) -> [u64; 4] {
            [meta, random(state), random(state) & 0x1f_ffff_ffff, random(state)]
        }
    }

    impl Sample for WideEntry<AtomicU64> {
        fn words(meta: u64, state: &mut u64) -> [u64; 8] {
            let mut words = [0; 8].map(|_: u64| random(state));
            (words[0], words[5]) = (meta, words[5] & 0x1f_ffff_ffff);
            words
        }
    }

    /// Everything that lives, by key: where it is, and what it says.
    fn living<E: Sample>(table: &[BucketOf<E>]) -> BTreeMap<String, (usize, usize, E::Words)> {
        let mut living = BTreeMap::new();
        for (at, bucket) in table.iter().enumerate() {
            for (slot, entry) in bucket.0.iter().enumerate() {
                if let Some(words) = read(entry) {
                    let twice = living.insert(format!("{:?}", entry.key()), (at, slot, words));
                    assert!(twice.is_none(), "a key is there twice");
                }
            }
        }
        living
    }

    /// Every bucket has entries, new connections take the places of others, connections change and end.
    fn churn<E: Sample<Word = AtomicU64>>(table: &[BucketOf<E>], times: usize, state: &mut u64) {
        let placement = Placement::new(SECRET);
        for _ in 0..times {
            // The state established, and the rest of the control word at random.
            let meta = random(state) & !7 | 4;
            let words = E::words(meta, state);
            let sample = E::default();
            sample.store(words);
            let entry = &table[placement.bucket(&sample, table.len())].0[random(state) as usize % WAYS];
            match random(state) % 4 {
                0 => entry.meta().store(0, Relaxed),
                1 => drop(entry.meta().fetch_xor(random(state) << 32, Relaxed)),
                _ => entry.store(words),
            }
        }
    }

    fn is_a_picture<E: Sample<Word = AtomicU64>>(buckets: usize) {
        let placement = Placement::new(SECRET);
        for larger in [1, 2, 16, 64] {
            let mut state = 0x9e37_79b9;
            let (old, new) = (table::<E>(buckets), table::<E>(buckets * larger));
            let mut carrying = Carrying::new(old.len(), SECRET);
            for times in [0, 1, 100, 1000, 5000, 1, 0, 300] {
                churn(&old, times, &mut state);
                let entries = carrying.bring_up_to_date(&old, &new);
                let (before, after) = (living(&old), living(&new));
                assert_eq!(entries, before.len());
                assert!(before.keys().eq(after.keys()), "{} then, {} now", before.len(), after.len());
                for (key, (_, slot, words)) in &before {
                    let (at, there, carried) = after[key];
                    let belongs = placement.bucket(&new[at].0[there], new.len());
                    assert_eq!((at, there, carried), (belongs, *slot, *words));
                }
            }
        }
    }

    #[test]
    fn the_new_table_has_what_the_old_one_has_whatever_happened_meanwhile() {
        is_a_picture::<Entry<AtomicU64>>(64);
        is_a_picture::<WideEntry<AtomicU64>>(64);
        // As small as it is while nobody has IPv6 services.
        is_a_picture::<WideEntry<AtomicU64>>(1);
    }

    fn is_found_alike<E: Sample<Word = AtomicU64>>() {
        let mut state = 7;
        let (old, new) = (table::<E>(16), table::<E>(128));
        churn(&old, 300, &mut state);
        for (_, slot, words) in living(&old).values() {
            assert!(Placement::new(SECRET).put(&new, *slot, *words));
        }
        let other = table::<E>(128);
        Carrying::new(16, SECRET).bring_up_to_date(&old, &other);
        assert_eq!(living(&new), living(&other));
    }

    #[test]
    fn what_is_put_by_itself_is_found_as_what_was_carried() {
        is_found_alike::<Entry<AtomicU64>>();
        is_found_alike::<WideEntry<AtomicU64>>();
    }
}
