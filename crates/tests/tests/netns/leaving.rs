//! Servers that leave: those that close their listener and finish what they have, and those that leave UDP senders behind.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Backend, SERVICE_PORT, Servers, Testbed, file, is_up, until, within};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

on_every_plane! {
    who_closes_its_listener_finishes_its_downloads[],
    who_is_drained_and_closes_its_listener_finishes_its_downloads[],
    a_sender_of_datagrams_goes_elsewhere_when_its_backend_has_left_the_file[],
    a_sender_of_datagrams_goes_elsewhere_when_its_backend_is_down["python3"],
}

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10), SERVICE_PORT);

/// A download: so many pieces of so many bytes, with a pause before each.
const PIECES: usize = 100;
const PIECE: [u8; 200] = [7; 200];
const PAUSE: Duration = Duration::from_millis(50);
const DOWNLOADS: usize = 24;

/// Told down in less than a second.
const CHECKS: &str = "health = { kind = \"tcp\", interval = \"300ms\", timeout = \"300ms\", rise = 1, fall = 2 }";

/// A server of downloads that can be told to take no more of them.
struct Downloads {
    quits: Arc<AtomicBool>,
}

impl Downloads {
    fn start(namespace: &str) -> Self {
        let listener = within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVICE_PORT)));
        let listener = listener.expect("the port is free");
        listener.set_nonblocking(true).expect("it is a socket");
        let quits = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&quits);
        thread::spawn(move || {
            // The listener closes when this ends; what it has accepted goes on.
            while !told.load(Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(thread::spawn(move || serve(stream))),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { quits }
    }

    fn quit(&self) {
        self.quits.store(true, Relaxed);
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    // A check says nothing.
    stream.read_exact(&mut [0])?;
    for _ in 0..PIECES {
        stream.write_all(&PIECE)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn download() -> io::Result<usize> {
    let mut stream = TcpStream::connect(SERVICE)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&[1])?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all.len())
}

fn quit_under_load(bed: &Testbed, drained: bool) {
    let servers = ["h2", "h3"].map(Downloads::start);
    let _balancer = bed.balance_config(&file("", CHECKS, &[(2, ""), (3, "")]));
    until("both backends are up", || {
        bed.backends().iter().all(|backend| is_up(backend) && backend["since"].is_u64()).then_some(())
    });
    let downloads: Vec<_> = (0..DOWNLOADS).map(|_| thread::spawn(download)).collect();
    until("both servers have some", || {
        let flows = bed.told_json(&["flows", "--limit", "1000"]);
        let flows = flows.as_array().expect("a list");
        let on = |host: u8| {
            let backend = format!("10.0.0.{host}:{SERVICE_PORT}");
            flows.iter().filter(|flow| flow["state"] == "established" && flow["backend"] == backend.as_str()).count()
        };
        (on(2) > 0 && on(3) > 0 && on(2) + on(3) >= DOWNLOADS).then_some(())
    });
    if drained {
        bed.told(&["drain", "web", "10.0.0.2"]);
    }
    servers[0].quit();
    until("its checks fail", || {
        let backend = bed.backend(2).expect("it is there");
        (backend["reason"].as_str().is_some_and(|reason| reason.contains("refused"))).then_some(())
    });
    for (number, download) in downloads.into_iter().enumerate() {
        let length = download.join().expect("it does not panic");
        let length = length.unwrap_or_else(|error| panic!("download {number}: {error}"));
        assert_eq!(length, PIECES * PIECE.len(), "download {number} was cut");
    }
}

fn who_closes_its_listener_finishes_its_downloads(bed: &Testbed) {
    quit_under_load(bed, false);
}

fn who_is_drained_and_closes_its_listener_finishes_its_downloads(bed: &Testbed) {
    quit_under_load(bed, true);
}

/// Somebody with one socket, and the server that answers.
struct Sender(UdpSocket);

impl Sender {
    fn new() -> Self {
        let socket = UdpSocket::bind("10.0.0.1:0").expect("a port is free");
        socket.connect(SERVICE).expect("there is a route");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("not zero");
        Self(socket)
    }

    /// Who answers the next datagram, if anybody does.
    fn ask(&self) -> Option<u8> {
        let mut buffer = [0; 100];
        self.0.send(b"who is it?").ok()?;
        let length = self.0.recv(&mut buffer).ok()?;
        match buffer.get(..length)?.split_first_chunk()? {
            (b"h2", _) => Some(2),
            (b"h3", _) => Some(3),
            other => panic!("{other:?} answers"),
        }
    }

    /// Sees to it that from some moment on another one answers every datagram.
    fn goes_to(&self, host: u8) {
        until("another server answers", || (self.ask() == Some(host)).then_some(()));
        for _ in 0..20 {
            assert_eq!(self.ask(), Some(host));
        }
    }
}

/// Sockets until there is one on each server, each of which has talked for long enough to be a stream.
fn one_to_each() -> [(u8, Sender); 2] {
    let senders = [2, 3].map(|host| {
        let on_it = || Some(Sender::new()).filter(|sender| sender.ask() == Some(host));
        (host, until("a server answers", on_it))
    });
    for _ in 0..30 {
        senders.iter().for_each(|(host, sender)| assert_eq!(sender.ask(), Some(*host)));
        thread::sleep(Duration::from_millis(100));
    }
    senders
}

fn udp(health: &str, backends: &[(u8, &str)]) -> String {
    file("", health, backends).replace("protocol = \"tcp\"", "protocol = \"udp\"")
}

fn a_sender_of_datagrams_goes_elsewhere_when_its_backend_has_left_the_file(bed: &Testbed) {
    let _servers = Servers::udp(SERVICE_PORT);
    let _balancer = bed.balance_config(&udp("", &[(2, ""), (3, "")]));
    let [on_h2, on_h3] = one_to_each();
    bed.reload(&udp("", &[(3, "")]));
    on_h2.1.goes_to(3);
    assert_eq!(on_h3.1.ask(), Some(3), "who was there stays");
}

fn a_sender_of_datagrams_goes_elsewhere_when_its_backend_is_down(bed: &Testbed) {
    let _servers = Servers::udp(SERVICE_PORT);
    // Looked after by TCP, on the same port.
    let [_h2, mut h3] = ["h2", "h3"].map(|name| Backend::start(bed, name));
    let _balancer = bed.balance_config(&udp(CHECKS, &[(2, ""), (3, "")]));
    let [on_h2, on_h3] = one_to_each();
    h3.kill();
    until("h3 is down", || bed.backend(3).filter(|backend| !is_up(backend)));
    on_h3.1.goes_to(2);
    assert_eq!(on_h2.1.ask(), Some(2), "who was there stays");
    h3.heal(bed);
    until("h3 is up", || bed.backend(3).filter(is_up));
    assert_eq!(on_h2.1.ask(), Some(2), "and stays");
    assert_eq!(on_h3.1.ask(), Some(2), "and who has gone stays there");
}
