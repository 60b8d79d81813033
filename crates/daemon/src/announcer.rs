//! What a program in the foreground says: what it does, what may be wrong, what it has done. All on standard error, and none
//! of it waits for whoever reads that.

use crate::messages::Messages;
use evenkeel_control::config::{Config, Protocol};
use evenkeel_control::daemon::Turn;
use evenkeel_control::operator::{Change, Condition, Judgement};
use evenkeel_core::{Counters, Event, Reason};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum LogFormat {
    /// For people: the program's name and a sentence.
    #[default]
    Text,
    /// For programs: a JSON object a line, with `time` (RFC 3339), `level` (`info` or `warning`), `program`, `message`.
    Json,
}

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
        match self.format {
            LogFormat::Text => format!("{}: {text}\n", self.name),
            LogFormat::Json => self.json(text, SystemTime::now()),
        }
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
                    port => format!("{}:{port}", backend.address),
                })
                .collect();
            self.say(&format!("{} {protocol} {port} -> {} (full NAT)", service.address, backends.join(", ")));
        }
    }

    /// Says what came of a turn of the daemon's that somebody may want to know of.
    pub fn turn(self, turn: &Turn) {
        match turn {
            Turn::Reloaded(Ok(changes)) if changes.is_empty() => {
                self.say("read the configuration again; nothing changes.")
            }
            Turn::Reloaded(Ok(changes)) => {
                for Change { service, what, moved_share, .. } in changes {
                    let share = moved_share * 100.0;
                    self.say(&format!("service \"{service}\": {what}; {share:.1} % of new connections go elsewhere."));
                }
            }
            Turn::Reloaded(Err(error)) => {
                self.say("the configuration that was in force still is, for:");
                error.lines().for_each(|line| self.say(line));
            }
            Turn::Judged(judgements) => {
                for Judgement { backend, condition, reason, .. } in judgements {
                    match condition {
                        Condition::Up => self.say(&format!("backend {backend} is up: {reason}")),
                        Condition::Down => self.say(&format!("warning: backend {backend} is down: {reason}")),
                    }
                }
            }
            Turn::Tidied(lines) => lines.iter().for_each(|line| self.say(line)),
            Turn::Answered => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

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
