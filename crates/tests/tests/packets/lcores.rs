//! The same on real lcores. In a process of its own, because EAL is started once and the others want one lcore.

use evenkeel_tests::program::dpdk::start_eal;
use evenkeel_tests::program::{Crossing, PlaneUnderTest, cpus, trial_on_dpdk};
use evenkeel_tests::testbed::{in_own_process, skip};

#[test]
fn no_connection_minds_that_its_answers_come_to_another_lcore() {
    if cpus().len() < 2 {
        skip("two lcores", "this machine has one CPU");
        return;
    }
    in_own_process(|| {
        let eal = start_eal(2);
        trial_on_dpdk(&eal, Crossing::setup(), |rig| {
            let PlaneUnderTest::Dpdk(dpdk) = rig.plane() else { unreachable!("asked for DPDK") };
            let crossing = Crossing::new(dpdk);
            eal.run(vec![Box::new(|| crossing.drive(0)), Box::new(|| crossing.drive(1))]);
            crossing.assert_is_over(rig);
        });
    });
}
