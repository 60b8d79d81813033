//! What a single check may find, and the words for it.

use super::inquiry::Inquiry;
use crate::config::{HttpCheck, Probe};
use crate::operator::Condition;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// What a check has found. Each variant is one kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It took a connection, after so long.
    Connected(Duration),
    /// It spoke TLS, after so long, and is who it shall be.
    Secured(Duration),
    /// It answered with the status and the body that are wanted.
    Answered(u16),
    /// It said what is wanted.
    Said,
    /// It did not answer a datagram, which was not asked of it; nobody refused it.
    Unrefused,
    /// It answered a DNS question without an error.
    Resolved,
    /// Nothing listens there.
    Refused,
    /// It said nothing for so long.
    Silent(Duration),
    /// The way to the host is not known, or the host does not say where it is.
    NoRouteToHost,
    /// The way to its network is not known.
    NoRouteToNetwork,
    /// It broke the connection off.
    Reset,
    /// It ended the connection before its answer was whole.
    Closed,
    /// A connection could not be made for a reason that has no words of its own; the system's number for it.
    Unreachable(Option<i32>),
    /// What it said is not what is wanted.
    OtherAnswer,
    /// What it said is not DNS.
    NotDns,
    /// It answered a DNS question with this code (RFC 1035, section 4.1.1).
    OtherCode(u8),
    /// What it said is not TLS.
    NotTls,
    /// It does not speak TLS with us.
    TlsRefused,
    /// Its certificate does not say that it is who it shall be.
    Distrusted(Distrust),
    /// What it said is not HTTP.
    NotHttp,
    /// Its answer began with more headers than are read.
    HeadersTooLong,
    /// It answered with another status.
    OtherStatus(u16),
    /// The text that is wanted is not in the body of its answer.
    OtherBody,
    /// The answer began in time, but had not ended within the timeout, and the text that is wanted had not come.
    Unfinished,
    /// The check could not be made, which says nothing about the backend.
    NotMade(Hindrance),
}

/// What may hinder a check on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// The process or the system has no descriptor left.
    Descriptors,
    /// No port is left to connect from.
    Ports,
    /// The kernel has no memory for it.
    Memory,
    /// No request can be made of what is wanted.
    Request,
    /// The check has panicked.
    Fault,
    /// The host does not have the address that checks shall leave from.
    Source,
    /// There is no TLS to be had.
    Tls,
}

/// Why a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Nobody who is trusted vouches for it.
    Issuer,
    /// It is somebody else's.
    Name,
    /// Whatever else may be wrong with one.
    Other,
}

// errno.h, for which `io::ErrorKind` has no stable names.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

impl Finding {
    /// What it means that no connection could be made, `after` this long.
    pub(super) fn of_connect(error: &io::Error, after: Duration) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (_, Some(ENFILE | EMFILE)) => Self::NotMade(Hindrance::Descriptors),
            (io::ErrorKind::AddrNotAvailable, _) => Self::NotMade(Hindrance::Ports),
            (io::ErrorKind::OutOfMemory, _) | (_, Some(ENOBUFS)) => Self::NotMade(Hindrance::Memory),
            (io::ErrorKind::ConnectionRefused, _) => Self::Refused,
            (io::ErrorKind::ConnectionReset, _) => Self::Reset,
            (io::ErrorKind::HostUnreachable, _) => Self::NoRouteToHost,
            (io::ErrorKind::NetworkUnreachable, _) => Self::NoRouteToNetwork,
            (io::ErrorKind::TimedOut, _) => Self::Silent(after),
            (_, number) => Self::Unreachable(number),
        }
    }

    /// What it means that reading or writing failed.
    pub(super) fn of_transfer(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            // How hyper says that chunks are not what they should be.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::NotHttp,
            _ => Self::Closed,
        }
    }

    /// The condition that it speaks for; nothing if it says nothing about the backend.
    pub(super) fn speaks_for(&self) -> Option<Condition> {
        match self {
            Self::Connected(_)
            | Self::Secured(_)
            | Self::Answered(_)
            | Self::Said
            | Self::Unrefused
            | Self::Resolved => Some(Condition::Up),
            Self::NotMade(_) => None,
            _ => Some(Condition::Down),
        }
    }

    /// The kind of reason.
    pub(super) fn kind(&self) -> Discriminant<Self> {
        discriminant(self)
    }

    /// The reason in words for people, when this was asked.
    pub(super) fn words(&self, inquiry: &Inquiry) -> String {
        let (mut page, mut expected) = (None, None);
        match &inquiry.probe {
            Probe::Http(check) => page = Some(check),
            Probe::Tcp(talk) | Probe::Tls(_, talk) | Probe::Udp(talk) => expected = talk.expect.as_deref(),
            Probe::Dns(_) => {}
        }
        match self {
            Self::Connected(after) => format!("connected in {}", short(*after)),
            Self::Secured(after) => format!("TLS in {}", short(*after)),
            Self::Said => "answered as wanted".to_owned(),
            Self::Unrefused => "no answer, and no refusal".to_owned(),
            Self::Resolved => "DNS NOERROR".to_owned(),
            Self::Answered(status) => format!("HTTP {status}"),
            Self::Refused => "connection refused".to_owned(),
            Self::Silent(time) => format!("no answer within {}", whole_millis(*time)),
            Self::NoRouteToHost => "no route to host".to_owned(),
            Self::NoRouteToNetwork => "no route to the host's network".to_owned(),
            Self::Reset => "connection reset".to_owned(),
            Self::Closed => "the connection was closed before the answer was whole".to_owned(),
            Self::Unreachable(Some(number)) => format!("cannot connect: {}", io::Error::from_raw_os_error(*number)),
            Self::Unreachable(None) => "cannot connect".to_owned(),
            Self::OtherAnswer => match expected {
                Some(text) => format!("the answer does not hold \"{}\"", text.escape_ascii()),
                None => "the answer is another one".to_owned(),
            },
            Self::NotDns => "the answer is not DNS".to_owned(),
            Self::OtherCode(code) => format!("DNS {}", code_name(*code)),
            Self::NotTls => "the answer is not TLS".to_owned(),
            Self::TlsRefused => "no TLS that both sides speak".to_owned(),
            Self::Distrusted(why) => format!("certificate not trusted: {}", why.words()),
            Self::NotHttp => "the answer is not HTTP".to_owned(),
            Self::HeadersTooLong => "the answer's headers are too long".to_owned(),
            Self::OtherStatus(status) => match page {
                Some(check) => format!("HTTP {status}, wanted {}", check.status),
                None => format!("HTTP {status}"),
            },
            Self::OtherBody => {
                let text = page.and_then(|check: &HttpCheck| check.body.as_deref()).unwrap_or_default();
                format!("the answer does not hold {text:?}")
            }
            Self::Unfinished => format!("the answer was not whole within {}", whole_millis(inquiry.timeout)),
            Self::NotMade(hindrance) => format!("not checked lately: {}", hindrance.words()),
        }
    }
}

impl Hindrance {
    fn words(self) -> &'static str {
        match self {
            Self::Descriptors => "too many open files on the balancer",
            Self::Ports => "no local port is free on the balancer",
            Self::Memory => "no memory for a connection on the balancer",
            Self::Request => "no request can be made of what is wanted",
            Self::Fault => "a fault of the balancer's",
            Self::Source => "the balancer does not have the address that checks shall leave from",
            Self::Tls => "no TLS is to be had on the balancer",
        }
    }
}

impl Distrust {
    fn words(self) -> &'static str {
        match self {
            Self::Expired => "it has expired",
            Self::NotYet => "it is not valid yet",
            Self::Issuer => "nobody who is trusted vouches for it (ca-file says whom to trust)",
            Self::Name => "it is for another name (server-name says which is meant)",
            Self::Other => "it is not one for a server, or not right",
        }
    }
}

/// The names that IANA lists for the codes of answers.
fn code_name(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        9 => "NOTAUTH".to_owned(),
        code => format!("code {code}"),
    }
}

fn short(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        millis => format!("{millis} ms"),
    }
}

fn whole_millis(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Statuses, Talk};

    fn words_for(probe: Probe, finding: Finding) -> String {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_millis(500));
        let target = ([192, 0, 2, 2], 80).into();
        finding.words(&Inquiry { probe, target, source: None, interval, timeout })
    }

    fn words(finding: Finding) -> String {
        let (path, status, body) = ("/".to_owned(), Statuses::one(200), Some("fine".to_owned()));
        words_for(Probe::Http(HttpCheck { tls: None, path, host: None, status, body }), finding)
    }

    #[test]
    fn what_was_expected_is_told_even_if_it_is_no_text() {
        let talk = Talk { send: None, expect: Some(b"+PONG\r\n\xff".to_vec()) };
        assert_eq!(words_for(Probe::Tcp(talk), Finding::OtherAnswer), "the answer does not hold \"+PONG\\r\\n\\xff\"");
        assert_eq!(words(Finding::OtherCode(2)), "DNS SERVFAIL");
        assert_eq!(words(Finding::Distrusted(Distrust::Expired)), "certificate not trusted: it has expired");
    }

    #[test]
    fn reasons_are_words_for_people() {
        let half = Duration::from_millis(500);
        for (finding, expected) in [
            (Finding::Connected(Duration::from_micros(1900)), "connected in 1 ms"),
            (Finding::Connected(Duration::from_micros(19)), "connected in less than 1 ms"),
            (Finding::Answered(200), "HTTP 200"),
            (Finding::Silent(half), "no answer within 500ms"),
            (Finding::Silent(Duration::from_micros(1_000_700)), "no answer within 1s"),
            (Finding::OtherStatus(503), "HTTP 503, wanted 200"),
            (Finding::OtherBody, "the answer does not hold \"fine\""),
            (Finding::Unfinished, "the answer was not whole within 500ms"),
            (Finding::NotHttp, "the answer is not HTTP"),
            (Finding::NotMade(Hindrance::Descriptors), "not checked lately: too many open files on the balancer"),
        ] {
            assert_eq!(words(finding), expected);
        }
        assert!(words(Finding::Unreachable(Some(1))).starts_with("cannot connect: "));
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        // Their numbers on Linux, from errno.h.
        for (number, expected) in [
            (111, "connection refused"),
            (113, "no route to host"),
            (101, "no route to the host's network"),
            (104, "connection reset"),
            (110, "no answer within 7ms"),
        ] {
            let finding = Finding::of_connect(&io::Error::from_raw_os_error(number), Duration::from_millis(7));
            assert_eq!(words(finding), expected);
            assert_eq!(finding.speaks_for(), Some(Condition::Down));
        }
    }

    #[test]
    fn what_the_balancer_lacks_is_not_held_against_a_backend() {
        for number in [EMFILE, ENFILE, ENOBUFS, 12, 99] {
            let finding = Finding::of_connect(&io::Error::from_raw_os_error(number), Duration::ZERO);
            assert_eq!(finding.speaks_for(), None, "{finding:?}");
        }
    }
}
