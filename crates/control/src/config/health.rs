//! `health = { ... }`: how it is found out whether a backend serves.

use super::address::{Address, unfit_for_checks};
use super::fault::Faults;
use super::probe::{self, Probe};
use super::protocol::Protocol;
use super::section::Section;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::net::IpAddr;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeTable;

/// The health check of a service's backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked; nothing: every backend is taken to serve.
    pub probe: Option<Probe>,
    /// Time between the beginnings of two checks of a backend; each comes up to a tenth of it earlier, at random.
    pub interval: Duration,
    /// How long an answer may take; at most the interval.
    pub timeout: Duration,
    /// Checks in a row that must succeed until a backend that is down is up.
    pub rise: u32,
    /// Checks in a row that must fail until a backend that is up is down.
    pub fall: u32,
    /// Where it is asked, if not where the backend listens.
    pub target: Target,
    /// The address that checks leave from; without it, the kernel's choice.
    pub source: Option<IpAddr>,
    /// What a backend that is new is taken for.
    pub initial: Initial,
}

/// Where somebody is asked, as far as that is not where he serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
}

/// What a backend that is new, by a start or by a reload, is taken for until its first good check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// One that serves.
    Up,
    /// One that does not, as long as others of its service do.
    #[default]
    Down,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            probe: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            target: Target::default(),
            source: None,
            initial: Initial::default(),
        }
    }
}

/// A time as people write it: 500ms, 1s, 2m 30s.
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| D::Error::custom(format!("a time is like 500ms, 1s or 2m, not \"{text}\"")))
    }
}

/// The shortest interval and timeout.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads the check of a service with this protocol.
pub(super) fn read(table: Spanned<DeTable<'_>>, of: Option<Protocol>, faults: &mut Faults) -> Option<Health> {
    let default = Health::default();
    let mut section = Section::new("health", table, faults);
    let probe = probe::read(&mut section, of);
    let interval = section.optional::<Time>("interval");
    let timeout = section.optional::<Time>("timeout");
    let rise = section.optional::<u32>("rise");
    let fall = section.optional::<u32>("fall");
    let target = read_target(&mut section);
    let source = read_address(&mut section, "source");
    let initial = section.optional::<Initial>("initial").map(|initial| initial.value);

    for (name, time) in [("interval", &interval), ("timeout", &timeout)] {
        if let Some(time) = time
            && !(SHORTEST..=LONGEST).contains(&time.value.0)
        {
            section.faults().add(time.span.clone(), format!("{name} must be between 10ms and 1h"));
        }
    }
    for (name, count) in [("rise", &rise), ("fall", &fall)] {
        if let Some(count) = count
            && !(1..=100).contains(&count.value)
        {
            section.faults().add(count.span.clone(), format!("{name} must be between 1 and 100"));
        }
    }
    let interval_value = interval.as_ref().map_or(default.interval, |time| time.value.0);
    // Left out, it follows the interval down.
    let timeout_value = timeout.as_ref().map_or(default.timeout.min(interval_value), |time| time.value.0);
    if let Some(timeout) = &timeout
        && timeout_value > interval_value
    {
        section.faults().add(timeout.span.clone(), "timeout must not be longer than interval");
    }
    section.end();
    Some(Health {
        probe: probe?,
        interval: interval_value,
        timeout: timeout_value,
        rise: rise.map_or(default.rise, |count| count.value),
        fall: fall.map_or(default.fall, |count| count.value),
        target,
        source,
        initial: initial.unwrap_or_default(),
    })
}

/// Reads where one backend is asked.
pub(super) fn read_own(table: Spanned<DeTable<'_>>, faults: &mut Faults) -> Target {
    let mut section = Section::new("health of a backend", table, faults);
    let target = read_target(&mut section);
    section.end();
    target
}

fn read_address(section: &mut Section<'_, '_>, key: &'static str) -> Option<IpAddr> {
    let address = section.optional::<Address>(key)?;
    if let Some(why) = unfit_for_checks(address.value.0) {
        section.faults().add(address.span, format!("{key}: {why}"));
    }
    Some(address.value.0)
}

fn read_target(section: &mut Section<'_, '_>) -> Target {
    let port = section.optional::<u16>("port");
    let address = read_address(section, "address");
    if let Some(port) = port.as_ref().filter(|port| port.value == 0) {
        section.faults().add(port.span.clone(), "port must be between 1 and 65535: it is asked there");
    }
    Target { address, port: port.map(|port| port.value) }
}
