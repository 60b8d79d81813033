//! The same on real lcores. In a program of its own, because EAL is started once and the others want one lcore.

use evenkeel_tests::program::dpdk::start_eal;
use evenkeel_tests::program::{Crossing, PlaneUnderTest, cpus, trial_on_dpdk};
use std::io::Write as _;

#[test]
fn no_connection_minds_that_its_answers_come_to_another_lcore() {
    if cpus().len() < 2 {
        // Not by a macro: the test harness would keep it for itself.
        let _ = std::io::stderr().write_all(b"skipped: two lcores need two CPUs, and this machine has one.\n");
        return;
    }
    let eal = start_eal(2);
    trial_on_dpdk(&eal, Crossing::setup(), |rig| {
        let PlaneUnderTest::Dpdk(dpdk) = rig.plane() else { unreachable!("asked for DPDK") };
        let crossing = Crossing::new(dpdk);
        eal.run(vec![Box::new(|| crossing.drive(0)), Box::new(|| crossing.drive(1))]);
        crossing.assert_is_over(rig);
    });
}
