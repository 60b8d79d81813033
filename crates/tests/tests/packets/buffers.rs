//! Packets whose headers lie in more than one buffer, as no kernel and no card delivers them.

use evenkeel_control::walkthrough;
use evenkeel_core::{Reason, Verdict};
use evenkeel_packets::{SYN, end, tcp};
use evenkeel_tests::program::{On, PlaneUnderTest, Setup, trial, xdp};
use std::ops::RangeInclusive;

/// Ethernet, IPv4 and TCP headers, and eight bytes.
fn packet() -> Vec<u8> {
    tcp(end([10, 0, 0, 1], 40_000), end([10, 0, 0, 10], 80), SYN).bytes()
}

/// Bytes in the first buffer.
const FIRST: RangeInclusive<u16> = 14..=62;

/// What becomes of the packet: nothing is guessed at.
fn expected(first: u16) -> Reason {
    match first {
        ..34 => Reason::Truncated,
        34..54 => Reason::Malformed,
        _ => Reason::ToBackend,
    }
}

#[test]
fn headers_that_are_not_whole_in_the_first_buffer_are_not_guessed_at_on_xdp() {
    trial(On::Xdp, Setup::new(walkthrough(), 64), |rig| {
        let PlaneUnderTest::Xdp(plane) = rig.plane() else { unreachable!("asked for XDP") };
        let packet = packet();
        for first in FIRST {
            let before = rig.counters();
            let (verdict, bytes) = match xdp::test_run(plane.program().unwrap(), &packet, Some(first.into()), 1) {
                Ok(outcome) => outcome,
                Err(error) => return println!("not tried, this kernel cannot split a packet so early: {error}"),
            };
            let reason = expected(first);
            assert_eq!(rig.counters().verdicts[reason as usize], before.verdicts[reason as usize] + 1, "{first}");
            let is_sent = reason.verdict() == Verdict::Transmit;
            assert_eq!((verdict, bytes != packet), (reason.verdict(), is_sent), "{first}");
        }
    });
}

#[test]
fn headers_that_are_not_whole_in_the_first_buffer_are_not_guessed_at_on_dpdk() {
    for room in FIRST {
        trial(On::Dpdk, Setup { room, ..Setup::new(walkthrough(), 64) }, |rig| {
            let outcome = rig.send(&packet());
            assert_eq!(outcome.reason, expected(room), "{room}");
        });
    }
}
