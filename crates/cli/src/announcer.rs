//! What a program in the foreground says: what it does, what may be wrong, what it has done. All on standard error.

use evenkeel_control::config::{Config, Protocol};
use evenkeel_control::daemon::Turn;
use evenkeel_control::operator::{Change, Judgement, Verdict};
use evenkeel_core::{Counters, Event, Reason};
use std::io::Write as _;

/// Says things under a program's name.
#[derive(Clone, Copy, Debug)]
pub struct Announcer(pub &'static str);

impl Announcer {
    /// Says a sentence.
    pub fn say(self, text: &str) {
        // Nobody may be reading any more; that is no reason to stop balancing.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.0);
    }

    /// Says what is balanced, and onto whom.
    pub fn services(self, config: &Config) {
        for service in &config.services {
            let protocol = match service.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            let port = if service.port == 0 { "any port".to_owned() } else { format!("port {}", service.port) };
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
    pub fn turn<E: std::error::Error>(self, turn: &Turn<E>) {
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
                error.to_string().lines().for_each(|line| self.say(line));
            }
            Turn::Judged(judgements) => {
                for Judgement { backend: (_, (address, port)), verdict, reason, .. } in judgements {
                    match verdict {
                        Verdict::Up => self.say(&format!("backend {address}:{port} is up: {reason}")),
                        Verdict::Down => self.say(&format!("warning: backend {address}:{port} is down: {reason}")),
                    }
                }
            }
            Turn::Answered | Turn::Tidied => {}
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
