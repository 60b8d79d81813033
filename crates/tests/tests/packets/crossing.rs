//! Two workers, two queues, and every answer at the other worker than its question.

use evenkeel_tests::program::{Crossing, On, PlaneUnderTest, pin, trial};
use std::thread;

#[test]
fn no_connection_minds_that_its_answers_come_to_another_worker() {
    trial(On::Dpdk, Crossing::setup(), |rig| {
        let PlaneUnderTest::Dpdk(dpdk) = rig.plane() else { unreachable!("asked for DPDK") };
        let crossing = Crossing::new(dpdk);
        thread::scope(|scope| {
            for queue in 0..2 {
                let crossing = &crossing;
                scope.spawn(move || {
                    pin(queue);
                    crossing.drive(queue);
                });
            }
        });
        crossing.assert_is_over(rig);
    });
}
