//! The flow table under every interleaving of two or three threads that loom finds, with a bound on preemptions.
//!
//! Buckets of two entries, so that everybody meets everybody.

use evenkeel_core::flow::{
    Bucket, Entry, FlowKey, IdleTimes, Insertion, Meta, NewEntry, Peer, Side, Tick, Timeouts, find, insert, withdraw,
};
use evenkeel_core::{BackendRef, Word};
use evenkeel_wire::{IpProtocol, Ipv4Address, MacAddress, Port};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

struct LoomWord(AtomicU64);

impl Word for LoomWord {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn publish(&self, value: u64) {
        // Loom takes a sequentially consistent swap for acquire and release; the fence it models in full.
        self.0.swap(value, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }
}

type Table = Bucket<LoomWord, 2>;

const TIMEOUTS: Timeouts = Timeouts::new(IdleTimes::DEFAULT);

fn table() -> Arc<Table> {
    let word = || LoomWord(AtomicU64::new(0));
    let entry = || Entry { meta: word(), addresses: word(), ports: word(), peer: word() };
    Arc::new(Bucket(std::array::from_fn(|_| entry())))
}

fn peer(n: u8) -> Peer {
    Peer { address: Ipv4Address([10, 0, 0, n]), port: Port::from_number(u16::from(n)) }
}

fn key(n: u8) -> FlowKey {
    FlowKey::new(peer(n), peer(200), IpProtocol::TCP)
}

/// Everything in entry `n` says `n`, so that a mixture of two entries shows. All entries of one key differ by `owner`.
fn entry(n: u8, owner: u8, seen: u16) -> NewEntry {
    let backend = BackendRef { index: u16::from(owner), generation: owner };
    NewEntry::new(key(n), Side::Client, Tick(seen), backend, peer(owner), MacAddress([owner; 6]))
}

fn put(table: &Table, start: usize, new: &NewEntry) -> Insertion {
    insert(table, start, new, &TIMEOUTS)
}

fn live(table: &Table, wanted: FlowKey) -> usize {
    let is_wanted = |entry: &&Entry<LoomWord>| {
        let ports = entry.ports.load() & ((1 << 40) - 1);
        Meta(entry.meta.load()).is_live() && FlowKey { addresses: entry.addresses.load(), ports } == wanted
    };
    table.0.iter().filter(is_wanted).count()
}

/// What a lookup of key `n` says must be one owner's entry, whole.
fn look(table: &Table, n: u8) -> Option<u8> {
    let found = find(table, key(n), 0)?;
    let owner = found.backend.generation;
    assert_eq!(found.backend.index, u16::from(owner));
    assert_eq!(found.peer, peer(owner));
    assert_eq!(found.mac, MacAddress([owner; 6]));
    Some(owner)
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn two_that_insert_one_key_never_both_succeed() {
    for starts in [(0, 0), (0, 1)] {
        explore(3, move || {
            let table = table();
            let other = Arc::clone(&table);
            let thread = thread::spawn(move || put(&other, starts.1, &entry(1, 2, 100)));
            let mine = put(&table, starts.0, &entry(1, 1, 100));
            let theirs = thread.join().expect("the thread ends");
            let done = [mine, theirs].iter().filter(|outcome| matches!(outcome, Insertion::Done { .. })).count();
            assert!(done <= 1);
            assert_eq!(live(&table, key(1)), done);
            if done == 1 {
                let owner = if matches!(mine, Insertion::Done { .. }) { 1 } else { 2 };
                assert_eq!(look(&table, 1), Some(owner));
            }
        });
    }
}

#[test]
fn three_that_insert_one_key_never_two_succeed() {
    explore(2, || {
        let table = table();
        let threads: Vec<_> = [2, 3]
            .map(|owner| {
                let table = Arc::clone(&table);
                thread::spawn(move || put(&table, usize::from(owner) & 1, &entry(1, owner, 100)))
            })
            .into();
        let mine = put(&table, 0, &entry(1, 1, 100));
        let outcomes = threads.into_iter().map(|thread| thread.join().expect("the thread ends"));
        let done = outcomes.chain([mine]).filter(|outcome| matches!(outcome, Insertion::Done { .. })).count();
        assert!(done <= 1);
        assert_eq!(live(&table, key(1)), done);
    });
}

#[test]
fn two_keys_do_not_stand_in_each_others_way() {
    explore(3, || {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 1, &entry(2, 2, 100)));
        let mine = put(&table, 0, &entry(1, 1, 100));
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!((mine, theirs), (Insertion::Done { .. }, Insertion::Done { .. })));
        assert_eq!((look(&table, 1), look(&table, 2)), (Some(1), Some(2)));
    });
}

#[test]
fn a_reader_sees_an_evicted_entry_whole_or_not_at_all() {
    explore(3, || {
        let table = table();
        put(&table, 0, &entry(1, 1, 100));
        put(&table, 1, &entry(2, 2, 101));
        let other = Arc::clone(&table);
        // Takes the older entry's place.
        let thread = thread::spawn(move || put(&other, 0, &entry(3, 3, 102)));
        assert!(matches!(look(&table, 1), None | Some(1)));
        assert!(matches!(look(&table, 3), None | Some(3)));
        assert_eq!(look(&table, 2), Some(2));
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!(theirs, Insertion::Done { slot: 0, evicted: true, .. }));
        assert_eq!((look(&table, 1), look(&table, 3)), (None, Some(3)));
    });
}

/// The same key comes back with another owner: the key alone does not tell a reader that the entry has changed.
#[test]
fn a_reader_never_mixes_two_entries_of_one_key() {
    explore(3, || {
        let table = table();
        put(&table, 0, &entry(1, 1, 100));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            find(&*other, key(1), 0).expect("nobody else takes it away").release();
            put(&other, 0, &entry(1, 2, 100))
        });
        look(&table, 1);
        look(&table, 1);
        assert!(matches!(thread.join().expect("the thread ends"), Insertion::Done { .. }));
        assert_eq!(look(&table, 1), Some(2));
    });
}

#[test]
fn a_release_takes_away_what_it_found_and_nothing_else() {
    explore(3, || {
        let table = table();
        put(&table, 0, &entry(1, 1, 100));
        put(&table, 1, &entry(2, 2, 101));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 0, &entry(3, 3, 102)));
        let released = find(&*table, key(1), 0).is_some_and(|found| found.release());
        let theirs = thread.join().expect("the thread ends");
        match theirs {
            Insertion::Done { slot: 0, evicted, .. } => {
                assert_eq!(look(&table, 3), Some(3));
                assert!(!(released && evicted), "the place was given up and taken away");
            }
            Insertion::Contended => assert!(released && look(&table, 3).is_none()),
            other => panic!("{other:?}"),
        }
        assert_eq!((look(&table, 1), look(&table, 2)), (None, Some(2)));
    });
}

#[test]
fn a_withdrawal_takes_back_its_own_use_only() {
    explore(3, || {
        let table = table();
        let Insertion::Done { slot, uses, .. } = put(&table, 0, &entry(1, 1, 100)) else {
            panic!("the table is empty")
        };
        put(&table, 1, &entry(2, 2, 101));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 0, &entry(3, 3, 102)));
        withdraw(&table, slot, uses);
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!(theirs, Insertion::Done { slot: 0, .. } | Insertion::Contended));
        assert_eq!(look(&table, 3).is_some(), matches!(theirs, Insertion::Done { .. }));
        assert_eq!((look(&table, 1), look(&table, 2)), (None, Some(2)));
    });
}
