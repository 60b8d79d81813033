//! What goes wrong at the command line of the balancer on DPDK, and how it is said: one sentence on standard error, the
//! right exit code, and nothing left behind.

use evenkeel_tests::testbed::{
    self, Ended, GOOD_CONFIG, Plane, Running, TAP, Testbed, assert_clean, assert_refused, connect_tap, repository,
    until,
};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const LIBRARY: &str = "libevenkeel_dpdk_daemon.so";

/// The balancer by one of its names, where every user can read it: the repository may be in a private directory.
fn program(bed: &Testbed, name: &str) -> String {
    let place = |name: &str| bed.work.join(name);
    for file in ["evenkeel-dpdk", LIBRARY] {
        if !place(file).exists() {
            std::fs::copy(repository().join("build").join(file), place(file)).expect("the balancer is built");
        }
    }
    if !place(name).exists() {
        std::os::unix::fs::symlink(place("evenkeel-dpdk"), place(name))
            .expect("the sandbox's directory can be written");
    }
    place(name).display().to_string()
}

fn start<S: AsRef<str>>(bed: &Testbed, name: &str, arguments: &[S]) -> Running {
    let program = program(bed, name);
    let words: Vec<_> = std::iter::once(program.as_str()).chain(arguments.iter().map(AsRef::as_ref)).collect();
    bed.start("", &words)
}

fn base_server<S: AsRef<str>>(bed: &Testbed, arguments: &[S]) -> Ended {
    start(bed, "base-server", arguments).finish()
}

/// EAL's arguments for the testbed, and more of them.
fn eal_and(bed: &Testbed, more: &[&str]) -> Vec<String> {
    bed.eal(TAP).into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
}

#[track_caller]
fn assert_nothing_is_left(bed: &Testbed) {
    assert!(!bed.is_occupied(), "the TAP device is still there");
}

#[test]
fn without_root_it_says_what_it_needs() {
    testbed::on(Plane::Dpdk).needs(&["setpriv"]).run(|bed| {
        let nobody =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
        let program = program(bed, "base-server");
        let words = [&nobody.map(str::to_owned)[..], &[program], &bed.eal(TAP)].concat();
        let ended = bed.start("", &words).finish();
        assert_refused(&ended, 1, &["base-server: ", "tapdpdk", "root", "sudo"]);
        assert_nothing_is_left(bed);
    });
}

#[test]
fn without_huge_pages_it_says_how_to_get_some_and_how_to_do_without() {
    testbed::on(Plane::Dpdk).run(|bed| {
        // What EAL asks the kernel, in the sandbox's own /sys: no page of the machine is touched.
        let pool = "/sys/kernel/mm/hugepages";
        let words = ["no free huge pages", "scripts/hugepages.sh", "--no-huge"];
        let walk_through = ["-l", "0", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];
        let refused = || assert_refused(&base_server(bed, &walk_through), 1, &words);
        bed.do_in("", &["sh", "-c", "umount -a -t hugetlbfs; true"]);
        bed.do_in("", &["mount", "-t", "tmpfs", "none", pool]);
        refused();
        let numbers = "nr_hugepages free_hugepages resv_hugepages surplus_hugepages nr_overcommit_hugepages";
        let no_page = format!("mkdir {pool}/hugepages-2048kB; cd $_; for f in {numbers}; do echo 0 >$f; done");
        bed.do_in("", &["bash", "-c", &no_page]);
        refused();
        let mounted = bed.work.join("huge").display().to_string();
        bed.do_in("", &["mkdir", &mounted]);
        bed.do_in("", &["mount", "-t", "hugetlbfs", "none", &mounted]);
        refused();
        // Some are there, but nowhere to get them from.
        bed.do_in("", &["umount", &mounted]);
        bed.do_in("", &["bash", "-c", &format!("echo 512 | tee {pool}/*/nr_hugepages {pool}/*/free_hugepages")]);
        refused();
        assert_nothing_is_left(bed);
    });
}

#[test]
fn too_little_memory_is_said() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let words: Vec<_> =
            bed.eal(TAP).into_iter().map(|word| if word == "256" { "1".to_owned() } else { word }).collect();
        assert_refused(&base_server(bed, &words), 1, &["no memory for", "-m MEGABYTES"]);
        assert_nothing_is_left(bed);
    });
}

#[test]
fn arguments_that_eal_does_not_understand_are_wrong_usage() {
    testbed::on(Plane::Dpdk).run(|bed| {
        for (more, words) in [
            (&["--colour"][..], &["EAL", "no option --colour"][..]),
            (&["-Q"], &["EAL", "no option Q"]),
            (&["-m"], &["EAL", "-m needs a value"]),
            (&["--vdev"], &["EAL", "--vdev needs a value"]),
            (&["-l", "0"], &["EAL", "-l"]),
            (&["stray"], &["EAL", "\"stray\""]),
            (&["--", "--idle", "slow"], &["slow", "sleep, poll", "--help"]),
            (&["--", "--config", "file.toml"], &["--config", "--help"]),
        ] {
            assert_refused(&base_server(bed, &eal_and(bed, more)), 2, &[&["base-server: "], words].concat());
        }
        let is_missing = |cpu: &usize| !Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}")).exists();
        // EAL looks at so many.
        let missing = (0..128).find(is_missing).map(|cpu| (cpu.to_string(), format!("no CPU {cpu} here")));
        for (cpus, words) in missing.into_iter().chain([("zero".to_owned(), "core list".to_owned())]) {
            let mut arguments = bed.eal(TAP);
            arguments[1] = cpus;
            assert_refused(&base_server(bed, &arguments), 2, &[&words]);
        }
        assert_refused(&start(bed, "evenkeel-dpdk", &bed.eal(TAP)).finish(), 2, &["evenkeel-dpdk: ", "--config"]);
        for name in ["base-server", "evenkeel-dpdk"] {
            let ended = start(bed, name, &["--help"]).finish();
            assert_eq!(ended.code, Some(0), "{ended}");
            assert!(ended.stdout.contains(&format!("Usage: {name} EAL-ARGS")), "{ended}");
        }
        assert_nothing_is_left(bed);
    });
}

#[test]
fn no_port_two_ports_and_a_port_of_no_driver_are_wrong_usage() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let mut none = bed.eal(TAP);
        none.pop();
        assert_refused(&base_server(bed, &none), 2, &["no port", "--vdev=net_tap0,iface=tapdpdk"]);
        let two = eal_and(bed, &["--vdev=net_tap1,iface=tapother"]);
        assert_refused(&base_server(bed, &two), 2, &["2 ports (net_tap0, net_tap1)", "one is balanced on"]);
        assert_refused(&base_server(bed, &bed.eal("net_nothing0")), 2, &["no driver", "net_nothing0"]);
        assert_nothing_is_left(bed);
    });
}

#[test]
fn a_port_that_refuses_to_start_is_named_and_ends_the_program() {
    testbed::on(Plane::Dpdk).run(|bed| {
        for (device, words) in [
            // A bond of nothing.
            ("net_bonding0,mode=1", &["port net_bonding0", "configuring it failed"][..]),
            // A guest without its host.
            ("net_memif0,role=client", &["port net_memif0", "starting it failed"]),
        ] {
            assert_refused(&base_server(bed, &bed.eal(device)), 1, words);
        }
    });
}

#[test]
fn a_second_one_is_refused_and_the_first_works_on() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        let mut first = bed.balance();
        assert_refused(&base_server(bed, &bed.eal(TAP)), 1, &["already runs on tapdpdk"]);
        assert_refused(&base_server(bed, &bed.eal("net_tap3,iface=tapdpdk")), 1, &["already runs on tapdpdk"]);
        assert!(!first.has_ended());
        bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        assert_eq!(first.interrupt().code, Some(0));
        assert_nothing_is_left(bed);
    });
}

#[test]
fn an_unprivileged_user_cannot_keep_it_from_starting() {
    testbed::on(Plane::Dpdk).run(|bed| {
        // A name that is whoever's is first. It knows no user, so it may be ours here.
        let address = SocketAddr::from_abstract_name("evenkeel-dpdk-tapdpdk").expect("it is short");
        let _taken = UnixDatagram::bind_addr(&address).expect("nobody has it");
        let mut balancer = bed.balance();
        assert_refused(&base_server(bed, &bed.eal(TAP)), 1, &["already runs on tapdpdk"]);
        assert_eq!(balancer.interrupt().code, Some(0));
        assert_nothing_is_left(bed);
    });
}

#[test]
fn two_with_one_file_prefix_are_told_how_to_run_side_by_side() {
    testbed::on(Plane::Dpdk).run(|bed| {
        // As a user would start them: with what EAL shares between processes.
        let alone = ["--no-shconf".to_owned(), "--no-telemetry".to_owned()];
        let with = |device: &str| -> Vec<String> {
            let words = bed.eal(device).into_iter().filter(|word| !alone.contains(word));
            words
                .map(|word| if word.starts_with("--file-prefix") { "--file-prefix=one".to_owned() } else { word })
                .collect()
        };
        let mut first = start(bed, "base-server", &with(TAP));
        first.wait_for("ready on net_tap0");
        let second = base_server(bed, &with("net_tap0,iface=tapother"));
        assert_refused(&second, 1, &["same file prefix", "--file-prefix=NAME"]);
        assert_eq!(first.interrupt().code, Some(0));
        assert_nothing_is_left(bed);
        // What the message advises works, and so does one after the other.
        let mut again = start(bed, "base-server", &with(TAP));
        again.wait_for("ready on net_tap0");
        let mut beside = start(bed, "base-server", &bed.eal("net_tap0,iface=tapother"));
        beside.wait_for("ready on net_tap0");
        assert_eq!((again.interrupt().code, beside.interrupt().code), (Some(0), Some(0)));
    });
}

#[test]
fn a_device_of_that_name_that_is_somebody_elses_is_left_alone() {
    testbed::on(Plane::Dpdk).run(|bed| {
        for kind in [
            &["ip", "tuntap", "add", "dev", "tapdpdk", "mode", "tap"][..],
            &["ip", "link", "add", "dev", "tapdpdk", "type", "veth", "peer", "name", "other"],
        ] {
            bed.do_in("", kind);
            assert_refused(&base_server(bed, &bed.eal(TAP)), 1, &["tapdpdk already", "iface=NAME"]);
            bed.do_in("", &["ip", "link", "del", "dev", "tapdpdk"]);
        }
        assert_eq!(bed.balance().interrupt().code, Some(0));
    });
}

#[test]
fn a_missing_libdpdk_or_library_of_ours_is_named_with_what_to_install() {
    testbed::on(Plane::Dpdk).needs(&["ldd", "unshare"]).run(|bed| {
        let program = program(bed, "base-server");
        let linked = bed.do_in("", &["ldd", &bed.work.join(LIBRARY).display().to_string()]).stdout;
        let found = linked.lines().find_map(|line| line.trim().strip_prefix("librte_eal")?.split(' ').nth(2));
        let eal = found.expect("it is linked to librte_eal");
        // Mounts of its own, so nobody else misses what is covered here.
        let line = format!("mount --bind /dev/null {eal} && exec {program} -l 0");
        let ended = bed.start("", &["unshare", "--mount", "sh", "-c", &line]).finish();
        assert_refused(&ended, 1, &["base-server: libdpdk cannot be loaded", "librte_eal", "libdpdk-dev"]);

        std::fs::remove_file(bed.work.join(LIBRARY)).expect("it is ours");
        let ended = bed.start("", &[program.as_str(), "-l", "0"]).finish();
        assert_refused(&ended, 1, &["base-server: this build has no DPDK plane", LIBRARY, "make"]);
    });
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_started() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let with = |path: &str| start(bed, "evenkeel-dpdk", &eal_and(bed, &["--", "--config", path])).finish();
        let refused = |text: &str, words: &[&str]| {
            let path = bed.config("wrong.toml", text).display().to_string();
            assert_refused(&with(&path), 2, &[&["evenkeel-dpdk: ", "wrong.toml"], words].concat());
        };
        refused(&GOOD_CONFIG.replace("port = 8080\n", "port = 808080\n"), &["wrong.toml:10:8: "]);
        refused(&GOOD_CONFIG.replace("name = ", "colour = \"red\"\nname = "), &["wrong.toml:8:1: ", "colour"]);
        refused(
            &GOOD_CONFIG.replace("max-flows = 1024", "address = \"10.0.0.10\""),
            &["wrong.toml:2:11: ", "192.0.2.5/24"],
        );
        // In another network, and no gateway: no waiting will mend that.
        let far =
            GOOD_CONFIG.replace("max-flows = 1024", "address = \"10.0.0.10/24\"").replace("10.0.0.2", "192.0.2.2");
        let path = bed.config("far.toml", &far).display().to_string();
        assert_refused(
            &with(&path),
            2,
            &["backend 192.0.2.2 is not in the balancer's network", "10.0.0.10/24", "gateway"],
        );
        refused(&GOOD_CONFIG.replace("max-flows = 1024", "kind = \"xdp\""), &["kind is \"xdp\"", "evenkeel run"]);
        refused(&GOOD_CONFIG.replace("10.0.0.2", "10.0.0.10"), &["the balancer itself"]);
        for missing in ["nowhere.toml", "/", "/root/nowhere/evenkeel.toml"] {
            assert_refused(&with(missing), 2, &["cannot read", missing]);
        }
        assert_nothing_is_left(bed);
    });
}

#[test]
fn a_tap_device_that_is_connected_to_nothing_is_said_and_works_once_it_is_connected() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        let balancer = start(bed, "base-server", &bed.eal(TAP));
        balancer.wait_for("tapdpdk is connected to nothing yet: scripts/link-dpdk.sh");
        for backend in ["10.0.0.2", "10.0.0.3"] {
            balancer.wait_for(&format!("warning: backend {backend} does not answer ARP"));
        }
        balancer.wait_for_times("tapdpdk is connected to nothing (scripts/link-dpdk.sh)", 2);
        // Twice, as if somebody had pulled the cable.
        for times in 1..=2 {
            connect_tap();
            bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
            for backend in ["10.0.0.2", "10.0.0.3"] {
                balancer.wait_for_times(&format!("backend {backend} is at"), times);
            }
            if times == 1 {
                bed.do_in("", &["ip", "link", "set", "dev", "tapdpdk", "nomaster"]);
                balancer.wait_for_times("does not answer ARP any more", 2);
            }
        }
        assert_clean(&balancer.stderr());
    });
}

#[test]
fn an_interface_that_is_deleted_under_way_is_said() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let mut balancer = bed.balance();
        bed.do_in("", &["ip", "link", "del", "dev", "tapdpdk"]);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains("the network interface behind net_tap0 is gone"), "{ended}");
        assert_clean(&ended.stderr);
    });
}

#[test]
fn an_interface_that_is_renamed_or_goes_down_and_up_is_still_served() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        let mut balancer = bed.balance();
        for change in [&["down"][..], &["name", "uplink"]] {
            bed.do_in("", &[&["ip", "link", "set", "dev", "tapdpdk"], change].concat());
        }
        bed.do_in("", &["ip", "link", "set", "dev", "uplink", "up"]);
        bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        assert!(!balancer.has_ended(), "{}", balancer.finish());
        assert_eq!(balancer.interrupt().code, Some(0));
    });
}

#[test]
fn it_can_be_stopped_at_any_moment() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let executable = bed.work.join("evenkeel-dpdk");
        let stop = |turn: usize, moment: &str, delay: Option<Duration>| {
            let signal = [libc::SIGINT, libc::SIGTERM][turn % 2];
            let mut balancer = start(bed, "base-server", &bed.eal(TAP));
            balancer.wait_to_become(&executable);
            match delay {
                // The delay is the point here: the signal must hit every phase.
                Some(delay) => thread::sleep(delay),
                None => balancer.wait_for("ready on net_tap0"),
            }
            balancer.signal(signal);
            let ended = balancer.finish();
            // Before the first line of its own, nobody can ask a program to do anything: the kernel ends it.
            let too_early = delay.is_some() && ended.signal == Some(signal) && ended.stderr.is_empty();
            assert!(ended.code == Some(0) || too_early, "signal {signal} {moment}: {ended}");
            assert_clean(&ended.stderr);
            bed.wait_for_the_dead();
        };
        let delays = (0..10).map(|step| step * 8).chain((1..=8).map(|step| step * 50)).chain([800, 1600]);
        for (turn, delay) in delays.enumerate() {
            stop(turn, &format!("after {delay} ms"), Some(Duration::from_millis(delay)));
        }
        for turn in 0..2 {
            stop(turn, "when it was ready", None);
        }
    });
}

#[test]
fn a_start_that_waits_for_another_program_can_be_stopped() {
    testbed::on(Plane::Dpdk).run(|bed| {
        // EAL does not come back before somebody connects.
        let socket = bed.work.join("vhost");
        let device = format!("net_virtio_user0,path={},server=1", socket.display());
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let mut balancer = start(bed, "base-server", &bed.eal(&device));
            until("it waits", || socket.exists().then_some(()));
            balancer.signal(signal);
            let ended = balancer.finish();
            assert_eq!(ended.code, Some(0), "signal {signal}: {ended}");
            std::fs::remove_file(&socket).expect("its socket is left");
        }
    });
}

#[test]
fn killed_at_any_moment_it_can_be_started_again_at_once() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        for delay in [0, 20, 40, 80, 160, 320, 640] {
            let balancer = start(bed, "base-server", &bed.eal(TAP));
            thread::sleep(Duration::from_millis(delay));
            balancer.signal(libc::SIGKILL);
            drop(balancer);
            let mut balancer = bed.balance();
            bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
            assert_eq!(balancer.interrupt().code, Some(0));
            assert_nothing_is_left(bed);
        }
    });
}

#[test]
fn it_balances_on_and_cleans_up_when_nobody_reads_its_messages_any_more() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        let words = bed.eal(TAP).join(" ");
        let line = format!("{} {words} 2>&1 | head -n 1; sleep 3600", program(bed, "base-server"));
        let mut shell = Command::new("sh");
        let balancer = Running::start(shell.args(["-c", &line]));
        until("the TAP device is there", || bed.is_occupied().then_some(()));
        connect_tap();
        // A backend that is found makes it say something more.
        bed.do_in("h3", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        balancer.signal(libc::SIGTERM);
        bed.wait_for_the_dead();
    });
}
