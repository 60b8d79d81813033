//! `idle = { ... }`: how long connections may be idle, by how far they have come.

use super::fault::Faults;
use super::health::Time;
use super::protocol::Protocol;
use super::section::Section;
use evenkeel_core::flow::IdleTimes;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeTable;

/// The shortest of all: less than the unit that time is kept in would be none.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);

/// A key of the table.
pub(super) struct IdleKey {
    pub(super) name: &'static str,
    /// Whose connections it is about.
    pub(super) protocol: Protocol,
    /// The longest time, in milliseconds.
    pub(super) longest: u32,
    field: fn(&mut IdleTimes) -> &mut u32,
}

const fn key(name: &'static str, protocol: Protocol, longest: u32, field: fn(&mut IdleTimes) -> &mut u32) -> IdleKey {
    IdleKey { name, protocol, longest, field }
}

/// All keys, in the order of a connection's life.
pub(super) const KEYS: [IdleKey; 8] = {
    use Protocol::{Tcp, Udp};
    const FINE: u32 = IdleTimes::LONGEST_FINE;
    const LONG: u32 = IdleTimes::LONGEST;
    [
        key("opening", Tcp, FINE, |times| &mut times.opening),
        key("answered", Tcp, FINE, |times| &mut times.answered),
        key("established", Tcp, LONG, |times| &mut times.established),
        key("half-closed", Tcp, LONG, |times| &mut times.half_closed),
        key("closing", Tcp, FINE, |times| &mut times.closing),
        key("udp-opening", Udp, FINE, |times| &mut times.udp_opening),
        key("udp-answered", Udp, FINE, |times| &mut times.udp_answered),
        key("udp-established", Udp, LONG, |times| &mut times.udp_established),
    ]
};

/// Reads the table of a service of this protocol, if that is known.
pub(super) fn read(table: Spanned<DeTable<'_>>, protocol: Option<Protocol>, faults: &mut Faults) -> IdleTimes {
    let mut section = Section::new("idle", table, faults);
    let mut times = IdleTimes::DEFAULT;
    for IdleKey { name, protocol: whose, longest, field } in &KEYS {
        let Some(time) = section.optional::<Time>(name) else { continue };
        if let Some(other) = protocol.filter(|protocol| protocol != whose) {
            let message = format!("{name} is for services of protocol = \"{whose}\", and this one's is \"{other}\"");
            section.faults().add(time.span, message);
            continue;
        }
        let longest = Duration::from_millis((*longest).into());
        if (SHORTEST..=longest).contains(&time.value.0) {
            *field(&mut times) = time.value.0.as_millis() as u32;
        } else {
            let bounds = format!("{} and {}", words(SHORTEST), words(longest));
            section.faults().add(time.span, format!("{name} must be between {bounds}"));
        }
    }
    section.end();
    times
}

/// A time as it is written in a file.
pub(super) fn words(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(time)
}

/// The default of a key, as it is written in a file.
#[cfg(test)]
pub(super) fn default_of(key: &IdleKey) -> String {
    words(Duration::from_millis((*(key.field)(&mut IdleTimes::DEFAULT.clone())).into())).to_string()
}
