//! `health = { ... }`: how it is found out whether a backend serves.

use super::fault::Faults;
use super::section::Section;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
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
}

/// What a backend is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether it takes a TCP connection.
    Tcp,
    /// Whether it answers an HTTP request as it should.
    Http(HttpCheck),
}

/// An HTTP/1.1 GET request, and the answer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The path, beginning with a slash.
    pub path: String,
    /// The `Host` header; without it, the backend's address.
    pub host: Option<String>,
    /// The status.
    pub status: u16,
    /// What the first 64 KiB of the body must hold.
    pub body: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { probe: None, interval: Duration::from_secs(1), timeout: Duration::from_millis(500), rise: 2, fall: 3 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Tcp,
    Http,
    None,
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
/// The longest path that is asked for, in bytes.
const LONGEST_PATH: usize = 2048;
/// The longest text that an answer's body may be asked to hold, in bytes; well below what of the body is read.
const LONGEST_TEXT: usize = 4096;
/// The longest.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn read(table: Spanned<DeTable<'_>>, faults: &mut Faults) -> Option<Health> {
    let default = Health::default();
    let mut section = Section::new("health", table, faults);
    let kind = section.required::<Kind>("kind");
    let interval = section.optional::<Time>("interval");
    let timeout = section.optional::<Time>("timeout");
    let rise = section.optional::<u32>("rise");
    let fall = section.optional::<u32>("fall");
    let path = section.optional::<String>("path");
    let host = section.optional::<String>("host");
    let status = section.optional::<u16>("status");
    let body = section.optional::<String>("body");

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
    let kind = kind.map(|kind| kind.value);
    if kind.is_some() && kind != Some(Kind::Http) {
        let spans = [
            ("path", path.as_ref().map(|path| &path.span)),
            ("host", host.as_ref().map(|host| &host.span)),
            ("status", status.as_ref().map(|status| &status.span)),
            ("body", body.as_ref().map(|body| &body.span)),
        ];
        for (name, span) in spans {
            if let Some(span) = span.cloned() {
                section.faults().add(span, format!("{name} is for kind = \"http\" only"));
            }
        }
    }
    if let Some(path) = &path
        && (!path.value.starts_with('/')
            || path.value.contains(|c: char| !c.is_ascii_graphic())
            || path.value.len() > LONGEST_PATH)
    {
        let message =
            format!("path begins with / and holds no spaces or control characters, at most {LONGEST_PATH} bytes");
        section.faults().add(path.span.clone(), message);
    }
    if let Some(body) = &body
        && (body.value.is_empty() || body.value.len() > LONGEST_TEXT)
    {
        section.faults().add(body.span.clone(), format!("body is a text of 1 to {LONGEST_TEXT} bytes"));
    }
    if let Some(host) = &host
        && (host.value.is_empty() || host.value.contains(|c: char| !c.is_ascii_graphic()))
    {
        section.faults().add(host.span.clone(), "host holds no spaces or control characters");
    }
    if let Some(status) = &status
        && !(100..=599).contains(&status.value)
    {
        section.faults().add(status.span.clone(), "an HTTP status is between 100 and 599");
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

    let probe = match kind? {
        Kind::None => None,
        Kind::Tcp => Some(Probe::Tcp),
        Kind::Http => Some(Probe::Http(HttpCheck {
            path: path.map_or_else(|| "/".to_owned(), |path| path.value),
            host: host.map(|host| host.value),
            status: status.map_or(200, |status| status.value),
            body: body.map(|body| body.value),
        })),
    };
    Some(Health {
        probe,
        interval: interval_value,
        timeout: timeout_value,
        rise: rise.map_or(default.rise, |count| count.value),
        fall: fall.map_or(default.fall, |count| count.value),
    })
}
