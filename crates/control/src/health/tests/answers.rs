//! What one check makes of what a server does.

use super::server::{Manner, Server};
use super::{PATIENCE, page};
use crate::config::{HttpCheck, Probe, Statuses, Talk};
use crate::health::finding::{Finding, Hindrance};
use crate::health::inquiry::Inquiry;
use crate::health::ports::Ports;
use crate::health::prober::Prober;
use crate::health::tls::Speakers;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For servers that never do what is waited for.
const SHORT: Duration = Duration::from_millis(50);

/// Ports that checks leave from.
const BLOCK: (u16, u16) = (65280, 65535);

pub(super) fn prober(target: SocketAddrV4, probe: Probe, timeout: Duration) -> Prober {
    prober_from(BLOCK, target, probe, timeout)
}

pub(super) fn prober_from(block: (u16, u16), target: SocketAddrV4, probe: Probe, timeout: Duration) -> Prober {
    prober_with(Ports::new(block, Arc::default()), Arc::new(Semaphore::new(1)), target, probe, timeout)
}

fn prober_with(ports: Ports, permits: Arc<Semaphore>, target: SocketAddrV4, probe: Probe, timeout: Duration) -> Prober {
    let tls = match &probe {
        Probe::Tls(check, _) => Some(check),
        Probe::Http(check) => check.tls.as_ref(),
        _ => None,
    };
    let speaker = tls.and_then(|check| Speakers::default().speaker(check));
    let inquiry = Inquiry { probe, target: target.into(), source: None, interval: PATIENCE, timeout };
    Prober::new(Arc::new(inquiry), speaker, ports, permits)
}

pub(super) async fn check(target: SocketAddrV4, probe: Probe, time: Duration) -> Finding {
    timeout(PATIENCE * 2, prober(target, probe, time).check()).await.expect("a check ends in its time")
}

async fn ask(manner: Manner, check_for: HttpCheck, time: Duration) -> Finding {
    let server = Server::start(vec![manner]).await;
    check(server.address, Probe::Http(check_for), time).await
}

/// For servers that begin to answer, but leave the check waiting: with more and more time, until the beginning has come
/// in it.
async fn ask_longer(manner: Manner, check_for: HttpCheck) -> Finding {
    let mut time = SHORT;
    loop {
        let finding = ask(manner.clone(), check_for.clone(), time).await;
        if finding != Finding::Silent(time) || time > PATIENCE {
            return finding;
        }
        time *= 4;
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn text(text: &str) -> HttpCheck {
    HttpCheck { body: Some(text.to_owned()), ..page() }
}

/// A port that nobody listens on.
pub(super) async fn nobody() -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("it is bound").port())
}

#[tokio::test]
async fn a_server_that_takes_a_connection_serves() {
    let mut server = Server::start(vec![Manner::SayAndStay(String::new())]).await;
    let finding = check(server.address, Probe::Tcp(Talk::default()), PATIENCE).await;
    assert!(matches!(finding, Finding::Connected(_)), "{finding:?}");
    if server.connects() == 0 {
        server.see_more(1).await;
    }
    assert_eq!(server.requests(), [""; 0], "nothing was sent");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    assert_eq!(check(nobody().await, Probe::Tcp(Talk::default()), PATIENCE).await, Finding::Refused);
    assert_eq!(check(nobody().await, Probe::Http(page()), PATIENCE).await, Finding::Refused);
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_silent() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port on loopback");
    let listener = socket.listen(1).expect("it is bound");
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("it is bound").port());
    let mut queue = tokio::task::JoinSet::new();
    for _ in 0..16 {
        queue.spawn(TcpStream::connect(target));
    }
    let first = queue.join_next().await.expect("there are some").expect("it did not panic");
    assert!(first.is_ok(), "there was room for one");
    assert_eq!(check(target, Probe::Tcp(Talk::default()), SHORT).await, Finding::Silent(SHORT));
}

#[tokio::test]
async fn the_status_is_compared() {
    let asked = |status: &'static str| ask(Manner::Say(answer(status, "")), page(), PATIENCE);
    assert_eq!(asked("200 OK").await, Finding::Answered(200));
    assert_eq!(asked("503 Service Unavailable").await, Finding::OtherStatus(503));
    assert_eq!(asked("200").await, Finding::Answered(200), "words are not needed");
    let several = HttpCheck { status: serde_json::from_str("\"200-399,503\"").expect("it is right"), ..page() };
    for status in ["204 No Content", "302 Found", "399 So", "503 Service Unavailable"] {
        let said = Manner::Say(answer(status, ""));
        assert!(matches!(ask(said, several.clone(), PATIENCE).await, Finding::Answered(_)), "{status}");
    }
    assert_eq!(ask(Manner::Say(answer("404 Not Found", "")), several, PATIENCE).await, Finding::OtherStatus(404));
    let moved = HttpCheck { status: Statuses::one(301), ..page() };
    let redirect = "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned();
    assert_eq!(ask(Manner::Say(redirect.clone()), moved, PATIENCE).await, Finding::Answered(301));
    assert_eq!(ask(Manner::Say(redirect), page(), PATIENCE).await, Finding::OtherStatus(301), "nobody follows it");
    let old = "HTTP/1.0 200 OK\r\n\r\nfine".to_owned();
    assert_eq!(ask(Manner::Say(old), text("fine"), PATIENCE).await, Finding::Answered(200));
}

#[tokio::test]
async fn the_body_is_searched_wherever_it_is_cut() {
    let fine = || Manner::Say(answer("200 OK", "all is fine here"));
    assert_eq!(ask(fine(), text("fine"), PATIENCE).await, Finding::Answered(200));
    assert_eq!(ask(fine(), text("well"), PATIENCE).await, Finding::OtherBody);
    assert_eq!(ask(fine(), text(""), PATIENCE).await, Finding::Answered(200));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\u{e9}\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n";
    assert_eq!(ask(Manner::Say(chunks.to_owned()), text("éfine"), PATIENCE).await, Finding::Answered(200));
    let slow = Manner::Trickle(answer("200 OK", "all is fine"));
    assert_eq!(ask(slow, text("is fine"), PATIENCE).await, Finding::Answered(200), "slowly, but in time");
}

#[tokio::test]
async fn a_body_counts_up_to_64_kib() {
    let body = |before: usize| answer("200 OK", &format!("{}fine{}", "-".repeat(before), "-".repeat(1 << 20)));
    let within = Manner::Say(body((64 << 10) - 4));
    assert_eq!(ask(within, text("fine"), PATIENCE).await, Finding::Answered(200));
    let beyond = Manner::Say(body((64 << 10) - 3));
    assert_eq!(ask(beyond, text("fine"), PATIENCE).await, Finding::OtherBody);
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_the_limit() {
    let head = "HTTP/1.1 200 OK\r\n\r\n".to_owned();
    let endless = || Manner::Repeat(head.clone(), "more and ".repeat(1000));
    assert_eq!(ask(endless(), page(), PATIENCE).await, Finding::Answered(200));
    assert_eq!(ask(endless(), text("fine"), PATIENCE).await, Finding::OtherBody);
    let bytewise = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let bytewise = Manner::Repeat(bytewise, "1\r\na\r\n".repeat(1000));
    assert_eq!(ask(bytewise, text("ab"), PATIENCE).await, Finding::OtherBody);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_waited_for_in_its_time() {
    let stays = || Manner::SayAndStay("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfi".to_owned());
    assert_eq!(ask_longer(stays(), text("fine")).await, Finding::Unfinished);
    assert_eq!(ask_longer(stays(), text("fi")).await, Finding::Answered(200), "what is wanted has come");
    assert_eq!(ask_longer(stays(), page()).await, Finding::Answered(200), "nobody asked for a body");
    assert_eq!(
        ask_longer(stays(), HttpCheck { status: Statuses::one(204), ..page() }).await,
        Finding::OtherStatus(200)
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_silent() {
    assert_eq!(ask(Manner::SayAndStay(String::new()), page(), SHORT).await, Finding::Silent(SHORT));
    let half = "HTTP/1.1 200 OK\r\nContent-Le".to_owned();
    assert_eq!(ask(Manner::SayAndStay(half), page(), SHORT).await, Finding::Silent(SHORT));
    let preliminary = "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
    assert_eq!(ask(Manner::Repeat(preliminary.clone(), preliminary), page(), SHORT).await, Finding::Silent(SHORT));
}

#[tokio::test]
async fn headers_are_read_up_to_a_limit() {
    let head = "HTTP/1.1 200 OK\r\n".to_owned();
    for then in ["A: b\r\n".repeat(100), "A".repeat(1000), format!("A: {}\r\n", "b".repeat(1000))] {
        assert_eq!(ask(Manner::Repeat(head.clone(), then), page(), PATIENCE).await, Finding::HeadersTooLong);
    }
    let long = format!("{head}A: {}\r\n\r\n", "b".repeat(12 << 10));
    assert_eq!(ask(Manner::Say(long), page(), PATIENCE).await, Finding::Answered(200));
}

#[tokio::test]
async fn what_is_not_http_is_told_as_that() {
    for said in [
        "SSH-2.0-OpenSSH_10.0\r\n",
        "\0\0\u{12}\u{4}\0\0\0\0\0\0",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "<html></html>",
    ] {
        assert_eq!(ask(Manner::Say(said.to_owned()), page(), PATIENCE).await, Finding::NotHttp, "{said:?}");
    }
    let greeting = Manner::Greet("SSH-2.0-OpenSSH_10.0\r\n".to_owned());
    assert_eq!(ask(greeting, page(), PATIENCE).await, Finding::NotHttp);
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned();
    assert_eq!(ask(Manner::Say(chunks), text("fine"), PATIENCE).await, Finding::NotHttp);
}

#[tokio::test]
async fn a_connection_that_ends_too_early_is_told_as_that() {
    for said in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        assert_eq!(ask(Manner::Say(said.to_owned()), page(), PATIENCE).await, Finding::Closed, "{said:?}");
    }
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfi".to_owned();
    assert_eq!(ask(Manner::Say(cut), text("fine"), PATIENCE).await, Finding::Closed);
    let finding = ask(Manner::Leave, page(), PATIENCE).await;
    assert!(matches!(finding, Finding::Closed | Finding::Reset), "{finding:?}");
}

#[tokio::test]
async fn the_request_says_what_was_configured() {
    let server = Server::start(vec![Manner::Say(answer("200 OK", ""))]).await;
    let port = server.address.port();
    let named = HttpCheck { path: "/up?deep=1".to_owned(), host: Some("web.example".to_owned()), ..page() };
    let strange = HttpCheck { path: "/a\"b|c#d%20".to_owned(), ..page() };
    for wanted in [page(), named, strange] {
        assert_eq!(check(server.address, Probe::Http(wanted), PATIENCE).await, Finding::Answered(200));
    }
    let rest = concat!("User-Agent: evenkeel/", env!("CARGO_PKG_VERSION"), "\r\nConnection: close\r\n\r\n");
    assert_eq!(
        server.requests(),
        [
            format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{rest}"),
            format!("GET /up?deep=1 HTTP/1.1\r\nHost: web.example\r\n{rest}"),
            format!("GET /a%22b%7Cc%23d%20 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{rest}"),
        ]
    );
}

#[tokio::test]
async fn a_path_that_no_request_can_hold_says_nothing_about_the_backend() {
    let endless = HttpCheck { path: format!("/{}", "a".repeat(1 << 20)), ..page() };
    assert_eq!(check(nobody().await, Probe::Http(endless), PATIENCE).await, Finding::NotMade(Hindrance::Request));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_others_is_no_failure() {
    let permits = Arc::new(Semaphore::new(0));
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let ports = Ports::new(BLOCK, Arc::default());
    let prober = prober_with(ports, Arc::clone(&permits), target, Probe::Tcp(Talk::default()), SHORT);
    // The clock stands still but for such waits, and nothing is sent as long as there is no permit.
    assert!(timeout(SHORT * 1000, prober.check()).await.is_err(), "its time has not begun");
    permits.add_permits(1);
    tokio::time::resume();
    timeout(PATIENCE, prober.check()).await.expect("it ends");
    assert_eq!(permits.available_permits(), 1, "the permit is given back");
}

/// Two ports that nobody has; what they lie among is not what the system hands out, nor what other tests' checks leave from.
fn two_free_ports() -> (u16, u16) {
    let free = |port: u16| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    let first =
        (1024..32000).step_by(2).skip(std::process::id() as usize % 10_000).find(|&port| free(port) && free(port + 1));
    first.map(|first| (first, first + 1)).expect("there are free ports")
}

#[tokio::test]
async fn checks_leave_from_their_own_ports_in_turn() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let SocketAddr::V4(target) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
    let prober = prober(target, Probe::Tcp(Talk::default()), PATIENCE);
    let mut seen = Vec::new();
    for _ in 0..5 {
        assert!(matches!(prober.check().await, Finding::Connected(_)));
        seen.push(listener.accept().await.expect("it has come").1.port());
    }
    assert!(seen.iter().all(|port| (BLOCK.0..=BLOCK.1).contains(port)), "{seen:?}");
    let follows = |pair: &[u16]| pair[1] == pair[0] + 1 || pair == [BLOCK.1, BLOCK.0];
    assert!(seen.windows(2).all(follows), "{seen:?}");
}

#[tokio::test]
async fn a_port_that_somebody_has_is_left_to_him() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let SocketAddr::V4(target) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
    let block = two_free_ports();
    // Each begins anywhere.
    let check = || async { prober_from(block, target, Probe::Tcp(Talk::default()), PATIENCE).check().await };
    let first = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, block.0)).expect("it is free");
    assert!(matches!(check().await, Finding::Connected(_)));
    assert_eq!(listener.accept().await.expect("it has come").1.port(), block.1);
    let _second = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, block.1)).expect("nobody listens there");
    assert_eq!(check().await, Finding::NotMade(Hindrance::Ports));
    drop(first);
    assert!(matches!(check().await, Finding::Connected(_)));
    assert_eq!(listener.accept().await.expect("it has come").1.port(), block.0);
}

#[tokio::test]
async fn frequent_checks_leave_their_ports_free() {
    let server = Server::start(vec![Manner::SayAndStay(String::new())]).await;
    let (port, _) = two_free_ports();
    let ports = Ports::new((port, port), Arc::new(true.into()));
    let permits = Arc::new(Semaphore::new(1));
    let prober = prober_with(ports, permits, server.address, Probe::Tcp(Talk::default()), PATIENCE);
    for _ in 0..50 {
        let finding = prober.check().await;
        assert!(matches!(finding, Finding::Connected(_)), "{finding:?}");
    }
}

#[tokio::test]
async fn a_check_leaves_from_the_address_that_is_wanted() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let target = listener.local_addr().expect("it is bound");
    let check_from = |source: [u8; 4], probe| {
        let inquiry = Inquiry { probe, target, source: Some(source.into()), interval: PATIENCE, timeout: PATIENCE };
        let ports = Ports::new(BLOCK, Arc::default());
        Prober::new(Arc::new(inquiry), None, ports, Arc::new(Semaphore::new(1)))
    };
    let found = check_from([127, 0, 0, 5], Probe::Tcp(Talk::default())).check().await;
    assert!(matches!(found, Finding::Connected(_)), "{found:?}");
    let from = listener.accept().await.expect("it has come").1;
    assert_eq!(from.ip(), std::net::IpAddr::from([127, 0, 0, 5]));
    // Whoever has not such an address must not be told that nobody serves.
    let udp = Probe::Udp(Talk { send: Some(b"?".to_vec()), expect: None });
    for probe in [Probe::Tcp(Talk::default()), udp] {
        assert_eq!(check_from([192, 0, 2, 77], probe).check().await, Finding::NotMade(Hindrance::Source));
    }
}

#[tokio::test]
async fn checks_leave_by_the_interface_that_they_are_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let port = listener.local_addr().expect("it is bound").port();
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let check = async |device: &str, probe| {
        let ports = Ports::new(BLOCK, Arc::default()).leaving_by(Some(device.into()));
        prober_with(ports, Arc::new(Semaphore::new(1)), target, probe, PATIENCE).check().await
    };
    let tcp = || Probe::Tcp(Talk::default());
    assert!(matches!(check("lo", tcp()).await, Finding::Connected(_)));
    assert!(!matches!(check("nowhere0", tcp()).await, Finding::Connected(_)));
}
