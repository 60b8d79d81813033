//! A port that takes no more packets.

use evenkeel_control::config::Protocol::Tcp;
use evenkeel_core::{Event, Reason};
use evenkeel_packets::ACK;
use evenkeel_tests::program::dpdk::RING;
use evenkeel_tests::program::scenes::{WEB, client};
use evenkeel_tests::program::{On, PlaneUnderTest, Setup, scenes, trial};

#[test]
fn what_a_full_transmit_queue_does_not_take_is_counted_and_freed_and_harms_no_connection() {
    trial(On::Dpdk, Setup::new(scenes::rich(), 64), |rig| {
        let connection = rig.establish(Tcp, client(1), WEB);
        let PlaneUnderTest::Dpdk(dpdk) = rig.plane() else { unreachable!("asked for DPDK") };
        let before = rig.counters();
        let packet = connection.says(ACK).bytes();
        {
            let mut lane = dpdk.lane(0);
            // Nobody takes away what is sent.
            for _ in 0..RING + 5 {
                assert!(dpdk.inlet(0).offer(&packet));
                assert!(lane.poll());
            }
            assert_eq!(lane.sent().len(), RING);
        }
        let after = rig.counters();
        let more = |of: Reason| after.verdicts[of as usize] - before.verdicts[of as usize];
        assert_eq!(more(Reason::ToBackend), RING as u64 + 5);
        assert_eq!(after.events[Event::TransmitQueueFull as usize], 5);
        rig.assert_works(&connection);
    });
}
