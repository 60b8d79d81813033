//! Time and outcomes, as the numbers that they are kept and passed in.

use crate::support::*;
use evenkeel_core::Reason;
use evenkeel_core::flow::{IdleTimes, Insertion, Now, State, Tick, Victim};
use proptest::prelude::*;

#[test]
fn ages_are_right_across_the_wrap_of_the_clock() {
    assert_eq!(Tick(5).since(Tick(u16::MAX - 4)), 10);
    assert_eq!(Tick(100).since(Tick(101)), 0, "another CPU's clock was ahead");
    assert_eq!(Tick(Tick::LONGEST).since(Tick(0)), Tick::LONGEST);
}

#[test]
fn a_connection_lives_across_the_wrap_of_the_clock() {
    let plane: MemoryPlane = scene(64);
    let connection = plane.establish(client(1));
    // Three times round, in steps shorter than the idle time.
    for _ in 0..40 {
        plane.wait(5000);
        plane.assert_works(&connection);
    }
}

#[test]
fn milliseconds_are_covered_whole() {
    for milliseconds in [0, 1, 100, 1000, 60_000, 300_000, 500_001] {
        for (covered, shift) in [(Tick::span(milliseconds), 30), (Now::span(milliseconds), 24)] {
            let beyond = (u64::from(covered) << shift) - u64::from(milliseconds) * 1_000_000;
            assert!((0..1 << shift).contains(&beyond), "{milliseconds} ms");
        }
    }
    assert_eq!((Tick::span(u32::MAX), Now::span(u32::MAX)), (Tick::LONGEST, Tick::LONGEST));
    // The longest idle times are not cut short.
    assert!(u64::from(Tick::span(IdleTimes::LONGEST)) << 30 >= u64::from(IdleTimes::LONGEST) * 1_000_000);
    assert!(u64::from(Now::span(IdleTimes::LONGEST_FINE)) << 24 >= u64::from(IdleTimes::LONGEST_FINE) * 1_000_000);
    assert_eq!((Now::from_nanoseconds(3 << 30).tick(), Now::at(Tick(3))), (Tick(3), Now(3 << 6)));
    assert_eq!(Now::from_nanoseconds(5 << 24), Now(5));
}

/// What is stamped finely is told modulo 18 minutes, ages up to half of that: it is swept before, or looks young again.
#[test]
fn a_fine_stamp_goes_round_unless_its_entry_is_swept() {
    for (swept, lives) in [(false, true), (true, false)] {
        let plane: MemoryPlane = scene(4);
        let connection = plane.open(client(1));
        plane.wait(9 * 56);
        if swept {
            plane.sweep();
        }
        plane.wait(1024 - 9 * 56);
        assert_eq!(plane.states(&connection).0 != State::Free, lives);
        assert_eq!(plane.verdict(&connection.answers(SYN | ACK)) == Reason::ToClient, lives);
    }
    // What both sides have proved is stamped in ticks, and outlives that by far.
    let plane: MemoryPlane = scene(4);
    let connection = plane.establish(client(1));
    for _ in 0..12 {
        plane.wait(9 * 56);
        plane.sweep();
    }
    plane.assert_works(&connection);
}

#[test]
fn a_sweep_frees_what_is_abandoned_and_nothing_else() {
    let plane: MemoryPlane = scene(4);
    let old = plane.open(client(1));
    plane.wait(Tick::span(IdleTimes::DEFAULT.opening) + 2);
    let established = plane.establish(client(2));
    let young = plane.open(client(3));
    plane.sweep();
    assert_eq!(plane.remembered().len(), 4);
    assert_eq!(plane.verdict(&old.answers(SYN | ACK)), Reason::NoService);
    plane.assert_works(&established);
    assert_eq!(plane.open(client(3)), young);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_insertion_survives_being_a_number(slot: u8, uses: u8, worth in 0..1_u32 << 24) {
        let victims = [None, Some(Victim::HalfOpen), Some(Victim::Finished), Some(Victim::Udp)];
        let done = victims.map(|victim| Insertion::Done { slot, uses, victim });
        for outcome in done.into_iter().chain([Insertion::Taken { worth }, Insertion::Full, Insertion::Contended]) {
            prop_assert_eq!(Insertion::from_bits(outcome.bits()), outcome);
        }
    }
}
