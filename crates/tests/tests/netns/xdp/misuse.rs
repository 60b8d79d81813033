//! What goes wrong at the command line of the balancer on XDP, and how it is said: one sentence on standard error, the right exit code, and
//! nothing left attached.

use evenkeel_tests::testbed::{
    self, Ended, GOOD_CONFIG, Plane, Running, Testbed, assert_clean, assert_refused, in_network, repository, until,
    within,
};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The balancer by one of its names, where every user can read it: the repository may be in a private directory.
fn program(bed: &Testbed, name: &str) -> String {
    let copy = bed.work.join("evenkeel");
    if !copy.exists() {
        std::fs::copy(repository().join("build/evenkeel"), &copy).expect("the balancer is built");
    }
    let path = bed.work.join(name);
    if !path.exists() {
        std::os::unix::fs::symlink(&copy, &path).expect("the sandbox's directory can be written");
    }
    path.display().to_string()
}

fn xdp_lb(bed: &Testbed, arguments: &[&str]) -> Ended {
    let program = program(bed, "xdp_lb");
    bed.start("lb", &[&[program.as_str()], arguments].concat()).finish()
}

fn evenkeel(bed: &Testbed, arguments: &[&str]) -> Ended {
    let program = program(bed, "evenkeel");
    bed.start("lb", &[&[program.as_str()], arguments].concat()).finish()
}

#[track_caller]
fn assert_nothing_attached(bed: &Testbed) {
    assert!(!bed.is_occupied(), "{}", bed.link("veth6"));
}

#[test]
fn without_root_it_says_what_it_needs() {
    testbed::on(Plane::GenericXdp).needs(&["setpriv"]).run(|bed| {
        let program = program(bed, "xdp_lb");
        let nobody =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
        let ended = bed.start("lb", &[&nobody[..], &[&program, "veth6"]].concat()).finish();
        assert_refused(&ended, 1, &["xdp_lb: ", "root", "sudo"]);
        assert_nothing_attached(bed);
    });
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        for name in ["nosuch", "a-name-longer-than-any-interface", "", "../x", "ve\nth6", "%s"] {
            let ended = xdp_lb(bed, &[name]);
            assert_refused(&ended, 1, &["no network interface"]);
        }
        assert_refused(&xdp_lb(bed, &["nosuch"]), 1, &["nosuch", "ip link"]);
    });
}

#[test]
fn an_interface_without_ethernet_is_refused() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        assert_refused(&xdp_lb(bed, &["lo"]), 1, &["lo is not an Ethernet interface"]);
        bed.do_in("lb", &["ip", "tuntap", "add", "dev", "tun0", "mode", "tun"]);
        assert_refused(&xdp_lb(bed, &["tun0"]), 1, &["tun0 is not an Ethernet interface"]);
        for name in ["lo", "tun0"] {
            assert!(!bed.link(name).contains("prog/xdp"));
        }
    });
}

#[test]
fn an_interface_that_is_down_is_said_or_works_once_it_is_up() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "down"]);
        let program = program(bed, "xdp_lb");
        let balancer = bed.start("lb", &[program.as_str(), "veth6"]);
        balancer.wait_for("ready on veth6");
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "up"]);
        balancer.wait_for("backend 10.0.0.2 is at");
        balancer.wait_for("backend 10.0.0.3 is at");
        bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        assert_clean(&balancer.stderr());
    });
}

/// Somebody else's program, which lets everything pass.
fn foreign_program(bed: &Testbed) -> String {
    let object = bed.work.join("foreign.o").display().to_string();
    let library = repository().join("scripts/lib/xdp-pass.sh").display().to_string();
    bed.do_in("", &["bash", "-c", &format!(". '{library}' && xdp_pass_object > '{object}'")]);
    object
}

#[test]
fn another_xdp_program_is_left_alone() {
    testbed::on(Plane::GenericXdp).needs(&["nsenter"]).run(|bed| {
        let object = foreign_program(bed);
        for (mode, word) in [("generic", "xdpgeneric"), ("native", "xdpdrv")] {
            let attach = ["ip", "link", "set", "dev", "veth6", word, "object", &object, "section", "xdp.frags"];
            bed.do_in("", &in_network("lb", &attach));
            let before = bed.link("veth6");
            assert!(before.contains("prog/xdp"));
            for wanted in ["generic", "native", "auto"] {
                let ended = xdp_lb(bed, &["--xdp-mode", wanted, "veth6"]);
                assert_refused(
                    &ended,
                    1,
                    &["already has an XDP program", &format!("ip link set dev veth6 {word} off")],
                );
                assert_eq!(bed.link("veth6"), before, "the other program is untouched ({mode}, {wanted} wanted)");
            }
            // What the message advises works.
            bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", word, "off"]);
        }
        let mut balancer = bed.balance();
        assert_eq!(balancer.interrupt().code, Some(0));
    });
}

#[test]
fn a_program_that_somebody_put_in_our_place_is_left_alone_at_the_end() {
    testbed::on(Plane::GenericXdp).needs(&["nsenter"]).run(|bed| {
        let object = foreign_program(bed);
        let mut balancer = bed.balance();
        // Without going through "off", so that the balancer sees only the exchange.
        let exchange =
            ["ip", "-force", "link", "set", "dev", "veth6", "xdpgeneric", "object", &object, "section", "xdp.frags"];
        bed.do_in("", &in_network("lb", &exchange));
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("detached by somebody else"), "{ended}");
        assert_clean(&ended.stderr);
        assert!(bed.is_occupied(), "the other program is still there");
    });
}

#[test]
fn a_second_one_on_the_same_interface_is_refused_and_the_first_works_on() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        let mut first = bed.balance();
        for options in [&["veth6"][..], &["--xdp-mode", "native", "veth6"]] {
            assert_refused(&xdp_lb(bed, options), 1, &["already runs on veth6"]);
        }
        let config = bed.config("good.toml", &good()).display().to_string();
        assert_refused(&evenkeel(bed, &["run", "--config", &config]), 1, &["already runs on veth6"]);
        assert!(!first.has_ended());
        assert!(bed.is_occupied());
        bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        let ended = first.interrupt();
        assert_eq!(ended.code, Some(0));
        assert!(ended.stderr.contains("echo-reply"), "{ended}");
        assert_nothing_attached(bed);
    });
}

#[test]
fn an_unprivileged_user_cannot_keep_it_from_starting() {
    testbed::on(Plane::GenericXdp).needs(&["setpriv", "flock"]).run(|bed| {
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        // Names that are whoever's is first. They know no user, so they may be ours here.
        let index = bed.do_in("lb", &["cat", "/sys/class/net/veth6/ifindex"]).stdout.trim().to_owned();
        let taken = |name: &str| {
            let address = SocketAddr::from_abstract_name(name).expect("it is short");
            within("lb", || UnixDatagram::bind_addr(&address).expect("nobody has it"))
        };
        let _taken = [taken(&format!("evenkeel-xdp-{index}")), taken("evenkeel-xdp-veth6")];
        assert_ne!(bed.start("lb", &[&nobody[..], &["mkdir", "/run/evenkeel"]].concat()).finish().code, Some(0));

        let mut balancer = bed.balance();
        assert_refused(&xdp_lb(bed, &["veth6"]), 1, &["already runs on veth6"]);
        balancer.signal(libc::SIGKILL);
        balancer.finish();
        // What it has left is nobody's to lock.
        let left = claims();
        assert_eq!(left.len(), 1, "{left:?}");
        let lock = ["flock", "--nonblock", &left[0], "true"];
        assert_ne!(bed.start("lb", &[&nobody[..], &lock].concat()).finish().code, Some(0));
        bed.do_in("lb", &lock);

        let mut balancer = bed.balance();
        assert_eq!(balancer.interrupt().code, Some(0));
        assert_eq!(claims(), [""; 0], "the claim's file goes with the claim");
    });
}

/// The files of claims, whoever has them.
fn claims() -> Vec<String> {
    let files = std::fs::read_dir("/run/evenkeel").expect("it was made");
    let names = files.map(|file| file.expect("it can be read").path().display().to_string());
    // The socket is no claim.
    names.filter(|name| name.ends_with(".lock")).collect()
}

#[test]
fn wrong_arguments_and_none_are_wrong_usage() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        for arguments in
            [&[][..], &["veth6", "veth7"], &["--colour"], &["--xdp-mode", "fast", "veth6"], &["--xdp-mode"]]
        {
            let ended = xdp_lb(bed, arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?}: {ended}");
            assert!(
                ended.stderr.contains("Usage: xdp_lb") || ended.stderr.contains("--help"),
                "{arguments:?}: {ended}"
            );
            assert_clean(&ended.stderr);
        }
        for arguments in
            [&[][..], &["fly"], &["run"], &["run", "--config"], &["--colour"], &["run", "--config", "a", "b"]]
        {
            let ended = evenkeel(bed, arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?}: {ended}");
            assert!(
                ended.stderr.contains("Usage: evenkeel") || ended.stderr.contains("--help"),
                "{arguments:?}: {ended}"
            );
            assert_clean(&ended.stderr);
        }
        for (run, name) in [(xdp_lb as fn(&Testbed, &[&str]) -> Ended, "xdp_lb"), (evenkeel, "evenkeel")] {
            let ended = run(bed, &["--help"]);
            assert_eq!(ended.code, Some(0));
            assert!(ended.stdout.contains(&format!("Usage: {name}")), "{ended}");
        }
        assert_nothing_attached(bed);
    });
}

fn good() -> String {
    GOOD_CONFIG.replace("[dataplane]\n", "[dataplane]\ninterface = \"veth6\"\n")
}

#[test]
fn a_wrong_configuration_is_refused_with_line_and_column() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let refused = |text: &str, words: &[&str]| {
            let path = bed.config("wrong.toml", text).display().to_string();
            let ended = evenkeel(bed, &["run", "--config", &path]);
            assert_refused(&ended, 2, words);
            assert_nothing_attached(bed);
        };
        refused(&good().replace("port = 8080\n", "port = 808080\n"), &["wrong.toml:11:8: "]);
        refused(&good().replace("name = ", "colour = \"red\"\nname = "), &["wrong.toml:9:1: ", "colour"]);
        refused(&good().replace("protocol = \"tcp\"", "protocol = \"sctp\""), &["wrong.toml:12:12: ", "sctp", "tcp"]);
        refused(&good().replace("\"10.0.0.10\"\nport", "\"10.0.0.300\"\nport"), &["wrong.toml:10:11: "]);
        refused(&good().replace("[[service]]", "[[service]"), &["wrong.toml:8:"]);
        refused(&good().replace("10.0.0.2", "10.0.0.10"), &["wrong.toml", "the balancer itself"]);
        refused(&good().replace("[nat]\naddresses = [\"10.0.0.10\"]\n", ""), &["wrong.toml:1:1: ", "[nat]"]);
        refused(GOOD_CONFIG, &["no interface", "--interface"]);

        // Every fault has a line of its own, so that nobody mends a file one refusal at a time.
        let refused_for_all = |text: &str, faults: &[&str]| {
            let path = bed.config("wrong.toml", text).display().to_string();
            let ended = evenkeel(bed, &["run", "--config", &path]);
            assert_eq!(ended.code, Some(2), "{ended}");
            assert_clean(&ended.stderr);
            let lines: Vec<&str> = ended.stderr.lines().collect();
            assert_eq!(lines.len(), faults.len(), "{ended}");
            for (line, fault) in lines.iter().zip(faults) {
                assert!(line.starts_with(&format!("evenkeel: {path}:1:")) && line.contains(fault), "{fault}: {ended}");
            }
            assert_nothing_attached(bed);
        };
        refused_for_all("", &[":1:1: the file has no [nat]", ":1:1: the file has no [[service]]"]);
        refused_for_all("\u{0}\u{1}\u{fe}", &[":1:1: ", ":1:4: "]);

        std::fs::write(bed.work.join("latin1.toml"), b"name = \"\xe9\"").expect("the directory can be written");
        let path = bed.work.join("latin1.toml").display().to_string();
        assert_refused(&evenkeel(bed, &["run", "--config", &path]), 2, &["latin1.toml", "UTF-8"]);
        for missing in ["nowhere.toml", "/", "/root/nowhere/evenkeel.toml"] {
            assert_refused(&evenkeel(bed, &["run", "--config", missing]), 2, &["cannot read", missing]);
        }
        assert_nothing_attached(bed);
    });
}

#[test]
fn a_kernel_without_type_information_is_named() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        // `ip netns exec` has mounts of its own, so nobody else misses what is covered here.
        let program = program(bed, "xdp_lb");
        let line = format!("mount -t tmpfs none /sys/kernel/btf && exec {program} veth6");
        let ended = bed.start("lb", &["sh", "-c", &line]).finish();
        assert_refused(&ended, 1, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
        assert_nothing_attached(bed);
    });
}

/// Makes bpf(2) fail like this for a program and all it starts.
fn forbid_bpf(command: &mut Command, errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let is_bpf =
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_bpf as u32) };
    let mut filter = [
        // The number of the call is the first word of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        is_bpf,
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: between fork and exec only prctl is called; the filter is moved into the closure, which outlives the call.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

#[test]
fn a_kernel_without_bpf_or_that_forbids_it_is_named() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let program = program(bed, "xdp_lb");
        for (errno, words) in [(libc::ENOSYS, "no BPF"), (libc::EPERM, "root, or CAP_BPF")] {
            let mut command = Testbed::command("lb", &[program.as_str(), "veth6"]);
            forbid_bpf(&mut command, errno);
            let ended = Running::start(&mut command).finish();
            assert_refused(&ended, 1, &[words]);
        }
        assert_nothing_attached(bed);
    });
}

#[test]
fn an_interface_that_is_deleted_under_way_is_said() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let mut balancer = bed.balance();
        bed.do_in("lb", &["ip", "link", "del", "veth6"]);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains("veth6 is gone"), "{ended}");
        assert_clean(&ended.stderr);
    });
}

#[test]
fn an_interface_that_is_renamed_or_goes_down_and_up_is_still_served() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        let mut balancer = bed.balance();
        for change in [&["down"][..], &["name", "uplink"]] {
            bed.do_in("lb", &[&["ip", "link", "set", "dev", "veth6"], change].concat());
        }
        bed.do_in("lb", &["ip", "link", "set", "dev", "uplink", "up"]);
        bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        // Longer than the interval at which the balancer looks whether its program is still there.
        thread::sleep(Duration::from_secs(6));
        assert!(!balancer.has_ended(), "{}", balancer.finish());
        assert_eq!(balancer.interrupt().code, Some(0));
        assert!(!bed.link("uplink").contains("prog/xdp"), "nothing is left behind");
    });
}

#[test]
fn it_can_be_stopped_at_any_moment() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        // With a backend that does not answer, the start waits for it, and so has a phase more.
        bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "down"]);
        let program = program(bed, "xdp_lb");
        let executable = bed.work.join("evenkeel");
        let delays = (0..10).map(|step| step * 4).chain((1..=8).map(|step| step * 200));
        for (turn, delay) in delays.enumerate() {
            let signal = [libc::SIGINT, libc::SIGTERM][turn % 2];
            let mode = Plane::XDP[turn / 2 % 2].xdp_mode().to_string();
            let mut balancer = bed.start("lb", &[program.as_str(), "--xdp-mode", &mode, "veth6"]);
            balancer.wait_to_become(&executable);
            // The delay is the point here: the signal must hit every phase.
            thread::sleep(Duration::from_millis(delay));
            balancer.signal(signal);
            let ended = balancer.finish();
            // Before the first line of its own, nobody can ask a program to do anything: the kernel ends it.
            let too_early = delay < 20 && ended.signal == Some(signal) && ended.stderr.is_empty();
            assert!(ended.code == Some(0) || too_early, "signal {signal} after {delay} ms: {ended}");
            assert_clean(&ended.stderr);
            assert!(!bed.is_occupied(), "signal {signal} after {delay} ms left it attached: {ended}");
        }
    });
}

#[test]
fn killed_at_any_moment_it_can_be_started_again() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        let program = program(bed, "xdp_lb");
        for delay in [0, 5, 10, 20, 40, 80, 160, 320] {
            let balancer = bed.start("lb", &[program.as_str(), "veth6"]);
            thread::sleep(Duration::from_millis(delay));
            balancer.signal(libc::SIGKILL);
            drop(balancer);
            let was_attached = bed.is_occupied();
            let mut balancer = bed.balance();
            assert_eq!(balancer.stderr().contains("replaced the program"), was_attached);
            bed.do_in("", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
            assert_eq!(balancer.interrupt().code, Some(0));
            assert_nothing_attached(bed);
        }
    });
}

#[test]
fn it_balances_on_and_cleans_up_when_nobody_reads_its_messages_any_more() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        let program = program(bed, "xdp_lb");
        let line = format!("{program} veth6 2>&1 | head -n 1; sleep 3600");
        let balancer = bed.start("lb", &["sh", "-c", &line]);
        until("the program is attached", || bed.is_occupied().then_some(()));
        // A backend that changes makes it say something more.
        bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "address", "de:ad:be:ef:00:33"]);
        bed.do_in("h3", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        balancer.signal(libc::SIGTERM);
        until("the program is detached", || (!bed.is_occupied()).then_some(()));
    });
}
