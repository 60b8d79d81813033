//! What a program in the foreground says: what it does, what may be wrong, what it has done. All on standard error, and none
//! of it waits for whoever reads that.

use crate::messages::Messages;
use crate::notes;
use evenkeel_control::api::SocketError;
use evenkeel_control::config::{Config, Protocol};
use evenkeel_control::daemon::Turn;
use evenkeel_control::operator::Note;
use evenkeel_core::{Counters, Event, Reason};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum LogFormat {
    /// For people: the time (RFC 3339, in UTC) once the balancer is at work, the program's name, a sentence. systemd's journal
    /// has the time already, and gets none.
    #[default]
    Text,
    /// For programs: a JSON object a line, with `time` (RFC 3339), `level` (`info` or `warning`), `program`, `message`.
    Json,
}

/// Whether what is said is a log: the program is at work, and is not only asked something.
static IS_LOG: AtomicBool = AtomicBool::new(false);

/// For how long last words wait for a reader.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Says things under a program's name.
#[derive(Clone, Copy, Debug)]
pub struct Announcer {
    name: &'static str,
    format: LogFormat,
}

impl Announcer {
    /// Speaks for this program. The first one of a process begins the thread that writes what is said, which runs where the
    /// calling thread may.
    pub fn new(name: &'static str, format: LogFormat) -> Self {
        Messages::to_stderr();
        Self { name, format }
    }

    /// From now on what this process says is the log of a balancer at work, and carries the time.
    pub fn begin_log(self) {
        IS_LOG.store(!goes_to_the_journal(), Ordering::Relaxed);
    }

    /// The program's name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Says a sentence. One that begins with "warning: " is one. Does not wait until it is written, and if nobody has read for
    /// a long while, it may be lost; then it is said how many were.
    pub fn say(self, text: &str) {
        let line = self.line(text);
        match Messages::to_stderr() {
            Some(messages) => messages.leave(line, move |lost| {
                self.line(&format!("warning: {lost} messages are not here, because nobody was reading."))
            }),
            // In one piece, so that lines of several threads stay whole. Nobody may be reading any more; that is no reason
            // to stop balancing.
            None => drop(std::io::stderr().write_all(line.as_bytes())),
        }
    }

    /// From now on panics of the whole process are said like everything else: written by whoever panics, they would have it wait
    /// for a reader.
    pub fn say_panics(self) {
        std::panic::set_hook(Box::new(move |panic| {
            self.say(&format!("warning: this is a fault of evenkeel's: {panic}"));
            // Nobody else's panic ends the process, so that there were no time to write it.
            if std::thread::current().name() == Some("main") {
                self.finish();
            }
        }));
    }

    /// Waits until what was said is written, or for a second if nobody reads it. To be called before the process ends.
    pub fn finish(self) {
        if let Some(messages) = Messages::to_stderr() {
            messages.flush(LAST_WORDS);
        }
    }

    fn line(self, text: &str) -> String {
        let now = SystemTime::now();
        match self.format {
            LogFormat::Text => self.text(text, IS_LOG.load(Ordering::Relaxed).then_some(now)),
            LogFormat::Json => self.json(text, now),
        }
    }

    fn text(self, text: &str, now: Option<SystemTime>) -> String {
        let time = now.map_or_else(String::new, |now| format!("{} ", humantime::format_rfc3339_millis(now)));
        format!("{time}{}: {text}\n", self.name)
    }

    fn json(self, text: &str, now: SystemTime) -> String {
        let (level, message) = match text.strip_prefix("warning: ") {
            Some(message) => ("warning", message),
            None => ("info", text),
        };
        let time = humantime::format_rfc3339_millis(now).to_string();
        format!("{}\n", serde_json::json!({ "time": time, "level": level, "program": self.name, "message": message }))
    }

    /// Says what is balanced, and onto whom.
    pub fn services(self, config: &Config) {
        for service in &config.services {
            let protocol = match service.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            let port = match (service.port, service.last_port) {
                (0, _) => "any port".to_owned(),
                (first, Some(last)) => format!("ports {first}-{last}"),
                (port, None) => format!("port {port}"),
            };
            let backends: Vec<_> = service
                .backends
                .iter()
                .map(|backend| match backend.port {
                    0 => backend.address.to_string(),
                    port => SocketAddr::new(backend.address, port).to_string(),
                })
                .collect();
            self.say(&format!("{} {protocol} {port} -> {} (full NAT)", service.address, backends.join(", ")));
        }
    }

    /// Says what came of a turn of the daemon's, beside its notes.
    pub fn turn(self, turn: &Turn) {
        if let Turn::Tidied(lines) = turn {
            lines.iter().for_each(|line| self.say(line));
        }
    }

    /// Says that of so many next hops it was not said where they are.
    pub fn many_hops(self, unsaid: usize) {
        self.say(&format!(
            "and so on, for {unsaid} more; `evenkeel status` says of each backend whether it is reached."
        ));
    }

    /// Says what has happened.
    pub fn notes(self, notes: &[Note]) {
        notes.iter().flat_map(notes::sentences).for_each(|sentence| self.say(&sentence));
    }

    /// Says so if nobody can ask this program anything, which does not keep it from its work.
    pub fn unasked(self, answers: Result<(), SocketError>) {
        if let Err(error) = answers {
            self.say(&format!("note: `evenkeel status` and its like do not reach this program: {error}"));
        }
    }

    /// What was counted; reasons that never occurred are left out.
    pub fn totals(self, counters: &Counters) {
        for (reason, count) in Reason::ALL.iter().zip(counters.verdicts).filter(|(_, count)| *count > 0) {
            self.say(&format!("{count:>12} {} {}", reason.verdict().name(), reason.name()));
        }
        for (event, count) in Event::ALL.iter().zip(counters.events).filter(|(_, count)| *count > 0) {
            self.say(&format!("{count:>12} event {}", event.name()));
        }
    }
}

/// Whether standard error is systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`: device and inode of its stream).
fn goes_to_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let is = std::fs::metadata("/proc/self/fd/2").map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    is.is_ok_and(|is| is == stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_line_for_people_begins_with_the_time_once_there_is_a_log() {
        let announcer = Announcer::new("evenkeel", LogFormat::Text);
        let now = UNIX_EPOCH + Duration::from_millis(1_795_563_914_250);
        assert_eq!(announcer.text("ready", Some(now)), "2026-11-24T23:45:14.250Z evenkeel: ready\n");
        assert_eq!(announcer.text("no such file", None), "evenkeel: no such file\n");
    }

    #[test]
    fn a_line_of_json_says_when_how_bad_who_and_what() {
        let announcer = Announcer::new("evenkeel", LogFormat::Json);
        let now = UNIX_EPOCH + Duration::from_millis(1_795_563_914_250);
        let read = |text: &str| -> serde_json::Value {
            let line = announcer.json(text, now);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            serde_json::from_str(&line).expect("it is JSON")
        };
        let warning = read("warning: backend \"x\" is\ndown");
        let expected = serde_json::json!({
            "time": "2026-11-24T23:45:14.250Z", "level": "warning", "program": "evenkeel", "message": "backend \"x\" is\ndown"
        });
        assert_eq!(warning, expected);
        assert_eq!(read("ready")["level"], "info");
    }
}
