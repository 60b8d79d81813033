//! Servers that speak first, and those that are spoken to.

use super::PATIENCE;
use super::answers::{check, prober};
use crate::config::{Probe, Talk};
use crate::health::finding::Finding;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Serves each connection by this, as long as the test goes on.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
    let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

fn tcp(send: Option<&str>, expect: Option<&str>) -> Probe {
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    Probe::Tcp(Talk { send: bytes(send), expect: bytes(expect) })
}

/// What a server that begins with a greeting has seen.
#[derive(Debug, Default)]
struct Log {
    connected: AtomicUsize,
    /// Clients that were gone before they had the greeting, or broke the connection off with it unread.
    broke_off: AtomicUsize,
    /// Clients that ended the connection as one does.
    ended: AtomicUsize,
}

/// Greets after a while, as a server that has to find a thread first, and shuts out whoever breaks off so often, as MariaDB does.
async fn touchy(most: usize) -> (SocketAddrV4, Arc<Log>) {
    let log = Arc::new(Log::default());
    let kept = Arc::clone(&log);
    let address = serve(move |mut stream| {
        let log = Arc::clone(&kept);
        async move {
            log.connected.fetch_add(1, Ordering::SeqCst);
            if log.broke_off.load(Ordering::SeqCst) >= most {
                let _ = stream.write_all(b"Host is blocked because of many connection errors").await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let greeted = stream.write_all(b"5.5.5-MariaDB mysql_native_password").await;
            // An end means that the greeting was taken in: the kernel answers what comes after an end by a reset.
            let ended = match greeted {
                Ok(()) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    stream.read(&mut [0; 64]).await
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(_) => log.ended.fetch_add(1, Ordering::SeqCst),
                Err(_) => log.broke_off.fetch_add(1, Ordering::SeqCst),
            };
        }
    })
    .await;
    (address, log)
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_out_at_every_check() {
    let (address, log) = touchy(3).await;
    let prober = prober(address, tcp(None, None), PATIENCE);
    for _ in 0..40 {
        let found = prober.check().await;
        assert!(matches!(found, Finding::Connected(_)), "{found:?}");
    }
    tokio::time::timeout(PATIENCE, async {
        while log.ended.load(Ordering::SeqCst) + log.broke_off.load(Ordering::SeqCst) < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("every connection ends");
    assert_eq!(log.broke_off.load(Ordering::SeqCst), 0, "{log:?}");
}

#[tokio::test]
async fn a_greeting_is_compared() {
    let (address, _log) = touchy(usize::MAX).await;
    assert_eq!(check(address, tcp(None, Some("mysql_native_password")), PATIENCE).await, Finding::Said);
    let (blocked, _log) = touchy(0).await;
    assert_eq!(check(blocked, tcp(None, Some("mysql_native_password")), PATIENCE).await, Finding::OtherAnswer);
    assert!(matches!(check(blocked, tcp(None, None), PATIENCE).await, Finding::Connected(_)), "it takes connections");
}

#[tokio::test]
async fn what_is_sent_waits_for_the_greeting() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let address = serve(move |mut stream| {
        let heard = Arc::clone(&kept);
        async move {
            // Whoever talks before is a spammer.
            let mut early = [0; 64];
            let is_early = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut early)).await.is_ok();
            let greeting: &[u8] = if is_early { b"554 improper\r\n" } else { b"220 mail.example ESMTP\r\n" };
            let _ = stream.write_all(greeting).await;
            let mut line = vec![0; 64];
            let Ok(count) = stream.read(&mut line).await else { return };
            heard.lock().expect("nobody panics").push(line[..count].to_vec());
            let _ = stream.write_all(b"221 bye\r\n").await;
            // An end and no reset: the answer was read.
            let end = stream.read(&mut line).await.map_err(|error| error.kind());
            heard.lock().expect("nobody panics").push(format!("{end:?}").into_bytes());
        }
    })
    .await;
    for expect in ["220 ", "221 "] {
        let prober = prober(address, tcp(Some("QUIT\r\n"), Some(expect)), PATIENCE);
        for _ in 0..3 {
            assert_eq!(prober.check().await, Finding::Said, "{expect}");
        }
    }
    let heard = || heard.lock().expect("nobody panics").clone();
    tokio::time::timeout(PATIENCE, async {
        while heard().len() < 12 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("every connection ends");
    assert!(heard().iter().all(|said| said == b"QUIT\r\n" || said == b"Ok(0)"), "{:?}", heard());
}

#[tokio::test]
async fn a_server_that_waits_is_spoken_to_and_its_answer_compared() {
    let address = serve(async |mut stream: TcpStream| {
        let mut line = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut line).await {
            let answer: &[u8] = if line[..count] == *b"PING\r\n" { b"+PONG\r\n" } else { b"-ERR\r\n" };
            let _ = stream.write_all(answer).await;
        }
    })
    .await;
    assert_eq!(check(address, tcp(Some("PING\r\n"), Some("+PONG\r\n")), PATIENCE).await, Finding::Said);
    assert_eq!(check(address, tcp(Some("PING\r\n"), None), PATIENCE).await, Finding::Said, "any answer");
    let other = check(address, tcp(Some("GET\r\n"), Some("+PONG")), Duration::from_millis(300)).await;
    assert_eq!(other, Finding::OtherAnswer);
}

#[tokio::test]
async fn who_says_nothing_or_ends_is_told_so() {
    let silent = serve(async |stream: TcpStream| {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let time = Duration::from_millis(200);
    assert_eq!(check(silent, tcp(Some("?"), None), time).await, Finding::Silent(time));
    assert_eq!(check(silent, tcp(None, Some("!")), time).await, Finding::Silent(time));
    assert!(matches!(check(silent, tcp(None, None), time).await, Finding::Connected(_)));
    let ends = serve(async |stream: TcpStream| drop(stream)).await;
    assert_eq!(check(ends, tcp(None, Some("!")), PATIENCE).await, Finding::Closed);
    assert!(matches!(check(ends, tcp(None, None), PATIENCE).await, Finding::Connected(_)));
}

#[tokio::test]
async fn what_is_wanted_may_come_in_pieces_and_up_to_64_kib() {
    let address = serve(async |mut stream: TcpStream| {
        for piece in [b"fi".repeat(30_000).as_slice(), b"ne"] {
            let _ = stream.write_all(piece).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = stream.write_all(&b"-".repeat(1 << 20)).await;
    })
    .await;
    assert_eq!(check(address, tcp(None, Some("fine")), PATIENCE).await, Finding::Said);
    assert_eq!(check(address, tcp(None, Some("well")), PATIENCE).await, Finding::OtherAnswer);
}
