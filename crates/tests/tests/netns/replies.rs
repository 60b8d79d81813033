//! Clients behind two routers that stand in for one another and send from Ethernet addresses of their own: when one dies in the
//! midst of a download, in which the client has nothing to say, answers go to the other.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Connection, Plane, SERVICE_PORT, Testbed, file, note, until, within};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

on_every_plane! {
    a_download_goes_on_when_its_router_dies["python3"],
    answers_follow_another_route["python3"],
}

/// The routers' common address in our network, and in that of the clients.
const ROUTER: &str = "10.0.0.254";
const FAR_ROUTER: &str = "192.0.2.254";
/// What is sent at once.
const PIECE: usize = 4096;

/// A router between br0 and br9: Ethernet addresses end with its number, and so do its own IP addresses.
fn add_router(bed: &Testbed, number: u8) -> String {
    let name = format!("r{number}");
    bed.add_host(&name, &format!("10.0.0.{}", 250 + number), &format!("de:ad:be:ef:01:{number:02x}"));
    let far = format!("{name}-far");
    let mac = format!("de:ad:be:ef:02:{number:02x}");
    bed.do_in("", &["ip", "link", "add", &far, "type", "veth", "peer", "name", "far", "address", &mac, "netns", &name]);
    bed.do_in("", &["ip", "link", "set", "dev", &far, "master", "br9", "up"]);
    bed.do_in("", &["ethtool", "-K", &far, "tx", "off"]);
    bed.do_in(&name, &["ethtool", "-K", "far", "tx", "off"]);
    bed.do_in(&name, &["ip", "address", "add", &format!("192.0.2.{}/24", 250 + number), "dev", "far"]);
    bed.do_in(&name, &["ip", "link", "set", "dev", "far", "up"]);
    bed.do_in(&name, &["sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]);
    name
}

/// Tells everybody behind an interface that an address is here (RFC 5227, section 3), as one that takes it over does.
const ANNOUNCE: &str = r#"
import socket, sys
interface, address = sys.argv[1], socket.inet_aton(sys.argv[2])
mac = bytes.fromhex(open(f"/sys/class/net/{interface}/address").read().strip().replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((interface, 0))
arp = bytes.fromhex("0001080006040001") + mac + address + bytes(6) + address
raw.send(bytes.fromhex("ffffffffffff") + mac + bytes.fromhex("0806") + arp)
"#;

/// From now on the common addresses are this router's.
fn take_over(bed: &Testbed, router: &str) {
    for (interface, address) in [("eth0", ROUTER), ("far", FAR_ROUTER)] {
        bed.do_in(router, &["ip", "address", "add", &format!("{address}/24"), "dev", interface]);
        bed.do_in(router, &["python3", "-c", ANNOUNCE, interface, address]);
    }
}

/// Without a word: its cables are pulled.
fn die(bed: &Testbed, router: &str) {
    for port in [format!("{router}-br"), format!("{router}-far")] {
        bed.do_in("", &["ip", "link", "set", "dev", &port, "down"]);
    }
}

/// Both routers, a client behind them at 192.0.2.2, and the way there for everybody who needs it.
fn build(bed: &Testbed) -> [String; 2] {
    bed.do_in("", &["ip", "link", "add", "br9", "type", "bridge", "forward_delay", "0"]);
    bed.do_in("", &["ip", "link", "set", "dev", "br9", "up"]);
    let routers = [1, 2].map(|number| add_router(bed, number));
    bed.do_in("", &["ip", "netns", "add", "far"]);
    bed.do_in("", &["ip", "link", "add", "far-br", "type", "veth", "peer", "name", "eth0", "netns", "far"]);
    bed.do_in("", &["ip", "link", "set", "dev", "far-br", "master", "br9", "up"]);
    bed.do_in("", &["ethtool", "-K", "far-br", "tx", "off"]);
    bed.do_in("far", &["ethtool", "-K", "eth0", "tx", "off"]);
    bed.do_in("far", &["ip", "address", "add", "192.0.2.2/24", "dev", "eth0"]);
    bed.do_in("far", &["ip", "link", "set", "dev", "eth0", "up"]);
    bed.do_in("far", &["ip", "link", "set", "dev", "lo", "up"]);
    take_over(bed, &routers[0]);
    bed.do_in("far", &["ip", "route", "add", "default", "via", FAR_ROUTER]);
    until("the router is reached", || {
        (bed.start("far", &["ping", "-c", "1", "-W", "1", ROUTER]).finish().code == Some(0)).then_some(())
    });
    if bed.plane != Plane::Dpdk {
        bed.do_in("lb", &["ip", "route", "add", "default", "via", ROUTER]);
    }
    routers
}

fn config(bed: &Testbed) -> String {
    let own = if bed.plane == Plane::Dpdk { "address = \"10.0.0.10/24\"\ngateway = \"10.0.0.254\"" } else { "" };
    file(&format!("[dataplane]\nmax-flows = 4096\n{own}"), "reply = \"route\"", &[(2, ""), (3, "")])
}

/// Servers that send without end, at a pace, to whoever has connected.
fn serve() {
    for namespace in ["h2", "h3"] {
        let listener =
            within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVICE_PORT)).expect("it is free"));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    use std::io::Write as _;
                    while stream.write_all(&[7; PIECE]).is_ok() {
                        thread::sleep(Duration::from_millis(5));
                    }
                });
            }
        });
    }
}

/// A download, and how much of it has come.
struct Download {
    received: Arc<AtomicUsize>,
    /// The longest time in which nothing came, in milliseconds.
    pause: Arc<AtomicUsize>,
}

impl Download {
    fn start() -> Self {
        let service = (Ipv4Addr::new(10, 0, 0, 10), SERVICE_PORT);
        let mut stream: TcpStream = within("far", || TcpStream::connect(service)).expect("the service is reached");
        let download = Self { received: Arc::default(), pause: Arc::default() };
        let (received, pause) = (Arc::clone(&download.received), Arc::clone(&download.pause));
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            let mut last = Instant::now();
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                received.fetch_add(count, Ordering::Relaxed);
                pause.fetch_max(last.elapsed().as_millis() as usize, Ordering::Relaxed);
                last = Instant::now();
            }
        });
        download
    }

    #[track_caller]
    fn goes_on(&self) {
        let before = self.received.load(Ordering::Relaxed);
        until("the download goes on", || (self.received.load(Ordering::Relaxed) > before + 50 * PIECE).then_some(()));
    }
}

fn a_download_goes_on_when_its_router_dies(bed: &Testbed) {
    let routers = build(bed);
    serve();
    let balancer = bed.balance_config(&config(bed));
    balancer.wait_for(&format!("router {ROUTER} is at de:ad:be:ef:01:01"));
    let downloads: Vec<_> = (0..6).map(|_| Download::start()).collect();
    downloads.iter().for_each(Download::goes_on);

    die(bed, &routers[0]);
    take_over(bed, &routers[1]);
    balancer.wait_for(&format!("router {ROUTER} is at de:ad:be:ef:01:02"));
    downloads.iter().for_each(Download::goes_on);
    let pauses: Vec<_> = downloads.iter().map(|download| download.pause.load(Ordering::Relaxed)).collect();
    note(&format!("{:?}: longest pauses of the downloads, ms: {pauses:?}", bed.plane));
    // Who comes now comes by the other router.
    Download::start().goes_on();
    // A client in our own network is answered where it is.
    let near = Connection::open("", None, SERVICE_PORT);
    assert!(near.is_ok(), "{near:?}");
}

/// The routers do not stand in for one another; another route is put in force, as by a routing daemon.
fn answers_follow_another_route(bed: &Testbed) {
    if bed.plane == Plane::Dpdk {
        // It has one gateway.
        return;
    }
    let _routers = build(bed);
    serve();
    let balancer = bed.balance_config(&config(bed));
    balancer.wait_for(&format!("router {ROUTER} is at "));
    let download = Download::start();
    download.goes_on();
    for router in ["10.0.0.252", "10.0.0.251"] {
        bed.do_in("lb", &["ip", "route", "replace", "default", "via", router]);
        balancer.wait_for(&format!("router {router} is at "));
        download.goes_on();
    }
    bed.do_in("lb", &["ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.252"]);
    Download::start().goes_on();
    download.goes_on();
}
