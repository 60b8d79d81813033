//! One bucket: places, keys, and who gets them.
//!
//! Buckets of two entries, so that everybody meets everybody.

use crate::{LoomWord, explore, word};
use evenkeel_core::flow::{
    BucketOf, Entry, FlowKey, Found, HopNumber, IdleTimes, Insertion, Key as _, Meta, NewEntry, NewWideEntry, Now,
    Peer, Record, Side, State, Timeouts, Victim, WideAddress, WideEntry, WideKey, find, insert, take_over, withdraw,
};
use evenkeel_core::{BackendRef, Word};
use evenkeel_wire::{IpProtocol, Ipv4Address, Port};
use loom::sync::Arc;
use loom::thread;

/// A bucket of two entries of one size.
type Table<E> = BucketOf<E, 2>;

const TIMEOUTS: Timeouts = Timeouts::uniform(IdleTimes::DEFAULT);
/// When everything happens, unless something else is said. What was seen at 98 gives up its port, what at 99 not yet.
const NOW: Now = Now(102);

/// Entries of one size. Everything in entry `n` says `n`, so that a mixture of two entries shows. All entries of one key
/// differ by `owner`.
trait Size: Record<Word = LoomWord> + Send + Sync + 'static {
    /// How often three threads are interrupted. Twice the words are six times the interleavings, and what is in between has
    /// two threads to find it.
    const AMONG_THREE: usize;

    fn empty() -> Self;
    fn entry_key(n: u8) -> Self::Key;
    fn entry(n: u8, owner: u8, seen: u32) -> Self::New;
    /// Whether all that was found is this owner's.
    fn is_whole(found: &Found<'_, Self>, owner: u8) -> bool
    where
        Self: Sized;
}

fn backend(owner: u8) -> BackendRef {
    BackendRef { index: u16::from(owner), generation: owner }
}

fn hop_of(owner: u8) -> HopNumber {
    HopNumber(u16::from(owner) * 257)
}

impl Size for Entry<LoomWord> {
    const AMONG_THREE: usize = 2;

    fn empty() -> Self {
        Entry { meta: word(), addresses: word(), ports: word(), peer: word() }
    }

    fn entry_key(n: u8) -> FlowKey {
        FlowKey::new(peer(n), peer(200), IpProtocol::TCP)
    }

    fn entry(n: u8, owner: u8, seen: u32) -> NewEntry {
        NewEntry::new(Self::entry_key(n), Side::Client, Now(seen), backend(owner), 0, peer(owner), hop_of(owner))
    }

    fn is_whole(found: &Found<'_, Self>, owner: u8) -> bool {
        found.peer() == peer(owner)
    }
}

impl Size for WideEntry<LoomWord> {
    const AMONG_THREE: usize = 1;

    fn empty() -> Self {
        let pair = || [word(), word()];
        WideEntry { meta: word(), source: pair(), destination: pair(), ports: word(), peer: pair() }
    }

    fn entry_key(n: u8) -> WideKey {
        WideKey::new(wide_peer(n), wide_peer(200), IpProtocol::TCP)
    }

    fn entry(n: u8, owner: u8, seen: u32) -> NewWideEntry {
        NewWideEntry::reply(Self::entry_key(n), Now(seen), backend(owner), 0, wide_peer(owner), hop_of(owner))
    }

    fn is_whole(found: &Found<'_, Self>, owner: u8) -> bool {
        found.address == wide_peer(owner).address && found.meta.peer_port().number() == u16::from(owner)
    }
}

fn wide_peer(n: u8) -> Peer<WideAddress> {
    Peer { address: WideAddress(n.into(), n.into()), port: Port::from_number(n.into()) }
}

fn table<E: Size>() -> Arc<Table<E>> {
    Arc::new(BucketOf(std::array::from_fn(|_| E::empty())))
}

fn peer(n: u8) -> Peer {
    Peer { address: Ipv4Address([10, 0, 0, n]), port: Port::from_number(u16::from(n)) }
}

fn put<E: Size>(table: &Table<E>, start: usize, new: &E::New) -> Insertion {
    insert(table, start, new, &TIMEOUTS, NOW)
}

fn live<E: Size>(table: &Table<E>, n: u8) -> usize {
    let wanted = E::entry_key(n);
    table.0.iter().filter(|entry| Meta(entry.meta().load()).is_live() && entry.key() == wanted).count()
}

/// What a lookup of key `n` says must be one owner's entry, whole.
fn look<E: Size>(table: &Table<E>, n: u8) -> Option<u8> {
    let found = find(table, E::entry_key(n), 0)?;
    let owner = found.backend.generation;
    assert_eq!(found.backend.index, u16::from(owner));
    assert_eq!(found.meta.hop(), hop_of(owner));
    assert!(E::is_whole(&found, owner), "of {owner} and of somebody else");
    Some(owner)
}

/// Each model for both sizes.
macro_rules! for_both_sizes {
    ($($name:ident),+ $(,)?) => {
        mod narrow {
            $(#[test] fn $name() { super::$name::<super::Entry<super::LoomWord>>(); })+
        }
        mod wide {
            $(#[test] fn $name() { super::$name::<super::WideEntry<super::LoomWord>>(); })+
        }
    };
}

for_both_sizes!(
    two_that_insert_one_key_never_both_succeed,
    three_that_insert_one_key_never_two_succeed,
    two_keys_do_not_stand_in_each_others_way,
    a_reader_sees_an_evicted_entry_whole_or_not_at_all,
    a_reader_never_mixes_two_entries_of_one_key,
    a_release_takes_away_what_it_found_and_nothing_else,
    a_withdrawal_takes_back_its_own_use_only,
    two_that_take_one_port_over_never_both_have_it,
    three_that_take_one_port_over_never_two_have_it,
    a_port_is_taken_over_or_inserted_anew_and_never_both,
    a_port_is_taken_over_or_its_owner_is_established_and_never_both,
    a_reader_never_mixes_two_owners_of_one_port,
);

fn two_that_insert_one_key_never_both_succeed<E: Size>() {
    for starts in [(0, 0), (0, 1)] {
        explore(3, move || {
            let table = table::<E>();
            let other = Arc::clone(&table);
            let thread = thread::spawn(move || put(&other, starts.1, &E::entry(1, 2, 100)));
            let mine = put(&table, starts.0, &E::entry(1, 1, 100));
            let theirs = thread.join().expect("the thread ends");
            let done = [mine, theirs].iter().filter(|outcome| matches!(outcome, Insertion::Done { .. })).count();
            assert!(done <= 1);
            assert_eq!(live(&table, 1), done);
            if done == 1 {
                let owner = if matches!(mine, Insertion::Done { .. }) { 1 } else { 2 };
                assert_eq!(look(&table, 1), Some(owner));
            }
        });
    }
}

fn three_that_insert_one_key_never_two_succeed<E: Size>() {
    explore(E::AMONG_THREE, || {
        let table = table::<E>();
        let threads: Vec<_> = [2, 3]
            .map(|owner| {
                let table = Arc::clone(&table);
                thread::spawn(move || put(&table, usize::from(owner) & 1, &E::entry(1, owner, 100)))
            })
            .into();
        let mine = put(&table, 0, &E::entry(1, 1, 100));
        let outcomes = threads.into_iter().map(|thread| thread.join().expect("the thread ends"));
        let done = outcomes.chain([mine]).filter(|outcome| matches!(outcome, Insertion::Done { .. })).count();
        assert!(done <= 1);
        assert_eq!(live(&table, 1), done);
    });
}

fn two_keys_do_not_stand_in_each_others_way<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 1, &E::entry(2, 2, 100)));
        let mine = put(&table, 0, &E::entry(1, 1, 100));
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!((mine, theirs), (Insertion::Done { .. }, Insertion::Done { .. })));
        assert_eq!((look(&table, 1), look(&table, 2)), (Some(1), Some(2)));
    });
}

fn a_reader_sees_an_evicted_entry_whole_or_not_at_all<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 100));
        put(&table, 1, &E::entry(2, 2, 101));
        let other = Arc::clone(&table);
        // Takes the older entry's place.
        let thread = thread::spawn(move || put(&other, 0, &E::entry(3, 3, 102)));
        assert!(matches!(look(&table, 1), None | Some(1)));
        assert!(matches!(look(&table, 3), None | Some(3)));
        assert_eq!(look(&table, 2), Some(2));
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!(theirs, Insertion::Done { slot: 0, victim: Some(Victim::HalfOpen), .. }));
        assert_eq!((look(&table, 1), look(&table, 3)), (None, Some(3)));
    });
}

/// The same key comes back with another owner: the key alone does not tell a reader that the entry has changed.
fn a_reader_never_mixes_two_entries_of_one_key<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 100));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            find(&*other, E::entry_key(1), 0).expect("nobody else takes it away").release();
            put(&other, 0, &E::entry(1, 2, 100))
        });
        look(&table, 1);
        look(&table, 1);
        assert!(matches!(thread.join().expect("the thread ends"), Insertion::Done { .. }));
        assert_eq!(look(&table, 1), Some(2));
    });
}

fn a_release_takes_away_what_it_found_and_nothing_else<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 100));
        put(&table, 1, &E::entry(2, 2, 101));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 0, &E::entry(3, 3, 102)));
        let released = find(&*table, E::entry_key(1), 0).is_some_and(|found| found.release());
        let theirs = thread.join().expect("the thread ends");
        match theirs {
            Insertion::Done { slot: 0, victim, .. } => {
                assert_eq!(look(&table, 3), Some(3));
                assert!(!(released && victim.is_some()), "the place was given up and taken away");
            }
            Insertion::Contended => assert!(released && look(&table, 3).is_none()),
            other => panic!("{other:?}"),
        }
        assert_eq!((look(&table, 1), look(&table, 2)), (None, Some(2)));
    });
}

fn a_withdrawal_takes_back_its_own_use_only<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        let Insertion::Done { slot, uses, .. } = put(&table, 0, &E::entry(1, 1, 100)) else {
            panic!("the table is empty")
        };
        put(&table, 1, &E::entry(2, 2, 101));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 0, &E::entry(3, 3, 102)));
        withdraw(&table, slot, uses);
        let theirs = thread.join().expect("the thread ends");
        assert!(matches!(theirs, Insertion::Done { slot: 0, .. } | Insertion::Contended));
        assert_eq!(look(&table, 3).is_some(), matches!(theirs, Insertion::Done { .. }));
        assert_eq!((look(&table, 1), look(&table, 2)), (None, Some(2)));
    });
}

fn seize<E: Size>(table: &Table<E>, start: usize, owner: u8) -> Insertion {
    take_over(table, start, &E::entry(1, owner, NOW.0), NOW)
}

fn is_done(outcome: &Insertion) -> bool {
    matches!(outcome, Insertion::Done { .. })
}

fn two_that_take_one_port_over_never_both_have_it<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 98));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || seize(&other, 1, 2));
        let mine = seize(&table, 0, 3);
        let theirs = thread.join().expect("the thread ends");
        assert_eq!(live(&table, 1), 1);
        match look(&table, 1) {
            Some(2) => assert!(is_done(&theirs) && !is_done(&mine)),
            Some(3) => assert!(is_done(&mine) && !is_done(&theirs)),
            owner => panic!("{owner:?} has it"),
        }
    });
}

fn three_that_take_one_port_over_never_two_have_it<E: Size>() {
    explore(E::AMONG_THREE, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 98));
        let threads: Vec<_> = [2, 3]
            .map(|owner| {
                let table = Arc::clone(&table);
                thread::spawn(move || seize(&table, usize::from(owner) & 1, owner))
            })
            .into();
        let mine = seize(&table, 0, 4);
        let outcomes = threads.into_iter().map(|thread| thread.join().expect("the thread ends"));
        let done = outcomes.chain([mine]).filter(is_done).count();
        assert_eq!((done, live(&table, 1)), (1, 1));
    });
}

/// One CPU's clock is ahead, and says that the owner's time is over; by the other's he only gives way.
fn a_port_is_taken_over_or_inserted_anew_and_never_both<E: Size>() {
    for start in [0, 1] {
        explore(3, move || {
            let table = table::<E>();
            put(&table, 0, &E::entry(1, 1, 98));
            let other = Arc::clone(&table);
            let later = Now(98 + u32::from(Now::span(IdleTimes::DEFAULT.opening)) + 2);
            let thread = thread::spawn(move || insert(&other, start, &E::entry(1, 2, later.0), &TIMEOUTS, later));
            let mine = seize(&table, 0, 3);
            let theirs = thread.join().expect("the thread ends");
            let done = [mine, theirs].iter().filter(|outcome| is_done(outcome)).count();
            assert!(done <= 1, "{mine:?} {theirs:?}");
            assert_eq!(live(&table, 1), done);
            let owner = [(mine, 3), (theirs, 2)].into_iter().find(|(outcome, _)| is_done(outcome));
            assert_eq!(look(&table, 1), owner.map(|(_, owner)| owner));
        });
    }
}

fn a_port_is_taken_over_or_its_owner_is_established_and_never_both<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 98));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let found = find(&*other, E::entry_key(1), 0)?;
            let established = found.meta.with_state(State::Established).with_seen(NOW);
            found.entry.meta().compare_exchange(found.meta.0, established.0).then_some(found.backend.generation)
        });
        let mine = seize(&table, 0, 3);
        let established = thread.join().expect("the thread ends");
        assert_eq!(live(&table, 1), 1);
        match established {
            Some(1) => assert!(matches!(mine, Insertion::Taken { worth: 0 } | Insertion::Contended)),
            _ => assert!(is_done(&mine)),
        }
        assert_eq!(look(&table, 1), Some(if is_done(&mine) { 3 } else { 1 }));
    });
}

fn a_reader_never_mixes_two_owners_of_one_port<E: Size>() {
    explore(3, || {
        let table = table::<E>();
        put(&table, 0, &E::entry(1, 1, 98));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || seize(&other, 0, 2));
        // While the place changes hands it is nobody's.
        let first = look(&table, 1);
        let second = look(&table, 1);
        assert!(matches!((first, second), (Some(1), _) | (None, None | Some(2)) | (Some(2), Some(2))));
        assert!(is_done(&thread.join().expect("the thread ends")));
        assert_eq!(look(&table, 1), Some(2));
    });
}
