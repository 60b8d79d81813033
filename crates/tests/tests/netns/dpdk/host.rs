//! What the kernel does for XDP, and the DPDK plane does itself: packets wait for a backend's Ethernet address.

use evenkeel_tests::testbed::{self, Plane, Servers, Testbed};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use std::{io, thread};

const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10)), 8080);

/// A packet waits for some three seconds; a machine may be slower than that now and then, but not each time.
const ATTEMPTS: usize = 3;
/// What tcpdump says of a packet to it.
const ARRIVES: &str = " > 10.0.0.10.8080: ";

const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a balancer whose backends are not there yet, sends something, and lets them appear when it has left.
fn first_packet(bed: &Testbed, filter: &str, mut send: impl FnMut() -> io::Result<()> + Send) {
    for attempt in 1..=ATTEMPTS {
        let links = |state| {
            for (name, device) in [("h2", "veth2"), ("h3", "veth4")] {
                bed.do_in(name, &["ip", "link", "set", "dev", device, state]);
            }
        };
        links("down");
        let mut balancer = bed.start_balancer();
        // A balancer's TAP device has another Ethernet address each time.
        bed.do_in("", &["ip", "neigh", "flush", "dev", "veth0"]);
        let filter = format!("src host 10.0.0.1 and dst host 10.0.0.10 and {filter}");
        let mut capture = bed.start("", &["tcpdump", "-Q", "out", "-l", "-n", "-i", "veth0", &filter]);
        capture.wait_for("listening on");
        let sent = thread::scope(|scope| {
            let sent = scope.spawn(&mut send);
            capture.wait_for(ARRIVES);
            links("up");
            sent.join().expect("it does not panic")
        });
        let packets = capture.interrupt().stdout;
        let ended = balancer.interrupt();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("event held-for-neighbour"), "{ended}");
        match sent {
            Ok(()) => {
                assert_eq!(packets.matches(ARRIVES).count(), 1, "sent once: {packets}");
                return;
            }
            Err(error) => println!("attempt {attempt}: {error}: {ended}"),
        }
    }
    panic!("the packet was lost in {ATTEMPTS} attempts");
}

#[test]
fn the_first_syn_to_a_backend_that_is_not_known_yet_is_held_and_delivered() {
    testbed::on(Plane::Dpdk).needs(&["nft", "tcpdump"]).run(|bed| {
        let _servers = Servers::tcp(8080);
        first_packet(bed, "tcp[tcpflags] = tcp-syn", || {
            // One SYN of this client ever leaves. That it cannot send another is what the test is about.
            let one_syn = "flush ruleset
                add table ip test
                add chain ip test output { type filter hook output priority 0; }
                add rule ip test output tcp flags & (syn | ack) == syn limit rate over 1/hour burst 1 packets drop";
            bed.do_in("", &["nft", one_syn]);
            TcpStream::connect_timeout(&SERVICE, PATIENCE).map(drop)
        });
    });
}

#[test]
fn the_first_datagram_to_a_backend_that_is_not_known_yet_is_held_and_delivered() {
    testbed::on(Plane::Dpdk).needs(&["tcpdump"]).run(|bed| {
        let _servers = Servers::udp(8080);
        first_packet(bed, "udp", || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send_to(b"once", SERVICE)?;
            socket.recv(&mut [0; 64]).map(drop)
        });
    });
}
