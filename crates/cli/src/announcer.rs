//! What a program in the foreground says: what it does, what may be wrong, what it has done. All on standard error.

use evenkeel_control::config::{Config, Protocol};
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
