//! Checks by datagrams, and DNS.

use super::PATIENCE;
use super::answers::{check, nobody};
use crate::config::{DnsCheck, Probe, Protocol, Record, Talk};
use crate::health::finding::Finding;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// Answers each datagram by what this makes of it.
async fn answering(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddrV4 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let SocketAddr::V4(address) = socket.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            for datagram in answer(&buffer[..count]) {
                let _ = socket.send_to(&datagram, from).await;
            }
        }
    });
    address
}

fn udp(expect: Option<&str>) -> Probe {
    Probe::Udp(Talk { send: Some(b"ping".to_vec()), expect: expect.map(|text| text.as_bytes().to_vec()) })
}

fn dns(transport: Protocol) -> Probe {
    Probe::Dns(DnsCheck { transport, name: "www.example".to_owned(), record: Record::A })
}

#[tokio::test]
async fn an_answer_is_compared_and_a_port_where_nobody_listens_refuses() {
    let address = answering(|asked| vec![b"no".to_vec(), [asked, b" pong"].concat()]).await;
    assert_eq!(check(address, udp(Some("ping pong")), PATIENCE).await, Finding::Said);
    assert_eq!(check(address, udp(None), PATIENCE).await, Finding::Said);
    let short = Duration::from_millis(100);
    assert_eq!(check(address, udp(Some("well")), short).await, Finding::OtherAnswer);
    for expect in [None, Some("pong")] {
        assert_eq!(check(nobody().await, udp(expect), PATIENCE).await, Finding::Refused);
    }
}

#[tokio::test]
async fn silence_is_an_answer_only_if_none_is_wanted() {
    let address = answering(|_| Vec::new()).await;
    let short = Duration::from_millis(100);
    assert_eq!(check(address, udp(None), short).await, Finding::Unrefused);
    assert_eq!(check(address, udp(Some("pong")), short).await, Finding::Silent(short));
}

/// An answer to this question with this code.
fn answer(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = code;
    answer
}

#[tokio::test]
async fn a_name_server_must_answer_without_an_error() {
    for (code, expected) in [(0, Finding::Resolved), (2, Finding::OtherCode(2)), (5, Finding::OtherCode(5))] {
        let late = |asked: &[u8]| {
            let mut other = answer(asked, 0);
            other[0] ^= 1;
            other
        };
        let address = answering(move |asked| vec![late(asked), answer(asked, code)]).await;
        assert_eq!(check(address, dns(Protocol::Udp), PATIENCE).await, expected);
    }
    let echo = answering(|asked| vec![asked.to_vec()]).await;
    assert_eq!(check(echo, dns(Protocol::Udp), PATIENCE).await, Finding::NotDns);
    assert_eq!(check(nobody().await, dns(Protocol::Udp), PATIENCE).await, Finding::Refused);
    let short = Duration::from_millis(100);
    let silent = answering(|_| Vec::new()).await;
    assert_eq!(check(silent, dns(Protocol::Udp), short).await, Finding::Silent(short));
}

#[tokio::test]
async fn a_name_server_is_asked_by_tcp_as_well() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
    tokio::spawn(async move {
        for code in [0, 3] {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let Ok(length) = stream.read_u16().await else { return };
            let mut question = vec![0; length.into()];
            let _ = stream.read_exact(&mut question).await;
            let answer = answer(&question, code);
            let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await;
        }
        // The third finds an end.
        let _ = listener.accept().await;
    });
    for expected in [Finding::Resolved, Finding::OtherCode(3), Finding::Closed] {
        let found = check(address, dns(Protocol::Tcp), PATIENCE).await;
        assert!(found == expected || (expected, found) == (Finding::Closed, Finding::Reset), "{found:?}");
    }
}
