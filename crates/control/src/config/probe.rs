//! What a backend is asked, by the keys of `health` that say so.

use super::bytes::Bytes;
use super::protocol::Protocol;
use super::section::{Located, Section};
use super::statuses::Statuses;
use super::trust::{Authorities, CertifiedName};
use serde::Deserialize;
use simple_dns::Name;
use std::ops::Range;
use tokio_rustls::rustls::pki_types::ServerName;

/// What a backend is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Whether it takes a TCP connection, and says there what is wanted.
    Tcp(Talk),
    /// The same over TLS.
    Tls(TlsCheck, Talk),
    /// Whether it answers a datagram, or at least nobody refuses it.
    Udp(Talk),
    /// Whether it answers a DNS question.
    Dns(DnsCheck),
    /// Whether it answers an HTTP request as it should.
    Http(HttpCheck),
}

/// What is said, and what is wanted to be heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Talk {
    /// What is sent; a server that speaks first has spoken before.
    pub send: Option<Vec<u8>>,
    /// What must be in the first 64 KiB of what the server says; nothing: what it says does not matter.
    pub expect: Option<Vec<u8>>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsCheck {
    /// Whether the certificate must be trusted and for the name.
    pub verify: bool,
    /// The name that is asked for and that the certificate must be for; without it, the address that is asked.
    pub name: Option<CertifiedName>,
    /// Who vouches for the certificate; without it, those whom the system trusts.
    pub authorities: Option<Authorities>,
}

/// An HTTP/1.1 GET request, and the answer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// Over TLS, if at all.
    pub tls: Option<TlsCheck>,
    /// The path, beginning with a slash.
    pub path: String,
    /// The `Host` header; without it, the address that is asked.
    pub host: Option<String>,
    /// The status.
    pub status: Statuses,
    /// What the first 64 KiB of the body must hold.
    pub body: Option<String>,
}

/// A question for a name server; any answer without an error will do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsCheck {
    /// As the service.
    pub transport: Protocol,
    /// The name that is asked for.
    pub name: String,
    /// What is asked about it.
    pub record: Record,
}

/// A kind of DNS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Record {
    A,
    Aaaa,
    Ns,
    Soa,
    Srv,
    Txt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Tcp,
    Tls,
    Udp,
    Dns,
    Http,
    Https,
    None,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Http => "http",
            Self::Https => "https",
            Self::None => "none",
        }
    }
}

/// The longest path that is asked for, in bytes.
const LONGEST_PATH: usize = 2048;
/// The longest text that an answer may be asked to hold, in bytes, and that is sent; well below what of an answer is read.
const LONGEST_TEXT: usize = 4096;
/// The longest that is sent in a datagram: fragments are another matter.
const LONGEST_DATAGRAM: usize = 1200;

const HTTP: &[Kind] = &[Kind::Http, Kind::Https];
const TALK: &[Kind] = &[Kind::Tcp, Kind::Tls, Kind::Udp];
const TLS: &[Kind] = &[Kind::Tls, Kind::Https];
const DNS: &[Kind] = &[Kind::Dns];

/// Takes out what says what is asked. The outer nothing: `kind` could not be read; the inner: nothing is asked. `of` is the
/// service's protocol.
pub(super) fn read(section: &mut Section<'_, '_>, of: Option<Protocol>) -> Option<Option<Probe>> {
    let kind = section.required::<Kind>("kind");
    let path = section.optional::<String>("path");
    let host = section.optional::<String>("host");
    let status = section.optional::<Statuses>("status");
    let body = section.optional::<String>("body");
    let send = section.optional::<Bytes>("send");
    let expect = section.optional::<Bytes>("expect");
    let verify = section.optional::<bool>("verify");
    let server_name = section.optional::<CertifiedName>("server-name");
    let authorities = section.optional::<Authorities>("ca-file");
    let name = section.optional::<String>("name");
    let record = section.optional::<Record>("record");

    let kind_span = kind.as_ref().map_or(0..0, |kind| kind.span.clone());
    let kind = kind?.value;
    let spans = [
        ("path", HTTP, span(&path)),
        ("host", HTTP, span(&host)),
        ("status", HTTP, span(&status)),
        ("body", HTTP, span(&body)),
        ("send", TALK, span(&send)),
        ("expect", TALK, span(&expect)),
        ("verify", TLS, span(&verify)),
        ("server-name", TLS, span(&server_name)),
        ("ca-file", TLS, span(&authorities)),
        ("name", DNS, span(&name)),
        ("record", DNS, span(&record)),
    ];
    for (key, kinds, span) in spans {
        if let Some(span) = span
            && !kinds.contains(&kind)
        {
            let kinds: Vec<_> = kinds.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
            section.faults().add(span, format!("{key} is for kind = {} only", kinds.join(" or ")));
        }
    }
    check_http(section, &path, &host, &body);
    check_talk(section, kind, &kind_span, &send, &expect);
    if let Some(verify) = verify.as_ref().filter(|verify| !verify.value)
        && authorities.is_some()
    {
        section.faults().add(verify.span.clone(), "with verify = false nobody is asked to vouch: leave ca-file out");
    }
    if let Some(name) = &name
        && !is_dns_name(&name.value)
    {
        section.faults().add(name.span.clone(), "name is a DNS name like www.example, or \".\" for the root");
    }
    if kind == Kind::Dns && name.is_none() {
        section.faults().add(kind_span, "kind = \"dns\" needs name: what a backend is asked for");
    }

    let host = host.map(|host| host.value);
    let named = server_name.map(|name| name.value);
    let tls = |named: Option<CertifiedName>| TlsCheck {
        verify: verify.is_none_or(|verify| verify.value),
        name: named,
        authorities: authorities.map(|authorities| authorities.value),
    };
    let talk = Talk { send: send.map(|bytes| bytes.value.0), expect: expect.map(|bytes| bytes.value.0) };
    let http = |tls| HttpCheck {
        tls,
        path: path.map_or_else(|| "/".to_owned(), |path| path.value),
        host: host.clone(),
        status: status.map_or_else(|| Statuses::one(200), |status| status.value),
        body: body.map(|body| body.value),
    };
    Some(match kind {
        Kind::None => None,
        Kind::Tcp => Some(Probe::Tcp(talk)),
        Kind::Tls => Some(Probe::Tls(tls(named), talk)),
        Kind::Udp => Some(Probe::Udp(talk)),
        Kind::Http => Some(Probe::Http(http(None))),
        Kind::Https => {
            let named = named.or_else(|| certified_by_host(host.as_deref()?));
            Some(Probe::Http(http(Some(tls(named)))))
        }
        Kind::Dns => Some(Probe::Dns(DnsCheck {
            transport: of.unwrap_or(Protocol::Udp),
            name: name.map(|name| name.value).unwrap_or_default(),
            record: record.map_or(Record::A, |record| record.value),
        })),
    })
}

fn check_http(
    section: &mut Section<'_, '_>,
    path: &Option<Located<String>>,
    host: &Option<Located<String>>,
    body: &Option<Located<String>>,
) {
    if let Some(path) = path
        && (!path.value.starts_with('/')
            || path.value.contains(|c: char| !c.is_ascii_graphic())
            || path.value.len() > LONGEST_PATH)
    {
        let message =
            format!("path begins with / and holds no spaces or control characters, at most {LONGEST_PATH} bytes");
        section.faults().add(path.span.clone(), message);
    }
    if let Some(body) = body
        && (body.value.is_empty() || body.value.len() > LONGEST_TEXT)
    {
        section.faults().add(body.span.clone(), format!("body is a text of 1 to {LONGEST_TEXT} bytes"));
    }
    if let Some(host) = host
        && (host.value.is_empty() || host.value.contains(|c: char| !c.is_ascii_graphic()))
    {
        section.faults().add(host.span.clone(), "host holds no spaces or control characters");
    }
}

fn check_talk(
    section: &mut Section<'_, '_>,
    kind: Kind,
    kind_span: &Range<usize>,
    send: &Option<Located<Bytes>>,
    expect: &Option<Located<Bytes>>,
) {
    let longest = if kind == Kind::Udp { LONGEST_DATAGRAM } else { LONGEST_TEXT };
    for (key, bytes, longest) in [("send", send, longest), ("expect", expect, LONGEST_TEXT)] {
        if let Some(bytes) = bytes
            && !(1..=longest).contains(&bytes.value.0.len())
        {
            section.faults().add(bytes.span.clone(), format!("{key} is 1 to {longest} bytes"));
        }
    }
    if kind == Kind::Udp && send.is_none() {
        let message =
            "kind = \"udp\" needs send: a datagram that a server takes for a question, or at least does no harm";
        section.faults().add(kind_span.clone(), message);
    }
}

/// The name that a certificate must be for, if the `Host` header has one.
fn certified_by_host(host: &str) -> Option<CertifiedName> {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).ok().map(CertifiedName)
}

/// RFC 1035, section 2.3.4: labels of up to 63 bytes, 255 in all.
fn is_dns_name(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_root = text == ".";
    is_plain && (is_root || labels.split('.').all(|label| !label.is_empty()) && Name::new(labels).is_ok())
}

fn span<T>(located: &Option<Located<T>>) -> Option<Range<usize>> {
    located.as_ref().map(|located| located.span.clone())
}
