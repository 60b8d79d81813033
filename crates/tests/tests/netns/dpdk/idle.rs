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
        assert!(sleeping * 10 < polling, "{sleeping} ticks asleep, {polling} polling");
        for balancer in &balancers {
            assert_eq!(signalling(balancer), [0_u32; 0], "a signal for every packet that arrives");
        }
        assert!(balancers[0].stderr().contains("wait for receive interrupts"), "{}", balancers[0].stderr());
        assert!(balancers[1].stderr().contains("poll without a pause"), "{}", balancers[1].stderr());
    });
}

/// A process's descriptors of TAP devices that the kernel sends signals for (O_ASYNC; proc(5), fdinfo).
fn signalling(process: &Running) -> Vec<u32> {
    let of = |what: &str| format!("/proc/{}/{what}", process.id());
    let read = |fd: &str| std::fs::read_to_string(format!("{}/{fd}", of("fdinfo"))).unwrap_or_default();
    let entries = std::fs::read_dir(of("fd")).expect("it runs").flatten();
    let taps = entries.filter(|entry| entry.path().read_link().is_ok_and(|path| path.ends_with("net/tun")));
    let taps: Vec<_> = taps.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!taps.is_empty(), "it has a TAP device");
    let flags = |fd: &String| {
        let text = read(fd);
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("every descriptor has flags");
        i32::from_str_radix(flags.trim(), 8).expect("an octal number")
    };
    taps.iter().filter(|fd| flags(fd) & libc::O_ASYNC != 0).map(|fd| fd.parse().expect("a number")).collect()
}

#[test]
fn an_lcore_whose_port_does_not_call_sleeps_and_the_sleep_is_bounded() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let balancer = bed.base_server("", &bed.eal("net_null0,no-rx=1"));
        balancer.wait_for("sleep for up to 34 us; this port has no receive interrupts");
    });
}
