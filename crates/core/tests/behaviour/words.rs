//! Time and outcomes, as the numbers that they are kept and passed in.

use crate::support::*;
use evenkeel_core::Reason;
use evenkeel_core::flow::{IdleTimes, Insertion, Tick};
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
fn seconds_are_covered_whole() {
    for seconds in [0, 1, 60, 300, 7440] {
        let covered = u64::from(Tick::span(seconds)) << 30;
        assert!((0..1 << 30).contains(&(covered - u64::from(seconds) * 1_000_000_000)));
    }
    assert_eq!(Tick::span(u32::MAX), Tick::LONGEST);
    assert_eq!(Tick::from_nanoseconds(3 << 30), Tick(3));
}

#[test]
fn a_sweep_frees_what_is_abandoned_and_nothing_else() {
    let plane: MemoryPlane = scene(4);
    let old = plane.open(client(1));
    plane.wait(Tick::span(IdleTimes::DEFAULT.opening) + 2);
    let established = plane.establish(client(2));
    let young = plane.open(client(3));
    let now = evenkeel_core::Tables::now(&plane);
    plane.buckets.iter().for_each(|bucket| bucket.sweep(&plane.settings.timeouts, now));
    assert_eq!(plane.remembered().len(), 4);
    assert_eq!(plane.verdict(&old.answers(SYN | ACK)), Reason::NoService);
    plane.assert_works(&established);
    assert_eq!(plane.open(client(3)), young);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_insertion_survives_being_a_number(slot: u8, uses: u8, evicted: bool) {
        let done = Insertion::Done { slot, uses, evicted };
        for outcome in [done, Insertion::Taken, Insertion::Full, Insertion::Contended] {
            prop_assert_eq!(Insertion::from_bits(outcome.bits()), outcome);
        }
    }
}
