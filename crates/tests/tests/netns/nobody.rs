//! What is for an address of the balancer's and for nobody there: its sender is told, and nothing travels to and fro between the
//! balancer's kernel and a router.

use evenkeel_tests::testbed::{self, Servers, Testbed, until, within};
use evenkeel_tests::{on_every_plane, scenarios};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

on_every_plane! {
    whoever_asks_for_what_nobody_serves_is_told[],
    nothing_is_said_where_the_file_says_so["tcpdump"],
    what_is_no_transport_is_not_sent_back_to_the_router["tcpdump"],
    whose_time_to_live_ends_at_the_balancer_is_told[],
}

// DPDK has no kernel behind it.
scenarios! {
    on_generic_xdp_with_a_kernel,
    testbed::on(Plane::GenericXdp),
    an_address_that_the_host_gets_and_loses_is_its_kernels_as_long[],
}

scenarios! {
    on_native_xdp_with_a_kernel,
    testbed::on(Plane::NativeXdp),
    an_address_that_the_host_gets_and_loses_is_its_kernels_as_long[],
}

/// The service's address, and the second NAT address: on no interface, and known to every host by a route.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const NAT: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 8);
/// For the answer to something that is answered at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// For no answer.
const SILENCE: Duration = Duration::from_millis(500);

/// Routes as in a deployment where the router has a route to the balancer's addresses, and the balancer's host one to the
/// router: hosts that forward.
fn build(bed: &Testbed, dataplane: &str) -> (Servers, testbed::Running) {
    let forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1"];
    // No redirects: they would show hosts a shorter way.
    let silent = ["sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0"];
    bed.do_in("", &forward);
    bed.do_in("", &silent);
    bed.do_in("", &["ip", "route", "add", "10.9.9.0/24", "via", "10.0.0.10"]);
    bed.do_in("h2", &["ip", "route", "add", "10.9.9.0/24", "via", "10.0.0.10"]);
    bed.do_in("h3", &["ip", "route", "add", "10.9.9.0/24", "via", "10.0.0.1"]);
    if !bed.plane.namespace().is_empty() {
        bed.do_in("lb", &forward);
        bed.do_in("lb", &silent);
        bed.do_in("lb", &["ip", "route", "add", "default", "via", "10.0.0.1"]);
    }
    let servers = Servers::tcp(8080);
    let text = format!(
        r#"
        [dataplane]
        {dataplane}
        max-flows = 4096
        [nat]
        addresses = ["10.0.0.10", "{NAT}"]
        [[service]]
        name = "tcp"
        address = "{SERVICE}"
        port = 8080
        protocol = "tcp"
        backends = [{{ address = "10.0.0.2", port = 8080 }}]
        [[service]]
        name = "udp"
        address = "{SERVICE}"
        port = 8080
        protocol = "udp"
        backends = [{{ address = "10.0.0.2", port = 8080 }}]
        "#
    );
    let balancer = bed.balance_config(&text);
    // What is served works.
    connect("", SERVICE, 8080, PATIENCE).expect("the service is there");
    (servers, balancer)
}

fn connect(namespace: &str, address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<TcpStream> {
    within(namespace, || TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), patience))
}

/// What becomes of a datagram: an error of the socket's, or silence, which is one as well.
fn ask(namespace: &str, address: Ipv4Addr, port: u16, ttl: u32, patience: Duration) -> io::Error {
    within(namespace, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        let wanted: libc::c_int = 1;
        // SAFETY: a number of that size, which outlives the call.
        let set = unsafe {
            let size = size_of_val(&wanted) as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, (&raw const wanted).cast(), size)
        };
        assert_eq!(set, 0, "errors are told");
        socket.set_ttl(ttl).expect("a time to live");
        socket.set_read_timeout(Some(patience)).expect("not zero");
        socket.connect((address, port)).expect("there is a route");
        socket.send(b"anybody?").expect("it leaves");
        socket.recv(&mut [0; 64]).expect_err("nobody answers")
    })
}

fn counted(bed: &Testbed, reason: &str) -> u64 {
    bed.told_json(&["counters"])[reason].as_u64().unwrap_or(0)
}

/// From next to the balancer, and from behind a router that would get back what the balancer's kernel forwards.
const ASKERS: [&str; 2] = ["", "h3"];

fn whoever_asks_for_what_nobody_serves_is_told(bed: &Testbed) {
    let (_servers, _balancer) = build(bed, "");
    for namespace in ASKERS {
        for (address, port) in [(SERVICE, 81), (NAT, 20_000)] {
            let refused = connect(namespace, address, port, PATIENCE).expect_err("nobody is there");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{namespace} {address}: {refused}");
            let refused = ask(namespace, address, port, 64, PATIENCE);
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{namespace} {address}: {refused}");
        }
    }
    assert!(counted(bed, "unserved-refused") >= 8);
    connect("h3", SERVICE, 8080, PATIENCE).expect("what is served is served from there as well");
}

fn nothing_is_said_where_the_file_says_so(bed: &Testbed) {
    let (_servers, _balancer) = build(bed, "unserved = \"drop\"");
    let capture = bed.start("", &["tcpdump", "-l", "-n", "-i", "veth0", "port 81"]);
    capture.wait_for("listening on");
    for namespace in ASKERS {
        let silence = connect(namespace, SERVICE, 81, SILENCE).expect_err("nobody is there");
        assert_eq!(silence.kind(), ErrorKind::TimedOut, "{namespace}: {silence}");
        let silence = ask(namespace, SERVICE, 81, 64, SILENCE);
        assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&silence.kind()), "{namespace}: {silence}");
    }
    until("all were dropped", || (counted(bed, "unserved") >= 4).then_some(()));
    assert_is_no_loop(capture, 2 * (2 + 1) * 2);
}

/// Nothing more than what was sent: each frame, and again what the router sends on. What travels to and fro does so sixty times.
fn assert_is_no_loop(mut capture: testbed::Running, most: usize) {
    let seen = capture.interrupt().stdout;
    let frames = seen.lines().count();
    assert!(frames > 0 && frames <= most, "{frames} frames: {seen}");
}

fn what_is_no_transport_is_not_sent_back_to_the_router(bed: &Testbed) {
    let (_servers, _balancer) = build(bed, "");
    let capture = bed.start("", &["tcpdump", "-l", "-n", "-i", "veth0", "ip proto 47 or (icmp and icmp[0] = 3)"]);
    capture.wait_for("listening on");
    within("h3", || {
        for (protocol, message) in [(47, vec![0; 24]), (1, [&[3, 3, 0xfc, 0xfc], &[0; 4][..]].concat())] {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol))).expect("a raw socket");
            for address in [SERVICE, NAT] {
                let to = SockAddr::from(SocketAddrV4::new(address, 0));
                socket.send_to(&message, &to).expect("it leaves");
            }
        }
    });
    until("all were dropped", || (counted(bed, "unserved") >= 4).then_some(()));
    assert_is_no_loop(capture, 8);
}

fn whose_time_to_live_ends_at_the_balancer_is_told(bed: &Testbed) {
    let (_servers, _balancer) = build(bed, "");
    // From h3 the router takes one.
    for (namespace, ttl) in [("", 1), ("h3", 2)] {
        let told = ask(namespace, SERVICE, 8080, ttl, PATIENCE);
        assert_eq!(told.raw_os_error(), Some(libc::EHOSTUNREACH), "{namespace}: {told}");
        let told = within(namespace, || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
            socket.set_ttl_v4(ttl).expect("a time to live");
            socket.connect_timeout(&SocketAddrV4::new(SERVICE, 8080).into(), PATIENCE).expect_err("it comes nowhere")
        });
        assert_eq!(told.raw_os_error(), Some(libc::EHOSTUNREACH), "{namespace}: {told}");
    }
    assert!(counted(bed, "time-exceeded") >= 4);
}

fn an_address_that_the_host_gets_and_loses_is_its_kernels_as_long(bed: &Testbed) {
    let (_servers, _balancer) = build(bed, "");
    let _listener = within("lb", || TcpListener::bind("0.0.0.0:81")).expect("the port is free");
    let is_refused = |address| {
        let refused = connect("", address, 81, PATIENCE).map(drop).map_err(|error| error.kind());
        (refused == Err(ErrorKind::ConnectionRefused)).then_some(())
    };
    // The host's own since before the start.
    connect("", Ipv4Addr::new(10, 0, 0, 10), 81, PATIENCE).expect("the kernel's own server");
    for address in [SERVICE, NAT] {
        is_refused(address).expect("nobody is there");
        let on_loopback = format!("{address}/32");
        for on in ["lo", "veth6"] {
            bed.do_in("lb", &["ip", "address", "add", &on_loopback, "dev", on]);
            until("the kernel's server is reached", || connect("", address, 81, PATIENCE).ok());
        }
        // As long as it is on any interface.
        bed.do_in("lb", &["ip", "address", "delete", &on_loopback, "dev", "lo"]);
        let before = counted(bed, "no-service");
        connect("", address, 81, PATIENCE).expect("the kernel's server is still there");
        assert!(counted(bed, "no-service") > before);
        bed.do_in("lb", &["ip", "address", "delete", &on_loopback, "dev", "veth6"]);
        until("nobody is there any more", || is_refused(address));
    }
    connect("", SERVICE, 8080, PATIENCE).expect("the service is there");
}
