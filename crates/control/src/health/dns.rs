//! Whether a name server answers a question without an error.

use super::finding::{Finding, Hindrance};
use super::ports::Ports;
use super::{tcp, udp};
use crate::config::{DnsCheck, Protocol, Record};
use simple_dns::header_buffer::{has_flags, id, rcode};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Bytes of an answer that are read: its header counts.
const ANSWER: usize = 4096;

/// Asks, and takes the answer to this very question.
pub(super) async fn check(to: (Option<IpAddr>, SocketAddr), check: &DnsCheck, ports: &Ports) -> Finding {
    // Another number each time, so that what comes late is not taken for an answer to a later question.
    let number = fastrand::u16(..);
    let Some(question) = question(check, number) else { return Finding::NotMade(Hindrance::Request) };
    let asked = match check.transport {
        Protocol::Udp => by_datagram(to, ports, &question, number).await,
        Protocol::Tcp => by_stream(to, ports, &question, number).await,
    };
    asked.unwrap_or_else(|finding| finding)
}

/// The question as it is sent; nothing if the name is none.
fn question(check: &DnsCheck, number: u16) -> Option<Vec<u8>> {
    let name = check.name.strip_suffix('.').unwrap_or(&check.name);
    let record = match check.record {
        Record::A => TYPE::A,
        Record::Aaaa => TYPE::AAAA,
        Record::Ns => TYPE::NS,
        Record::Soa => TYPE::SOA,
        Record::Srv => TYPE::SRV,
        Record::Txt => TYPE::TXT,
    };
    let mut packet = Packet::new_query(number);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(record), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

async fn by_datagram(
    to: (Option<IpAddr>, SocketAddr),
    ports: &Ports,
    question: &[u8],
    number: u16,
) -> Result<Finding, Finding> {
    let failed = |error: io::Error| Finding::of_connect(&error, Duration::ZERO);
    let socket = udp::connect(to, ports).await?;
    socket.send(question).await.map_err(failed)?;
    let mut buffer = [0; ANSWER];
    loop {
        let count = socket.recv(&mut buffer).await.map_err(failed)?;
        if let Some(finding) = judge(&buffer[..count], number) {
            return Ok(finding);
        }
    }
}

/// RFC 7766: the length before each message.
async fn by_stream(
    to: (Option<IpAddr>, SocketAddr),
    ports: &Ports,
    question: &[u8],
    number: u16,
) -> Result<Finding, Finding> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Finding::Closed,
        _ => Finding::of_transfer(&error),
    };
    let mut stream = tcp::connect(to, ports).await?;
    let length = question.len() as u16;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(judge(&answer, number).unwrap_or(Finding::NotDns))
}

/// What an answer says; nothing if it is one to another question.
fn judge(answer: &[u8], number: u16) -> Option<Finding> {
    let (Ok(of), Ok(true)) = (id(answer), has_flags(answer, PacketFlag::RESPONSE)) else {
        return Some(Finding::NotDns);
    };
    if of != number {
        return None;
    }
    Some(match rcode(answer) {
        Ok(simple_dns::RCODE::NoError) => Finding::Resolved,
        // The low four bits of the fourth byte (RFC 1035, section 4.1.1).
        _ => Finding::OtherCode(answer.get(3).map_or(0, |byte| byte & 0xf)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_as_rfc_1035_has_them() {
        let asked = |name: &str, record| {
            let name = name.to_owned();
            question(&DnsCheck { transport: Protocol::Udp, name, record }, 0x1234).expect("it is a name")
        };
        let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(asked("www.example.", Record::A), [&head[..], b"\x03www\x07example\0\0\x01\0\x01"].concat());
        assert_eq!(asked(".", Record::Ns), [&head[..], b"\0\0\x02\0\x01"].concat());
    }

    #[test]
    fn answers_are_judged_by_their_header() {
        let answer = |flags: u16| [&[0x12, 0x34][..], &flags.to_be_bytes(), &[0; 8]].concat();
        assert_eq!(judge(&answer(0x8180), 0x1234), Some(Finding::Resolved));
        assert_eq!(judge(&answer(0x8182), 0x1234), Some(Finding::OtherCode(2)));
        assert_eq!(judge(&answer(0x8185), 0x1234), Some(Finding::OtherCode(5)));
        assert_eq!(judge(&answer(0x8180), 0x1235), None, "an answer to another question");
        assert_eq!(judge(&answer(0x0100), 0x1234), Some(Finding::NotDns), "a question");
        assert_eq!(judge(b"hello", 0x1234), Some(Finding::NotDns));
    }
}
