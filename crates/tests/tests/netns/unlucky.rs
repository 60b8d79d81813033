//! An operator's unlucky hour: whatever happens to the host, to the file, to the log and to the process, clients are served, nothing
//! that was open is lost, and the log stays one that can be read. The long form, ten minutes of it: `EVENKEEL_TEST_MINUTES=10`.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{
    Backend, Load, Plane, Running, SERVICE_PORT, Servers, TAP, Testbed, connect_tap, file, in_network, is_up,
    long_form, note, repository, until,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

on_every_plane! {
    an_unlucky_hour["python3", "nsenter", "cc", "mount"],
    descriptors_that_run_out_cost_no_connection["python3", "prlimit"],
}

const BOTH: &[&str] = &["h2", "h3"];
const CONNECTIONS: usize = 10;
/// Reloads of the whole hour, in its short form.
const RELOADS: usize = 500;
/// And of each round of the long one.
const RELOADS_A_ROUND: usize = 25;
/// What the log of an hour may have, in lines.
const MOST_SAID: usize = 1000;
/// And of each round of a longer one: not many more than there are reloads and signals.
const MOST_SAID_A_ROUND: usize = 100;

const CHECKS: &str = "health = { kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\", rise = 1, fall = 3 }";

/// What is balanced; `turn` makes one file unlike the one before.
fn text(turn: usize) -> String {
    let weight = format!(", weight = {}", 10 + turn % 2);
    file("[dataplane]\nmax-flows = 4096", CHECKS, &[(2, &weight), (3, ", weight = 10")])
}

/// Turns the clock that tells the date back by ten years, for the programs that load it, as long as a file is there.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int outcome = syscall(SYS_clock_gettime, clock, now);
    const char *flag = getenv("UNLUCKY_CLOCK");
    if (outcome == 0 && clock == CLOCK_REALTIME && flag && access(flag, F_OK) == 0) now->tv_sec -= 315360000;
    return outcome;
}
"#;

/// The hour's stage.
struct Hour<'a> {
    bed: &'a Testbed,
    /// The clock is wrong while this file is there.
    clock: PathBuf,
    library: PathBuf,
    /// Where the balancer on DPDK keeps connections, on a file system of its own, which is small.
    state: PathBuf,
    /// The interface's name by now.
    interface: String,
    reloads: usize,
    said: Vec<String>,
}

impl<'a> Hour<'a> {
    fn new(bed: &'a Testbed) -> Self {
        let source = bed.config("clock.c", CLOCK);
        let library = bed.work.join("clock.so");
        let compile = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compile.expect("cc starts").success());
        let small = bed.work.join("small");
        fs::create_dir_all(&small).expect("there is room");
        bed.do_in("", &["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "small", &small.display().to_string()]);
        let interface = if bed.plane == Plane::Dpdk { "tapdpdk" } else { "veth6" }.to_owned();
        let (clock, state) = (bed.work.join("clock-is-wrong"), small.join("state"));
        Self { bed, clock, library, state, interface, reloads: 0, said: Vec::new() }
    }

    /// The balancer, with these words of the shell before it.
    fn launch(&self, before: &str) -> Running {
        let bed = self.bed;
        let path = bed.config("evenkeel.toml", &text(self.reloads)).display().to_string();
        let built = |name: &str| repository().join("build").join(name).display().to_string();
        let state = self.state.display().to_string();
        let words = match bed.plane {
            Plane::Dpdk => {
                let ours = ["--", "--config", &path, "--state", &state, "--keep"].map(str::to_owned);
                [&[built("evenkeel-dpdk")], bed.eal(TAP).as_slice(), &ours].concat()
            }
            plane => {
                let mode = plane.xdp_mode().to_string();
                let program = built("evenkeel");
                let words = ["run", "--config", &path, "--interface", &self.interface, "--xdp-mode", &mode, "--keep"];
                in_network("lb", &[&[program.as_str()], &words[..]].concat())
            }
        };
        let line = format!(
            "export LD_PRELOAD={} UNLUCKY_CLOCK={}; {before} exec {}",
            self.library.display(),
            self.clock.display(),
            words.join(" ")
        );
        bed.start("", &["sh", "-c", &line])
    }

    fn start(&self) -> Running {
        let balancer = self.launch("");
        balancer.wait_for(": ready on ");
        self.connect();
        for backend in ["10.0.0.2", "10.0.0.3"] {
            balancer.wait_for(&format!("backend {backend} is at "));
        }
        balancer
    }

    fn connect(&self) {
        if self.bed.plane == Plane::Dpdk {
            connect_tap();
        }
    }

    /// `ip` in the balancer's namespace.
    fn ip(&self, words: &str) {
        let words: Vec<_> = ["ip"].into_iter().chain(words.split(' ')).collect();
        self.bed.do_in(self.bed.plane.namespace(), &words);
    }

    fn link(&self, change: &str) {
        self.ip(&format!("link set dev {} {change}", self.interface));
    }

    /// Has another file read so many times.
    fn reload(&mut self, times: usize) {
        for _ in 0..times {
            self.reloads += 1;
            self.bed.reload(&text(self.reloads));
        }
    }

    /// Old connections carry on, new ones come about, commands are answered, and both backends are up.
    #[track_caller]
    fn is_well(&self, what: &str, balancer: &mut Running, load: &Load) {
        // So that a failure tells where.
        println!("{what}");
        assert!(!balancer.has_ended(), "{what}: {}", balancer.finish());
        load.goes_on(BOTH);
        until(what, || {
            let backends = self.bed.backends();
            (backends.len() == 2 && backends.iter().all(is_up)).then_some(())
        });
        // Some that were under way meanwhile may have waited for too long.
        until(what, || (load.next(20).failed() == 0).then_some(()));
        load.assert_lost_only("nobody");
    }

    /// Takes down what a balancer has said.
    fn note(&mut self, said: &str) {
        self.said.extend(said.lines().map(str::to_owned));
    }
}

fn an_unlucky_hour(bed: &Testbed) {
    let mut hour = Hour::new(bed);
    let is_xdp = bed.plane != Plane::Dpdk;
    let _servers = Servers::tcp(SERVICE_PORT);
    let mut balancer = hour.start();
    if is_xdp {
        // Or others learn only after a while where an interface with another Ethernet address is.
        bed.do_in("lb", &["sysctl", "-q", "-w", "net.ipv4.conf.all.arp_notify=1"]);
    }
    let load = Load::start(CONNECTIONS);
    hour.is_well("at the beginning", &mut balancer, &load);

    let begun = Instant::now();
    let mut round = 0;
    while round == 0 || begun.elapsed() < long_form().unwrap_or_default() {
        for _ in 0..3 {
            hour.link("down");
            thread::sleep(Duration::from_millis(200));
            hour.link("up");
            hour.connect();
        }
        hour.is_well("the link goes down and up", &mut balancer, &load);

        if is_xdp {
            let other = if round % 2 == 0 { "uplink" } else { "veth6" };
            hour.link("down");
            hour.link(&format!("name {other}"));
            hour.interface = other.to_owned();
            hour.link("up");
            hour.is_well("the interface has another name", &mut balancer, &load);

            // While it is up, its kernel would refuse what comes before the program knows.
            hour.link("down");
            hour.link(&format!("address de:ad:be:ef:00:{:02x}", 0x20 + round % 100));
            balancer.wait_for_times("has another Ethernet address now", round + 1);
            hour.link("up");
            hour.is_well("it has another Ethernet address", &mut balancer, &load);
        }
        for mtu in [1400, 1500] {
            hour.link(&format!("mtu {mtu}"));
        }
        hour.is_well("it has another MTU", &mut balancer, &load);

        if is_xdp {
            for _ in 0..5 {
                hour.ip(&format!("neighbour flush dev {}", hour.interface));
            }
            hour.is_well("neighbours are forgotten", &mut balancer, &load);

            for net in ["10.0.0.2/32", "10.0.0.0/25"] {
                hour.ip(&format!("route add {net} dev {}", hour.interface));
            }
            hour.is_well("there are other routes", &mut balancer, &load);
            for net in ["10.0.0.2/32", "10.0.0.0/25"] {
                hour.ip(&format!("route del {net} dev {}", hour.interface));
            }
            hour.is_well("there are the routes of before", &mut balancer, &load);

            foreign_program(&hour);
            hour.is_well("somebody would attach another program", &mut balancer, &load);
        }

        fs::write(&hour.clock, "").expect("there is room");
        hour.reload(2);
        hour.is_well("the clock was set back", &mut balancer, &load);
        fs::remove_file(&hour.clock).expect("it is there");
        hour.is_well("the clock was set right", &mut balancer, &load);

        hour.reload(if long_form().is_some() { RELOADS_A_ROUND } else { RELOADS / 2 });
        hour.is_well("the file was read again and again", &mut balancer, &load);
        // Which of the two it is that a signal finds does not matter.
        for _ in 0..20 {
            balancer.signal(libc::SIGHUP);
        }
        hour.is_well("there were twenty signals", &mut balancer, &load);
        round += 1;
    }

    if is_xdp {
        // The names of tables are gone, and with them what a change of programs needs: it is refused, and costs nothing.
        bed.do_in("", &["umount", "--lazy", "/sys/fs/bpf"]);
        hour.is_well("the BPF file system was unmounted", &mut balancer, &load);
        let resets = text(hour.reloads).replace("protocol =", "all-down = \"reset\"\nprotocol =");
        bed.rewrite(&resets);
        let refused = bed.evenkeel(&["reload"]).finish();
        assert_ne!(refused.code, Some(0), "{refused}");
        hour.reload(1);
        hour.is_well("a reload was refused", &mut balancer, &load);

        balancer.signal(libc::SIGKILL);
        let ended = balancer.finish();
        hour.note(&ended.stderr);
        load.goes_on(BOTH);
    } else {
        // Room for a connection or two. What was kept before is not half overwritten, since it is not there any more.
        let filler = hour.state.with_file_name("filler");
        let _ = fs::write(&filler, vec![0; 8 << 20]);
        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains("No space left"), "{ended}");
        hour.note(&ended.stderr);
        let left: Vec<_> = fs::read_dir(filler.parent().expect("it is in a directory")).expect("it is there").collect();
        assert_eq!(left.len(), 1, "nothing but the filler is left: {left:?}");
        fs::remove_file(&filler).expect("it is there");
    }
    bed.wait_for_the_dead();
    note(&format!("{:?}: {round} rounds, {} reloads, {} lines said", bed.plane, hour.reloads, hour.said.len()));
    assert!(
        hour.said.len() < MOST_SAID.max(MOST_SAID_A_ROUND * round),
        "{} lines:\n{}",
        hour.said.len(),
        hour.said.join("\n")
    );

    // A pipe that nobody reads, and more to say than it holds.
    let pipe = bed.work.join("log").display().to_string();
    let mut balancer = hour.launch(&format!("mkfifo {pipe}; exec 3<>{pipe}; exec 2>&3;"));
    until("it is answered", || (bed.evenkeel(&["status"]).finish().code == Some(0)).then_some(()));
    hour.connect();
    let old = load;
    // On DPDK everything was lost with the file.
    let new = Load::start(CONNECTIONS);
    let load = if is_xdp { &old } else { &new };
    hour.is_well("after the end", &mut balancer, load);
    hour.reload(RELOADS / 2);
    let wrong = text(hour.reloads).replace("weight", "wait");
    bed.rewrite(&wrong);
    for _ in 0..300 {
        assert_eq!(bed.evenkeel(&["reload"]).finish().code, Some(1));
    }
    hour.is_well("nobody reads the log", &mut balancer, load);
    assert_holds_no_more_than_at_first(&balancer);
    balancer.signal(libc::SIGTERM);
    assert_eq!(balancer.finish().code, Some(0));
}

/// Descriptors of a balancer that has read its file hundreds of times.
fn assert_holds_no_more_than_at_first(balancer: &Running) {
    let open = fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("it runs").count();
    assert!(open < 150, "{open} descriptors");
}

/// Somebody else's program is refused by the kernel as long as nobody insists.
fn foreign_program(hour: &Hour<'_>) {
    let bed = hour.bed;
    let object = bed.work.join("pass.o");
    let line = format!("source '{}'; xdp_pass_object", repository().join("scripts/lib/xdp-pass.sh").display());
    let bytes = Command::new("bash").args(["-c", &line]).output().expect("bash starts").stdout;
    fs::write(&object, bytes).expect("there is room");
    for mode in ["xdpgeneric", "xdpdrv"] {
        let words = ["ip", "link", "set", "dev", &hour.interface, mode, "object"];
        let object = object.display().to_string();
        let ended = bed.start("lb", &[&words[..], &[&object, "section", "xdp.frags"]].concat()).finish();
        assert_ne!(ended.code, Some(0), "{ended}");
    }
}

/// Neither tables nor questions nor checks can be had for a while: connections go on, and afterwards everything is as it should be.
fn descriptors_that_run_out_cost_no_connection(bed: &Testbed) {
    let (_h2, mut h3) = (Backend::start(bed, "h2"), Backend::start(bed, "h3"));
    let mut balancer = bed.balance_config(&text(0));
    until("both backends are up", || bed.backends().iter().all(is_up).then_some(()));
    let load = Load::start(CONNECTIONS);
    load.goes_on(BOTH);
    let id = balancer.id().to_string();
    let allow = |most: usize| {
        bed.do_in("", &["prlimit", "--pid", &id, &format!("--nofile={most}:4096")]);
    };
    let unused = || (0..).find(|number| !Path::new(&format!("/proc/{id}/fd/{number}")).exists()).expect("there is one");
    // A check has one now and then.
    let free = || {
        let looks = (0..200).map(|_| {
            thread::sleep(Duration::from_millis(2));
            unused()
        });
        looks.min().expect("there were some")
    };

    // One at a time: enough for a check, not for a table.
    allow(free() + 1);
    h3.kill();
    balancer.wait_for("backend 10.0.0.3:8080 is down");
    if bed.plane != Plane::Dpdk {
        balancer.wait_for("what is in force stays");
    }
    load.goes_on(&["h2"]);

    allow(free());
    let mut waiting = bed.evenkeel(&["status"]);
    balancer.wait_for("connections to the API or for metrics cannot be taken");
    thread::sleep(Duration::from_secs(2));
    load.goes_on(&["h2"]);
    assert!(!balancer.has_ended(), "{}", balancer.finish());

    allow(1024);
    assert_eq!(waiting.finish().code, Some(0), "who has waited is answered");
    until("nobody new is sent to h3", || (load.next(40).failed() == 0).then_some(()));
    load.next(40).assert_on(&["h2"]);
    balancer.wait_for("connections to the API and for metrics are taken again");
    if bed.plane != Plane::Dpdk {
        balancer.wait_for("the tables can be changed again");
    }
    load.assert_lost_only("h3");
    // An order to stop needs none.
    allow(free());
    assert_eq!(balancer.interrupt().code, Some(0));
    assert!(!bed.is_occupied(), "nothing is left at work");
}
