//! An lcore that has nothing to do.

use evenkeel_tests::testbed::{self, Plane, Running, until};

/// Ticks of CPU time that a process has used, with all its threads.
fn cpu_time(process: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    // Behind the name, which may hold anything; user and system time are fields 14 and 15 (proc(5)).
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn an_idle_balancer_sleeps_unless_it_is_told_to_poll() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let polling = [&bed.eal("net_tap0,iface=tappoll")[..], &["--", "--idle", "poll"].map(str::to_owned)].concat();
        let balancers = [bed.base_server("", &bed.eal("net_tap0,iface=tapsleep")), bed.base_server("", &polling)];
        let before = balancers.each_ref().map(cpu_time);
        // Side by side, so that both have the same machine; by the CPU time of one of them, so that it may be a slow one.
        let [sleeping, polling] = until("the one that polls has worked for a while", || {
            let now = balancers.each_ref().map(cpu_time);
            let used = [now[0] - before[0], now[1] - before[1]];
            (used[1] >= 50).then_some(used)
        });
        assert!(sleeping * 2 < polling, "{sleeping} ticks asleep, {polling} polling");
    });
}
