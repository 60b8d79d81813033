//! The DPDK half of the walk-through, typed as its users type it, on huge pages.

use evenkeel_tests::testbed::{self, Plane, Testbed, connect_until_both_have_received, until};

/// Types a line in a directory of the repository; it must succeed.
fn typed(bed: &Testbed, directory: &str, line: &str) {
    let ended = bed.terminal_in(directory, line).finish();
    assert_eq!(ended.code, Some(0), "`{line}` in {directory}/: {ended}");
}

fn start_and_connect(bed: &Testbed) -> testbed::Running {
    let balancer = bed.terminal_in(".", "sudo ./build/base-server -l 0 --vdev=net_tap0,iface=tapdpdk");
    balancer.wait_for("base-server: ready on net_tap0");
    balancer.wait_for("in huge pages");
    typed(bed, ".", "sudo scripts/link-dpdk.sh");
    balancer
}

#[test]
fn the_walk_through_works_as_it_is_typed() {
    let scenario = testbed::on(Plane::Dpdk).with_huge_pages().needs(&["arping", "ping", "nc"]);
    scenario.run(|bed| {
        // The sandbox's own mount goes with it, and with it the files that hold pages.
        bed.do_in("", &["sh", "-c", "umount -a -t hugetlbfs; true"]);
        typed(bed, "scripts", "sudo ./hugepages.sh");
        let killed = start_and_connect(bed);
        killed.signal(libc::SIGKILL);
        drop(killed);
        bed.wait_for_the_dead();

        let mut balancer = start_and_connect(bed);
        let mut arping = bed.terminal_in(".", "sudo arping 10.0.0.10");
        // The two programs of that name.
        let is_answered = |output: String| output.contains("reply from 10.0.0.10") || output.contains("bytes from");
        until("arping is answered", || is_answered(arping.stdout()).then_some(()));
        arping.interrupt();
        connect_until_both_have_received(bed, "nc -l 8080", "nc 10.0.0.10 8080", "tcp", true);
        bed.ping("ping 10.0.0.10");
        let ended = balancer.interrupt();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(!bed.is_occupied());
    });
}
