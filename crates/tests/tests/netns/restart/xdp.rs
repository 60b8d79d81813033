//! What is left in the kernel, and pinned in the BPF file system, and what the next process makes of it: wherever the one
//! before was killed, whatever has become of the pins, and whatever the new one was told.

use super::{BOTH, CONNECTIONS, assert_nothing_missed, built, config, file, launch, start, stop};
use evenkeel_tests::testbed::{
    self, Load, Plane, Running, SERVICE_PORT, Servers, Testbed, assert_refused, in_network, repository, until,
};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const ROOT: &str = "/sys/fs/bpf/evenkeel";
/// The service, from outside of every namespace.
const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)), SERVICE_PORT);
const PINS: &str = "/sys/fs/bpf/evenkeel/veth6";
/// Where a set of names lies until its program is the one in force.
const NEXT: &str = "/sys/fs/bpf/evenkeel/veth6%next";
/// The maps that a new process takes over.
const TABLES: [&str; 7] = ["FLOWS", "BACKENDS", "SERVICES", "MAGLEV", "OURS", "COUNTERS", "TRAFFIC"];

/// What of a balancer is in the kernel, by the kernel's numbers, which are given once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InKernel {
    pub(super) program: u64,
    pub(super) tables: Vec<u64>,
}

impl InKernel {
    /// Nothing on DPDK, and where no program is attached.
    pub(super) fn of(bed: &Testbed) -> Option<Self> {
        let id = |map| pinned("show", map)["id"].as_u64().expect("a map has a number");
        let program = program(bed)?;
        Some(Self { program, tables: TABLES.map(id).to_vec() })
    }
}

/// The program on veth6.
fn program(bed: &Testbed) -> Option<u64> {
    if bed.plane == Plane::Dpdk {
        return None;
    }
    let link = bed.do_in("lb", &["ip", "-j", "-d", "link", "show", "dev", "veth6"]).stdout;
    serde_json::from_str::<Value>(&link).expect("ip -j writes JSON")[0]["xdp"]["prog"]["id"].as_u64()
}

/// Everything that was counted, as it lies in the kernel.
pub(super) fn counters() -> Value {
    pinned("dump", "COUNTERS")
}

fn pinned(what: &str, map: &str) -> Value {
    let path = Path::new(PINS).join(map).display().to_string();
    let ended = Running::start(Command::new("bpftool").args(["-j", "map", what, "pinned", &path])).finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    serde_json::from_str(&ended.stdout).expect("bpftool -j writes JSON")
}

/// No program, and no name.
#[track_caller]
pub(super) fn assert_nothing_left(bed: &Testbed) {
    assert_eq!(program(bed), None, "the program is still there");
    assert_no_names();
}

#[track_caller]
fn assert_no_names() {
    let left = || fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert!(!Path::new(ROOT).exists(), "left: {:?}", left());
}

/// The end that nothing can be done about, and what it had said until then.
#[track_caller]
fn kill(mut balancer: Running) -> String {
    balancer.signal(libc::SIGKILL);
    let ended = balancer.finish();
    assert_eq!(ended.signal, Some(libc::SIGKILL), "{ended}");
    ended.stderr
}

/// The next process, which must take over what was there.
#[track_caller]
fn take_over(bed: &Testbed, text: &str, options: &[&str]) -> Running {
    let before = program(bed).expect("there is something to take over");
    let balancer = start(bed, text, options);
    balancer.wait_for("took over from the evenkeel that was here before; its connections go on.");
    assert_ne!(program(bed), Some(before), "the program is the old one");
    balancer
}

fn scenario() -> testbed::Scenario {
    testbed::on(Plane::GenericXdp).needs(&["nsenter", "bpftool"])
}

#[test]
fn a_clean_end_leaves_nothing() {
    scenario().run(|bed| {
        let balancer = start(bed, &config(4096), &[]);
        assert!(Path::new(PINS).join("STATE").exists());
        let mode = fs::metadata(PINS).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "nobody else may look in");
        let second = launch(bed, &config(4096), &["--socket", "/run/second"]).finish();
        assert_refused(&second, 1, &["already runs on veth6"]);
        stop(balancer);
        assert_nothing_left(bed);
    });
}

#[test]
fn killed_and_started_again() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = start(bed, &config(4096), &[]);
        let load = Load::of_long_connections(CONNECTIONS);
        load.goes_on(BOTH);
        let before = InKernel::of(bed).expect("it balances");
        kill(balancer);
        load.goes_on(BOTH);
        let balancer = take_over(bed, &config(4096), &[]);
        assert_eq!(InKernel::of(bed).expect("it balances").tables, before.tables);
        load.goes_on(BOTH);
        load.assert_whole();
        let said = stop(balancer);
        assert!(said.contains("to-backend"), "{said}");
        assert_nothing_missed(&said);
        assert_nothing_left(bed);
    });
}

#[test]
fn killed_at_any_moment_of_a_start() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = start(bed, &config(4096), &["--keep"]);
        let load = Load::of_long_connections(CONNECTIONS);
        let tables = InKernel::of(bed).expect("it balances").tables;
        kill(balancer);
        for pause in [20, 100, 200, 300, 400, 500, 600, 800, 1000, 1300, 1600] {
            let balancer = launch(bed, &config(4096), &["--keep"]);
            thread::sleep(Duration::from_millis(pause));
            let said = kill(balancer);
            assert!(!said.contains("forgotten"), "killed after {pause} ms: {said}");
        }
        load.goes_on(BOTH);
        let mut balancer = take_over(bed, &config(4096), &["--keep"]);
        assert_eq!(InKernel::of(bed).expect("it balances").tables, tables);

        // After attaching, before the pins were where they belong.
        kill(balancer);
        fs::rename(PINS, NEXT).expect("names can be changed");
        balancer = take_over(bed, &config(4096), &["--keep"]);
        assert_eq!(InKernel::of(bed).expect("it balances").tables, tables);
        assert!(!Path::new(NEXT).exists());

        // And the pins are lost with their file system.
        kill(balancer);
        fs::remove_dir_all(PINS).expect("names can be removed");
        let balancer = take_over(bed, &config(4096), &["--keep"]);
        assert_eq!(InKernel::of(bed).expect("it balances").tables, tables);
        load.goes_on(BOTH);
        load.assert_whole();
        assert_nothing_missed(&stop(balancer));
    });
}

/// A start that is refused, in these words, costs nothing.
#[track_caller]
fn assert_costs_nothing(bed: &Testbed, load: &Load, text: &str, words: &[&str]) {
    let before = InKernel::of(bed);
    assert_refused(&launch(bed, text, &["--keep"]).finish(), 1, words);
    assert_eq!(InKernel::of(bed), before, "a start that was refused has changed something");
    load.goes_on(BOTH);
}

#[test]
fn backends_may_change_and_what_the_tables_were_made_for_may_not() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = start(bed, &config(4096), &["--keep"]);
        let load = Load::of_long_connections(CONNECTIONS);
        stop(balancer);
        let other_ports = config(4096).replace("[nat]", "[nat]\nports = \"2000-65535\"");
        let words = ["another value of [nat] (10.0.0.10 ports 1024-65535, now 10.0.0.10 ports 2000-65535)", "--fresh"];
        assert_costs_nothing(bed, &load, &other_ports, &words);

        let one_backend = file("[dataplane]\nmax-flows = 4096", "", &[(2, "")]);
        let balancer = take_over(bed, &one_backend, &["--keep"]);
        load.goes_on(BOTH);
        kill(balancer);
        let balancer = take_over(bed, &config(4096), &["--keep"]);
        load.goes_on(BOTH);
        load.assert_whole();
        assert_nothing_missed(&stop(balancer));
    });
}

#[test]
fn tables_of_another_layout_are_left_at_work() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = start(bed, &config(4096), &["--keep"]);
        let load = Load::of_long_connections(CONNECTIONS);
        stop(balancer);
        let state = pinned("dump", "STATE");
        let bytes = state[0]["value"].as_array().expect("bytes").iter();
        let bytes: Vec<_> = bytes.map(|byte| byte.as_str().expect("hexadecimal")).collect();
        let write = |bytes: &[&str]| {
            let path = Path::new(PINS).join("STATE").display().to_string();
            let words = [&["bpftool", "map", "update", "pinned", &path, "key", "0", "0", "0", "0", "value"], bytes];
            bed.do_in("", &words.concat());
        };
        // Its number comes first.
        write(&[&["0x63"], &bytes[1..]].concat());
        let words = ["tables of layout 99 and this version has layout ", "--fresh"];
        assert_costs_nothing(bed, &load, &config(4096), &words);
        write(&bytes);
        let balancer = take_over(bed, &config(4096), &["--keep"]);
        load.goes_on(BOTH);
        load.assert_whole();
        assert_nothing_missed(&stop(balancer));
    });
}

#[test]
fn in_native_mode_auto_stays_if_a_program_was_left_there() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let mut balancer = start(bed, &config(4096), &["--keep", "--xdp-mode", "native"]);
        let load = Load::of_long_connections(CONNECTIONS);
        for mode in ["native", "auto", "native"] {
            kill(balancer);
            balancer = take_over(bed, &config(4096), &["--keep", "--xdp-mode", mode]);
            balancer.wait_for("native XDP");
            load.goes_on(BOTH);
        }
        load.assert_whole();
        assert_nothing_missed(&stop(balancer));
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "xdpdrv", "off"]);
    });
}

/// Nobody was there before, so far as this process has said.
#[track_caller]
fn assert_has_found_nothing(balancer: &Running) {
    let said = balancer.stderr();
    assert!(!said.contains("took over") && !said.contains("forgotten"), "it took over what is over: {said}");
}

#[test]
fn pins_of_a_program_that_was_detached_are_stale() {
    scenario().run(|bed| {
        kill(start(bed, &config(4096), &[]));
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "xdpgeneric", "off"]);
        let balancer = start(bed, &config(4096), &["--keep"]);
        assert_has_found_nothing(&balancer);
        stop(balancer);

        // And those of an interface that is another one by now.
        for (script, argument) in [("testbed-teardown.sh", None), ("testbed-setup.sh", Some("ebpf"))] {
            let ended = Running::start(Command::new(repository().join("scripts").join(script)).args(argument)).finish();
            assert_eq!(ended.code, Some(0), "{script}: {ended}");
        }
        let mut balancer = launch(bed, &config(4096), &[]);
        until("it starts or does not", || {
            (balancer.has_ended() || balancer.stderr().contains(": ready on ")).then_some(())
        });
        // The kernel takes its time with what is left of the namespace.
        if balancer.has_ended() {
            assert!(balancer.stderr().contains("another network namespace"), "{}", balancer.stderr());
            fs::remove_dir_all(PINS).expect("names can be removed");
            balancer = start(bed, &config(4096), &[]);
        }
        assert_has_found_nothing(&balancer);
        stop(balancer);
        assert_no_names();
    });
}

/// Its tables are nobody's but its own. It has names only so that the kernel lets it work on when its process is killed.
#[test]
fn the_walkthroughs_program_has_names_for_what_it_needs_and_takes_those_of_what_it_replaces_away() {
    scenario().run(|bed| {
        stop(start(bed, &config(4096), &["--keep"]));
        assert!(Path::new(PINS).join("FLOWS").exists());
        let xdp_lb = || {
            let balancer = bed.start("", &in_network("lb", &[&built("xdp_lb"), "veth6"]));
            balancer.wait_for(": ready on ");
            balancer
        };
        let balancer = xdp_lb();
        balancer.wait_for("its connections are forgotten");
        let mut names: Vec<_> =
            fs::read_dir(PINS).expect("it has names").flatten().map(|name| name.file_name()).collect();
        names.sort();
        assert_eq!(names, ["STATE", "STATIONS", "program"]);

        let _servers = Servers::tcp(SERVICE_PORT);
        kill(balancer);
        // All of these are opened by a program without a process.
        let load = Load::of_long_connections(CONNECTIONS);
        load.goes_on(BOTH);
        load.assert_whole();
        let balancer = xdp_lb();
        balancer.wait_for("its connections are forgotten");
        stop(balancer);
        assert_nothing_left(bed);
    });
}

/// `ip netns exec` gives a command a /sys of its own, whose names go with it. Started in this way and killed, the program
/// still opens connections, and what it takes for that is gone when the next one ends.
#[test]
fn killed_under_ip_netns_exec_it_opens_connections_and_leaves_nothing_to_the_next() {
    scenario().run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let path = bed.config("evenkeel.toml", &config(4096)).display().to_string();
        let program = built("evenkeel");
        let words = [program.as_str(), "run", "--config", &path, "--interface", "veth6", "--xdp-mode", "generic"];
        let under_exec = || {
            let balancer = bed.start("lb", &words);
            balancer.wait_for(": ready on ");
            assert!(!balancer.stderr().contains("takes no new connections"), "{}", balancer.stderr());
            balancer
        };
        kill(under_exec());
        let load = Load::of_long_connections(CONNECTIONS);
        load.goes_on(BOTH);
        let balancer = under_exec();
        balancer.wait_for("took over from the evenkeel that was here before; its connections go on.");
        load.goes_on(BOTH);
        let held: Vec<_> = fs::read_dir(ROOT).expect("it is held").flatten().collect();
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(fs::read_dir(held[0].path()).expect("a directory").count(), 1, "the one before is forgotten");
        load.assert_whole();
        stop(balancer);
        assert_nothing_left(bed);
    });
}

/// Services that answer by resets need a station that others do not have. The program is exchanged over the same tables, and
/// a client notices nothing but the answer.
#[test]
fn a_reload_that_needs_more_of_the_program_exchanges_it_and_loses_nothing() {
    scenario().run(|bed| {
        let servers = Servers::tcp(SERVICE_PORT);
        let balancer = start(bed, &config(4096), &[]);
        let load = Load::start(CONNECTIONS);
        load.goes_on(BOTH);
        let before = InKernel::of(bed).expect("it balances");
        let resets = file("[dataplane]\nmax-flows = 4096", "all-down = \"reset\"", &[(2, ""), (3, "")]);
        bed.reload(&resets);
        let after = InKernel::of(bed).expect("it balances");
        assert_ne!(after.program, before.program, "the program is the old one");
        assert_eq!(after.tables, before.tables, "the tables are others");
        load.goes_on(BOTH);
        // One that needs no more than the program can do leaves it where it is.
        bed.reload(&config(4096));
        bed.reload(&resets);
        assert_eq!(InKernel::of(bed), Some(after));
        load.goes_on(BOTH);

        kill(balancer);
        load.goes_on(BOTH);
        let balancer = take_over(bed, &resets, &[]);
        load.goes_on(BOTH);
        load.assert_whole();
        drop((load, servers));
        bed.leave_nobody(&[&["drain", "web", "10.0.0.2"], &["drain", "web", "10.0.0.3"]]);
        let refused = TcpStream::connect_timeout(&SERVICE, Duration::from_secs(10)).expect_err("nobody takes it");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let said = stop(balancer);
        assert_nothing_missed(&said);
        assert_nothing_left(bed);
    });
}
