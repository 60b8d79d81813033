//! Much traffic: large transfers, many connections at once, steady streams, and what arrives on the wire.

use evenkeel_tests::testbed::{self, Connection, Plane, Running, Servers, Testbed, until};
use evenkeel_tests::{on_every_plane, scenarios};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

on_every_plane! {
    a_hundred_megabytes_each_way_arrive_unharmed["python3", "sha256sum"],
    a_thousand_connections_at_once_with_colliding_ports[],
    datagrams_from_colliding_ports_come_back_to_their_sender[],
    iperf3_streams_tcp_without_a_stall["iperf3"],
    iperf3_streams_udp_without_a_stall["iperf3"],
    receivers_see_right_checksums["tcpdump"],
}

// Packets of a connection and their replies come by different queues.
scenarios! {
    on_dpdk_with_two_lcores,
    testbed::on(Plane::Dpdk).with_lcores(2),
    a_hundred_megabytes_each_way_arrive_unharmed["python3", "sha256sum"],
    a_thousand_connections_at_once_with_colliding_ports[],
}

/// 100 MB each way take seconds on a slow machine, not minutes.
const MEGABYTES: u32 = 100;
const TRANSFER_DEADLINE: Duration = Duration::from_secs(120);

/// Sends a file and receives whatever comes at the same time, then prints what has come: its SHA-256. (nc at times leaves
/// before it has written everything down when both directions are busy, balancer or not.)
const CROSS: &str = r#"
import hashlib, socket, sys, threading
role, address, path = sys.argv[1:]
if role == "listen":
    connection = socket.create_server((address, 8080)).accept()[0]
else:
    connection = socket.create_connection((address, 8080))
def send():
    with open(path, "rb") as file:
        connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
digest, count = hashlib.sha256(), 0
while data := connection.recv(1 << 18):
    digest.update(data)
    count += len(data)
sender.join()
print(digest.hexdigest(), count, flush=True)
"#;

/// Both ends of one TCP connection send a file of random bytes at the same time, and both get the other's.
fn a_hundred_megabytes_each_way_arrive_unharmed(bed: &Testbed) {
    let _balancer = bed.balance();
    let file = |name: &str| {
        let path = bed.work.join(name).display().to_string();
        bed.do_in("", &["sh", "-c", &format!("head -c {MEGABYTES}M /dev/urandom > {path}")]);
        let sum = bed.do_in("", &["sha256sum", &path]).stdout;
        let sum = sum.split(' ').next().unwrap_or_default().to_owned();
        (path, format!("{sum} {}\n", MEGABYTES << 20))
    };
    let (from_client, client_sum) = file("from-client");
    let (from_server, server_sum) = file("from-server");
    let mut servers = Vec::new();
    for name in ["h2", "h3"] {
        servers.push(bed.start(name, &["python3", "-c", CROSS, "listen", "0.0.0.0", &from_server]));
        bed.wait_for_listener(name, "tcp", 8080);
    }
    let mut client = bed.start("", &["python3", "-c", CROSS, "connect", "10.0.0.10", &from_client]);
    let ended = client.finish_within(TRANSFER_DEADLINE);
    assert_eq!(ended.stdout, server_sum, "server to client: {ended}");
    let served = until("the server ends", || servers.iter_mut().position(Running::has_ended));
    let ended = servers[served].finish();
    assert_eq!(ended.stdout, client_sum, "client to server: {ended}");
    assert!(!servers[1 - served].has_ended(), "the other server saw nothing");
}

/// Two hosts, the same source ports on both: only the address tells their connections apart.
const CLIENTS: [(&str, Ipv4Addr); 2] = [("", Ipv4Addr::new(10, 0, 0, 1)), ("h4", Ipv4Addr::new(10, 0, 0, 4))];
const PORTS: std::ops::Range<u16> = 20000..20500;

fn a_thousand_connections_at_once_with_colliding_ports(bed: &Testbed) {
    bed.add_host("h4", "10.0.0.4", "de:ad:be:ef:00:04");
    let servers = Servers::tcp(8080);
    let _balancer = bed.balance();
    let mut connections = Vec::new();
    for port in PORTS {
        for (namespace, address) in CLIENTS {
            let from = SocketAddrV4::new(address, port);
            let connection = Connection::open(namespace, Some(from), 8080);
            connections.push((from, connection.unwrap_or_else(|error| panic!("{from}: {error}"))));
        }
    }
    assert_eq!(connections.len(), 1000);
    let mut per_server = BTreeMap::new();
    // Twice: all say something before anybody listens, so that every connection has something under way.
    for round in 0..2 {
        let text = |from: &SocketAddrV4| format!("{from} round {round} ").repeat(100).into_bytes();
        for (from, connection) in &mut connections {
            connection.send(&text(from)).unwrap_or_else(|error| panic!("{from}: {error}"));
        }
        for (from, connection) in &mut connections {
            let payload = text(from);
            let server = connection.receive(&payload).unwrap_or_else(|error| panic!("{from}: {error}"));
            assert_eq!(servers.that_got(&payload), [server.as_str()], "{from} is whole on one server");
            let before = per_server.insert(*from, server.clone());
            assert!(before.is_none_or(|before| before == server), "{from} moved");
        }
    }
    let on_h2 = per_server.values().filter(|server| *server == "h2").count();
    // Six standard deviations.
    assert!((405..=595).contains(&on_h2), "{on_h2} of 1000 on h2");
}

fn datagrams_from_colliding_ports_come_back_to_their_sender(bed: &Testbed) {
    bed.add_host("h4", "10.0.0.4", "de:ad:be:ef:00:04");
    let servers = Servers::udp(8080);
    let _balancer = bed.balance();
    let mut sockets = Vec::new();
    for port in PORTS.take(200) {
        for (namespace, address) in CLIENTS {
            let socket = testbed::within(namespace, || UdpSocket::bind((address, port))).expect("the port is free");
            socket.connect("10.0.0.10:8080").expect("there is a route");
            socket.set_read_timeout(Some(testbed::DEADLINE)).expect("not zero");
            let text = format!("from {address}:{port}");
            socket.send(text.as_bytes()).expect("it leaves");
            sockets.push((socket, text));
        }
    }
    for (socket, text) in sockets {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no answer to \"{text}\": {error}"));
        assert_eq!(&buffer[2..length], text.as_bytes());
        let server = String::from_utf8_lossy(&buffer[..2]).into_owned();
        assert_eq!(servers.that_got(text.as_bytes()), [server]);
    }
}

/// Any port of TCP and UDP to one server: iperf3 opens a connection for control beside those for data.
const ONE_BACKEND: &str = r#"
[dataplane]
max-flows = 4096
[nat]
addresses = ["10.0.0.10"]
[[service]]
name = "tcp"
address = "10.0.0.10"
port = 0
protocol = "tcp"
backends = [{ address = "10.0.0.2", port = 0 }]
[[service]]
name = "udp"
address = "10.0.0.10"
port = 0
protocol = "udp"
backends = [{ address = "10.0.0.2", port = 0 }]
"#;

/// Ten seconds without one second that carries nothing, as the receiver saw it.
fn stream(bed: &Testbed, options: &[&str]) {
    let mut server = bed.start("h2", &["iperf3", "-s", "-1", "-J"]);
    bed.wait_for_listener("h2", "tcp", 5201);
    let words = [&["iperf3", "-c", "10.0.0.10", "-t", "10", "-J"], options].concat();
    let sender = bed.do_in("", &words);
    let receiver = server.finish();
    // With -R the client is the one who receives.
    let report = if options.contains(&"-R") { &sender } else { &receiver };
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("iperf3 -J writes JSON");
    let intervals = report["intervals"].as_array().expect("a list of intervals");
    assert!(intervals.len() >= 10, "{report}");
    for interval in intervals {
        // What is left of a second at the very end may well be empty.
        if interval["sum"]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.5) {
            assert!(interval["sum"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "a stall: {interval}");
        }
    }
}

fn iperf3_streams_tcp_without_a_stall(bed: &Testbed) {
    let _balancer = bed.balance_config(ONE_BACKEND);
    // Each direction on some plane.
    stream(bed, if bed.plane == Plane::NativeXdp { &["-R"] } else { &[] });
}

fn iperf3_streams_udp_without_a_stall(bed: &Testbed) {
    let _balancer = bed.balance_config(ONE_BACKEND);
    stream(bed, if bed.plane == Plane::NativeXdp { &["-u", "-b", "50M"] } else { &["-u", "-b", "50M", "-R"] });
}

/// Who receives sees right checksums only. In native mode a sender that leaves them to hardware would be found here.
fn receivers_see_right_checksums(bed: &Testbed) {
    let tcp = Servers::tcp(8080);
    let udp = Servers::udp(8081);
    let _balancer = bed.balance();
    let mut captures = Vec::new();
    for (namespace, device) in [("", "veth0"), ("h2", "veth2"), ("h3", "veth4")] {
        let options = ["-Q", "in", "-s", "0", "-n", "-vv", "-l", "-i", device, "port 8080 or port 8081 or icmp"];
        let capture = bed.start(namespace, &[&["tcpdump"], &options[..]].concat());
        capture.wait_for("listening on");
        captures.push(capture);
    }
    for number in 0..20_u8 {
        let payload = vec![number; 1 + 20_000 * usize::from(number)];
        Connection::new(8080).exchange(&payload).expect("the connection holds");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        socket.set_read_timeout(Some(testbed::DEADLINE)).expect("not zero");
        socket.send_to(&payload[..payload.len().min(1400)], "10.0.0.10:8081").expect("it leaves");
        socket.recv(&mut [0; 2048]).expect("the answer comes");
    }
    assert_eq!((tcp.total(), udp.total()), (20, 20));
    bed.do_in("", &["ping", "-c", "3", "-i", "0.2", "10.0.0.10"]);
    for mut capture in captures {
        capture.wait_for("(correct)");
        capture.wait_for("[udp sum ok]");
        let seen = capture.interrupt().stdout;
        let wrong: Vec<_> = seen
            .lines()
            .filter(|line| {
                line.contains("incorrect")
                    || line.contains("bad cksum")
                    || line.contains("bad udp cksum")
                    || line.contains("wrong")
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
