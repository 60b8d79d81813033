//! Next hops: whose a number is.

use crate::{LoomWord, explore};
use evenkeel_core::flow::{HopNumber, Tick};
use evenkeel_core::hop::{self, Hop};
use evenkeel_core::{Settings, Word};
use evenkeel_wire::MacAddress;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

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
        let thread = thread::spawn(move || hop::sweep(&other.0, Settings::EMPTY.timeouts.longest, later));
        hop::renew(hops.hop(number).expect("every number has a word"), Some(6), later);
        thread.join().expect("the thread ends");
        let there = hops.at(number);
        assert!(there.0 == 0 || there.is_proved() && there.mac() == MacAddress::from_bits(6), "{there:x?}");
    });
}
