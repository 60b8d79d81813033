//! The flow table under every interleaving of two or three threads that loom finds, with a bound on preemptions.
//!
//! Buckets of two entries, so that everybody meets everybody.

use evenkeel_core::flow::{
    BucketOf, Entry, FlowKey, Found, HopNumber, IdleTimes, Insertion, Meta, NewEntry, NewWideEntry, Peer, Record, Side,
    Tick, Timeouts, WideEntry, WideKey, find, insert, withdraw,
};
use evenkeel_core::hop::{self, Hop};
use evenkeel_core::{BackendRef, Settings, Word};
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

/// A bucket of two entries of one size.
type Table<E> = BucketOf<E, 2>;

const TIMEOUTS: Timeouts = Timeouts::new(IdleTimes::DEFAULT);

fn word() -> LoomWord {
    LoomWord(AtomicU64::new(0))
}

/// Entries of one size. Everything in entry `n` says `n`, so that a mixture of two entries shows. All entries of one key
/// differ by `owner`.
trait Size: Record<Word = LoomWord> + Send + Sync + 'static {
    fn empty() -> Self;
    fn entry_key(n: u8) -> Self::Key;
    fn entry(n: u8, owner: u8, seen: u16) -> Self::New;
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
    fn empty() -> Self {
        Entry { meta: word(), addresses: word(), ports: word(), peer: word() }
    }

    fn entry_key(n: u8) -> FlowKey {
        FlowKey::new(peer(n), peer(200), IpProtocol::TCP)
    }

    fn entry(n: u8, owner: u8, seen: u16) -> NewEntry {
        NewEntry::new(Self::entry_key(n), Side::Client, Tick(seen), backend(owner), peer(owner), hop_of(owner))
    }

    fn is_whole(found: &Found<'_, Self>, owner: u8) -> bool {
        found.peer() == peer(owner)
    }
}

impl Size for WideEntry<LoomWord> {
    fn empty() -> Self {
        let pair = || [word(), word()];
        WideEntry { meta: word(), source: pair(), destination: pair(), ports: word(), peer: pair() }
    }

    fn entry_key(n: u8) -> WideKey {
        let end = |n: u8| ([u64::from(n), u64::from(n)], Port::from_number(n.into()));
        WideKey::new(end(n), end(200), IpProtocol::TCP)
    }

    fn entry(n: u8, owner: u8, seen: u16) -> NewWideEntry {
        let client = ([u64::from(owner); 2], Port::from_number(owner.into()));
        NewWideEntry::reply(Self::entry_key(n), Tick(seen), backend(owner), client, hop_of(owner))
    }

    fn is_whole(found: &Found<'_, Self>, owner: u8) -> bool {
        found.address == [u64::from(owner); 2] && found.meta.peer_port().number() == u16::from(owner)
    }
}

fn table<E: Size>() -> Arc<Table<E>> {
    Arc::new(BucketOf(std::array::from_fn(|_| E::empty())))
}

fn peer(n: u8) -> Peer {
    Peer { address: Ipv4Address([10, 0, 0, n]), port: Port::from_number(u16::from(n)) }
}

fn put<E: Size>(table: &Table<E>, start: usize, new: &E::New) -> Insertion {
    insert(table, start, new, &TIMEOUTS)
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
);

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

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
    explore(2, || {
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
        assert!(matches!(theirs, Insertion::Done { slot: 0, evicted: true, .. }));
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

/// The words of one group of hops.
struct Hops([LoomWord; 8]);

impl Hops {
    /// All of them proved, and somebody else's, but those at these places.
    fn full_but(free: &[usize]) -> Arc<Self> {
        let taken = |place: usize| if free.contains(&place) { 0 } else { Self::proved(100 + 2 * place as u64) };
        Arc::new(Self(std::array::from_fn(|place| LoomWord(AtomicU64::new(taken(place))))))
    }

    fn proved(neighbour: u64) -> u64 {
        neighbour | 1 << 55
    }

    fn hop(&self, number: HopNumber) -> Option<&LoomWord> {
        self.0.get(usize::from(number.0) % 8)
    }

    fn number(&self, neighbour: u64) -> Option<HopNumber> {
        hop::number(&Settings::EMPTY, |number| self.hop(number), neighbour, NOW)
    }

    fn at(&self, number: HopNumber) -> Hop {
        Hop(self.hop(number).expect("every number has a word").load())
    }
}

const NOW: Tick = Tick(0);

#[test]
fn two_packets_of_one_neighbour_find_it_under_their_number() {
    explore(3, || {
        let hops = Hops::full_but(&[2, 5]);
        let other = Arc::clone(&hops);
        let thread = thread::spawn(move || other.number(6));
        let mine = hops.number(6);
        let theirs = thread.join().expect("the thread ends");
        for number in [mine, theirs] {
            let number = number.expect("there is room, and nobody else wants it");
            assert_eq!(hops.at(number).mac(), MacAddress::from_bits(6));
        }
    });
}

#[test]
fn two_neighbours_never_share_a_number() {
    explore(3, || {
        let hops = Hops::full_but(&[3]);
        let other = Arc::clone(&hops);
        let thread = thread::spawn(move || other.number(8).is_some());
        let mine = hops.number(6).is_some();
        let theirs = thread.join().expect("the thread ends");
        // Both are on trial, so the second may have taken the first one's place; the word is one's alone.
        let there = Hop(hops.0[3].load()).mac();
        assert!(mine || theirs, "there was room for one");
        assert!(there == MacAddress::from_bits(6) || there == MacAddress::from_bits(8), "{there}");
    });
}

/// A connection is established by the hop in the moment in which somebody new would take its place.
#[test]
fn a_hop_is_proved_or_given_away_and_never_both() {
    explore(3, || {
        let hops = Hops::full_but(&[4]);
        let number = hops.number(6).expect("there is room");
        let other = Arc::clone(&hops);
        let thread = thread::spawn(move || other.number(8));
        hop::renew(hops.hop(number).expect("every number has a word"), Some(6), NOW);
        let newcomer = thread.join().expect("the thread ends");
        let there = hops.at(number);
        match newcomer {
            Some(taken) => {
                assert_eq!((taken, there.mac()), (number, MacAddress::from_bits(8)));
                assert!(!there.is_proved(), "by what another neighbour's connection has proved");
            }
            None => assert!(there.is_proved() && there.mac() == MacAddress::from_bits(6)),
        }
    });
}

#[test]
fn a_sweep_takes_away_nothing_that_is_in_use() {
    explore(3, || {
        let hops = Hops::full_but(&[6]);
        let later = Tick(u16::from(2_u8) << 8);
        let number = hops.number(6).expect("there is room");
        let other = Arc::clone(&hops);
        let thread = thread::spawn(move || hop::sweep(&other.0, TIMEOUTS.longest, later));
        hop::renew(hops.hop(number).expect("every number has a word"), Some(6), later);
        thread.join().expect("the thread ends");
        let there = hops.at(number);
        assert!(there.0 == 0 || there.is_proved() && there.mac() == MacAddress::from_bits(6), "{there:x?}");
    });
}
