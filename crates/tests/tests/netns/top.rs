//! `evenkeel top` as a user sees it, in a terminal of tmux's: traffic shows as rates, keys do what they say, a balancer that
//! goes and comes back is waited for, and the terminal is as it was afterwards, however it ended.

use evenkeel_tests::scenarios;
use evenkeel_tests::testbed::{Ended, Running, Servers, Testbed, repository, until};
use regex::Regex;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

scenarios! {
    on_generic_xdp, testbed::on(Plane::GenericXdp),
    what_it_says_without_a_terminal[],
    traffic_shows_and_keys_do_what_they_say["tmux"],
    a_balancer_that_goes_and_comes_back_is_waited_for["tmux"],
    however_it_ends_the_terminal_is_as_it_was["tmux", "stty", "pgrep"],
}

scenarios! {
    on_dpdk, testbed::on(Plane::Dpdk),
    what_it_says_without_a_terminal[],
    traffic_shows_and_keys_do_what_they_say["tmux"],
    a_balancer_that_goes_and_comes_back_is_waited_for["tmux"],
}

/// One service with traffic, and one whose only backend takes no new flow.
const CONFIG: &str = r#"
[dataplane]
max-flows = 4096
[nat]
addresses = ["10.0.0.10"]
[[service]]
name = "echo"
address = "10.0.0.10"
port = 9000
protocol = "udp"
backends = [{ address = "10.0.0.2", port = 9000 }, { address = "10.0.0.3", port = 9000 }]
[[service]]
name = "empty"
address = "10.0.0.10"
port = 9001
protocol = "udp"
backends = [{ address = "10.0.0.2", port = 9001, drain = true }]
"#;

/// Datagrams to both services, some times a second, and now and then from another port, for as long as the test lives.
fn make_traffic() -> Servers {
    let servers = Servers::udp(9000);
    thread::spawn(|| {
        loop {
            let here = UdpSocket::bind(("0.0.0.0", 0)).expect("there is a port");
            for _ in 0..10 {
                for port in [9000, 9001] {
                    // Nobody may be there for a while.
                    let _ = here.send_to(&[b'x'; 200], ("10.0.0.10", port));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    servers
}

fn stop(bed: &Testbed, mut balancer: Running) {
    balancer.signal(libc::SIGTERM);
    balancer.finish();
    bed.wait_for_the_dead();
}

/// A line that matches.
fn line(pattern: &str) -> Regex {
    Regex::new(&format!("(?m){pattern}")).expect("a regular expression")
}

/// A terminal of 80 by 24, in which a shell runs.
struct Terminal<'b> {
    bed: &'b Testbed,
    socket: String,
}

impl<'b> Terminal<'b> {
    fn open(bed: &'b Testbed) -> Self {
        let terminal = Self { bed, socket: bed.work.join("tmux").display().to_string() };
        let shell = "env PS1='prompt ' bash --norc --noprofile";
        terminal.tmux(&["new-session", "-d", "-s", "top", "-x", "80", "-y", "24", shell]);
        terminal
    }

    /// tmux is told what it shall be by nobody but us.
    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        let ended = Running::start(tmux.args(["-S", &self.socket, "-f", "/dev/null"]).args(words)).finish();
        assert_eq!(ended.code, Some(0), "tmux {words:?}: {ended}");
        ended.stdout
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "top"])
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "top"], keys].concat());
    }

    fn resize(&self, width: &str, height: &str) {
        self.tmux(&["resize-window", "-t", "top", "-x", width, "-y", height]);
    }

    /// Waits until a line of the screen matches, or none does.
    #[track_caller]
    fn waits(&self, what: &str, pattern: &str, shows: bool) {
        let pattern = line(pattern);
        let mut last = String::new();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(what, || {
                last = self.screen();
                (pattern.is_match(&last) == shows).then_some(())
            });
        }));
        assert!(done.is_ok(), "{what}: not in time; the screen is\n{last}");
    }

    #[track_caller]
    fn shows(&self, what: &str, pattern: &str) {
        self.waits(what, pattern, true);
    }

    #[track_caller]
    fn shows_not(&self, what: &str, pattern: &str) {
        self.waits(what, pattern, false);
    }

    /// The file that the terminal's settings are written to, before or after.
    fn settings(&self, when: &str) -> PathBuf {
        self.bed.work.join(when)
    }

    /// What follows at the shell's prompt is the terminal's settings, and how the program ended.
    #[track_caller]
    fn start_top(&self) {
        let [before, after] = ["before", "after"].map(|when| self.settings(when).display().to_string());
        let top = format!("{} top", repository().join("build/evenkeel").display());
        self.keys(&[&format!("clear; stty -g >{before}; {top}; echo ended with $?; stty -g >{after}"), "Enter"]);
        self.shows("the screen is there", "^evenkeel .* on (xdp|dpdk), up ");
    }

    /// It has ended well, and left the terminal as it was.
    #[track_caller]
    fn assert_ended(&self) {
        self.shows("it ends", "^ended with 0");
        let settings = |when| fs::read_to_string(self.settings(when)).unwrap_or_default();
        until("the settings are read", || (!settings("after").is_empty()).then_some(()));
        assert_eq!(settings("before"), settings("after"), "the terminal's settings are others");
        let screen = self.tmux(&["display-message", "-p", "-t", "top", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(screen.trim(), "0 1", "the screen or the cursor was not given back");
        fs::remove_file(self.settings("after")).expect("it was written");
    }

    /// The process that the shell has started.
    fn running(&self) -> libc::pid_t {
        let shell = self.tmux(&["display-message", "-p", "-t", "top", "#{pane_pid}"]);
        let child = self.bed.do_in("", &["pgrep", "-P", shell.trim()]).stdout;
        child.trim().parse().expect("the shell has one child")
    }
}

#[track_caller]
fn assert_says(ended: &Ended, code: i32, pattern: &str) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.code == Some(code) && line(pattern).is_match(&said), "not {code} and '{pattern}': {ended}");
}

fn what_it_says_without_a_terminal(bed: &Testbed) {
    let _traffic = make_traffic();
    let _balancer = bed.balance_config(CONFIG);
    let top = |words: &[&str]| bed.evenkeel(words).finish();
    assert_says(&top(&["top"]), 2, "needs a terminal");
    assert_says(&top(&["top", "--interval", "0"]), 2, "interval");
    assert_says(&top(&["--socket", "/run/nobody", "top", "--once"]), 1, "is it running");
    until("traffic is counted", || bed.told(&["counters"]).contains("no-backend").then_some(()));
    let once = top(&["top", "--once"]);
    assert_says(&once, 0, r"10\.0\.0\.2:9000 +up +1 +[0-9]+ +[0-9.]+");
    assert_says(&once, 0, "^no-backend +drop ");
}

fn traffic_shows_and_keys_do_what_they_say(bed: &Testbed) {
    let _traffic = make_traffic();
    let _balancer = bed.balance_config(CONFIG);
    let terminal = Terminal::open(bed);
    terminal.start_top();
    let rates = r"^ 10\.0\.0\.[23]:9000 +up +1 +[0-9]+ +[1-9][0-9.]*k? .*[▁▂▃▄▅▆▇█]";
    terminal.shows("traffic shows", rates);
    terminal.shows("drops show", "^no-backend +drop +[0-9]+ +[0-9.]+");
    terminal.shows("all of it shows", r"connections [1-9][0-9]*  new [0-9.]+/s  packets [0-9.]+k?/s");
    terminal.shows("a draining backend shows", r"^ 10\.0\.0\.2:9001 +draining");

    terminal.keys(&["d"]);
    terminal.shows_not("only drops show", "^to-backend");
    terminal.keys(&["w"]);
    terminal.shows("reasons show", r"^ 10\.0\.0\.2:9001 +draining .* drained by the");
    terminal.keys(&["w", "d", "s"]);
    terminal.shows("the order changes", "sort: packets");
    terminal.keys(&["?"]);
    terminal.shows("help shows", r"^q, Esc, Ctrl-C +quit");
    terminal.keys(&["Escape"]);
    terminal.shows("help goes", "^SERVICE, BACKEND");
    terminal.keys(&["p"]);
    terminal.shows("it pauses", "^PAUSED");
    terminal.keys(&["p"]);
    terminal.shows_not("it goes on", "^PAUSED");

    terminal.resize("39", "9");
    terminal.shows("it says that this is too small", "too small: 39x9");
    terminal.resize("40", "10");
    terminal.shows("it is shown small", r"^ 10\.0\.0\.2:9000 +up +[0-9.]+");
    terminal.resize("200", "50");
    terminal.shows("it is shown large", r"udp 10\.0\.0\.10:9000 fullnat");
}

fn a_balancer_that_goes_and_comes_back_is_waited_for(bed: &Testbed) {
    let _traffic = make_traffic();
    let balancer = bed.balance_config(CONFIG);
    let terminal = Terminal::open(bed);
    terminal.start_top();
    terminal.shows("traffic shows", r"^ 10\.0\.0\.[23]:9000 +up +1 +[0-9]+ +[1-9]");
    stop(bed, balancer);
    terminal.shows("it says that nobody answers", "^NO ANSWER for [0-9]+ s, trying again");
    let _balancer = bed.balance_config(CONFIG);
    terminal.shows_not("it finds the balancer again", "^NO ANSWER");
    terminal.shows("rates are there again", r"^ 10\.0\.0\.[23]:9000 +up +1 +[0-9]+ +[1-9]");
    let screen = terminal.screen();
    assert!(!line(" -[0-9]").is_match(&screen), "a rate is negative: {screen}");
}

fn however_it_ends_the_terminal_is_as_it_was(bed: &Testbed) {
    let _balancer = bed.balance_config(CONFIG);
    let terminal = Terminal::open(bed);
    for key in ["q", "C-c", "Escape"] {
        terminal.start_top();
        terminal.keys(&[key]);
        terminal.assert_ended();
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        terminal.start_top();
        // SAFETY: a number of a process, and no memory.
        unsafe { libc::kill(terminal.running(), signal) };
        terminal.assert_ended();
    }
}
