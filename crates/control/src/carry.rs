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

use evenkeel_core::flow::{Bucket, Entry, Meta, Record as _, WAYS};
use evenkeel_core::{Word, hash};

/// How often an entry is read again that changes while it is read. What goes on changing is carried the next time.
const TRIES: usize = 4;

/// A flow table on its way into a larger one.
#[derive(Debug)]
pub struct Carrying {
    /// Whether there is a picture of an entry, a bit for each of the old table's: most of most tables are free, and what is free
    /// and was free needs no look at the new one.
    carried: Vec<u8>,
    secret: [u32; 4],
}

const _: () = assert!(WAYS == 8, "an entry is a bit of its bucket's byte");

impl Carrying {
    /// Begins with a table of so many buckets, whose entries are placed by this secret.
    pub fn new(buckets: usize, secret: [u32; 4]) -> Self {
        Self { carried: vec![0; buckets], secret }
    }

    /// Makes `new` a picture of `old`, or brings it up to date if it is one. It is exact if nobody changes `old` meanwhile.
    /// `new` is at least as large, was empty at first, and is nobody else's until then. Returns how many entries there are.
    pub fn bring_up_to_date<W: Word>(&mut self, old: &[Bucket<W>], new: &[Bucket<W>]) -> usize {
        let mut entries = 0;
        for ((index, bucket), carried) in old.iter().enumerate().zip(&mut self.carried) {
            for (slot, entry) in bucket.0.iter().enumerate() {
                let bit = 1 << slot;
                let target = read(entry).map(|words| (words, target(entry, &self.secret, new.len())));
                let is_there = |at: usize, words| new.get(at).is_some_and(|bucket| load(&bucket.0[slot]) == words);
                entries += usize::from(target.is_some());
                match target {
                    None if *carried & bit == 0 => continue,
                    Some((words, at)) if *carried & bit != 0 && is_there(at, words) => continue,
                    _ => {}
                }
                if *carried & bit != 0 {
                    // It may have been another connection's, which belongs elsewhere.
                    new.iter().skip(index).step_by(old.len()).for_each(|bucket| bucket.0[slot].meta.store(0));
                    *carried &= !bit;
                }
                if let Some((words, at)) = target
                    && let Some(bucket) = new.get(at)
                {
                    store(&bucket.0[slot], words);
                    *carried |= bit;
                }
            }
        }
        entries
    }
}

/// The bucket in which an entry belongs if there are so many, a power of two.
fn target<W: Word>(entry: &Entry<W>, secret: &[u32; 4], buckets: usize) -> usize {
    hash::bucket(hash::place(entry.key(), secret), buckets.saturating_sub(1) as u32) as usize
}

/// Puts what an entry said into a new table, at the place within its bucket that it had.
pub fn put<W: Word>(new: &[Bucket<W>], slot: usize, words: [u64; 4], secret: &[u32; 4]) -> bool
where
    Entry<W>: Default,
{
    let entry = Entry::<W>::default();
    store(&entry, words);
    let place = new.get(target(&entry, secret, new.len())).and_then(|bucket| bucket.0.get(slot));
    place.map(|place| store(place, words)).is_some()
}

/// What an entry says, if it stands for a connection.
fn read<W: Word>(entry: &Entry<W>) -> Option<[u64; 4]> {
    (0..TRIES)
        .find_map(|_| {
            let words = load(entry);
            (entry.meta.load() == words[0]).then_some(words)
        })
        .filter(|words| Meta(words[0]).is_live())
}

fn load<W: Word>(entry: &Entry<W>) -> [u64; 4] {
    [&entry.meta, &entry.addresses, &entry.ports, &entry.peer].map(Word::load)
}

fn store<W: Word>(entry: &Entry<W>, [meta, addresses, ports, peer]: [u64; 4]) {
    entry.addresses.store(addresses);
    entry.ports.store(ports);
    entry.peer.store(peer);
    entry.meta.store(meta);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicU64;

    const SECRET: [u32; 4] = [1, 20, 300, 4000];

    type Table = Vec<Bucket<AtomicU64>>;

    fn table(buckets: usize) -> Table {
        (0..buckets).map(|_| evenkeel_core::flow::BucketOf(std::array::from_fn(|_| Entry::default()))).collect()
    }

    /// A cheap sequence of numbers that look like any (Marsaglia, "Xorshift RNGs", 2003).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// Everything that lives, by key: where it is, and what it says.
    fn living(table: &[Bucket<AtomicU64>]) -> BTreeMap<(u64, u64), (usize, usize, [u64; 4])> {
        let mut living = BTreeMap::new();
        for (at, bucket) in table.iter().enumerate() {
            for (slot, entry) in bucket.0.iter().enumerate() {
                if let Some(words) = read(entry) {
                    let twice = living.insert((words[1], words[2]), (at, slot, words));
                    assert!(twice.is_none(), "a key is there twice");
                }
            }
        }
        living
    }

    /// Every bucket has entries, new connections take the places of others, connections change and end.
    fn churn(table: &[Bucket<AtomicU64>], times: usize, state: &mut u64) {
        for _ in 0..times {
            let (addresses, ports) = (random(state), random(state) & 0x1f_ffff_ffff);
            let key = evenkeel_core::flow::FlowKey { addresses, ports };
            let bucket = &table[hash::bucket(hash::place(key, &SECRET), table.len() as u32 - 1) as usize];
            let entry = &bucket.0[random(state) as usize % WAYS];
            match random(state) % 4 {
                0 => entry.meta.store(0, std::sync::atomic::Ordering::Relaxed),
                1 => {
                    entry.meta.fetch_xor(random(state) << 32, std::sync::atomic::Ordering::Relaxed);
                }
                // The state established, and the rest of the control word at random.
                _ => store(entry, [random(state) & !7 | 4, addresses, ports, random(state)]),
            }
        }
    }

    #[test]
    fn the_new_table_has_what_the_old_one_has_whatever_happened_meanwhile() {
        for larger in [1, 2, 16, 64] {
            let mut state = 0x9e37_79b9;
            let (old, new) = (table(64), table(64 * larger));
            let mut carrying = Carrying::new(old.len(), SECRET);
            for times in [0, 1, 100, 1000, 5000, 1, 0, 300] {
                churn(&old, times, &mut state);
                let entries = carrying.bring_up_to_date(&old, &new);
                let (before, after) = (living(&old), living(&new));
                assert_eq!(entries, before.len());
                assert!(before.keys().eq(after.keys()), "{} then, {} now", before.len(), after.len());
                for (key, (_, slot, words)) in &before {
                    let (at, there, carried) = after[key];
                    let key = evenkeel_core::flow::FlowKey { addresses: key.0, ports: key.1 & 0x1f_ffff_ffff };
                    let belongs = hash::bucket(hash::place(key, &SECRET), new.len() as u32 - 1) as usize;
                    assert_eq!((at, there, carried), (belongs, *slot, *words));
                }
            }
        }
    }

    #[test]
    fn what_is_put_by_itself_is_found_as_what_was_carried() {
        let mut state = 7;
        let (old, new) = (table(16), table(128));
        churn(&old, 300, &mut state);
        for (_, slot, words) in living(&old).values() {
            assert!(put(&new, *slot, *words, &SECRET));
        }
        let other = table(128);
        Carrying::new(16, SECRET).bring_up_to_date(&old, &other);
        assert_eq!(living(&new), living(&other));
    }
}
