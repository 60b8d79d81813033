//! Sessions of nc, dig, curl and iperf3 through a real balancer, recorded on the cable in front of it and replayed packet
//! by packet through both planes: verdicts, bytes, counters and flow tables are the same, and clients get what they got.

use evenkeel_control::Config;
use evenkeel_core::{Reason, Verdict};
use evenkeel_tests::program::{Recording, Setup, with_twins};
use evenkeel_tests::testbed::{self, Plane, Testbed, until};

/// The balancer's end of the cable, as the testbed makes it.
const BALANCER_MAC: [u8; 6] = [0xde, 0xad, 0xbe, 0xef, 0, 0x10];
/// The bridge's end, where everything that comes and leaves can be seen.
const CABLE: &str = "veth7";
const SERVERS: [&str; 2] = ["h2", "h3"];
/// What the last echo request and its reply carry, several times.
const MARK: &[u8] = b"the end.";

/// A balancer for any port, in front of these hosts of 10.0.0.0/24.
fn file(hosts: &[u8]) -> String {
    let backend = |host| format!("{{ address = \"10.0.0.{host}\", port = 0 }}");
    let backends = hosts.iter().map(backend).collect::<Vec<_>>().join(", ");
    let service = |protocol| {
        format!(
            "[[service]]\nname = \"any-{protocol}\"\naddress = \"10.0.0.10\"\nport = 0\nprotocol = \"{protocol}\"\n\
             backends = [{backends}]\n"
        )
    };
    format!("[nat]\naddresses = [\"10.0.0.10\"]\n{}{}", service("tcp"), service("udp"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Records a session through a balancer with this file.
fn record(bed: &Testbed, text: &str, session: impl FnOnce(&Testbed)) -> Recording {
    let _balancer = bed.balance_config(text);
    // Packets as they are on the cable, not joined to larger ones.
    bed.do_in("", &["ethtool", "-K", CABLE, "gro", "off"]);
    let file = bed.work.join("session.pcap");
    let path = file.display().to_string();
    let options = ["-Z", "root", "-B", "32768", "--immediate-mode", "-U", "-s", "2000", "-i", CABLE, "-w", &path];
    let mut capture = bed.start("", &[&["tcpdump"], &options[..]].concat());
    capture.wait_for("listening on");
    // So that somebody asks for it.
    bed.do_in("", &["ip", "neigh", "flush", "to", "10.0.0.10"]);
    session(bed);
    // When these are in the file, so is everything before them.
    bed.do_in("", &["ping", "-c", "1", "-p", &hex(MARK), "10.0.0.10"]);
    until("the last packets are written down", || (Recording::marked(&file, MARK) == 2).then_some(()));
    let said = capture.interrupt();
    assert!(said.stderr.contains("0 packets dropped by kernel"), "{said}");
    Recording::read(&file, BALANCER_MAC)
}

/// Records a session and replays it, to DPDK packet by packet and in bursts.
fn assert_replays_alike(bed: &Testbed, text: &str, packets: usize, session: impl FnOnce(&Testbed)) {
    let recording = record(bed, text, session);
    let config = Config::parse("evenkeel.toml", text).expect("the balancer has read it");
    let setup = Setup { mac: BALANCER_MAC, ..Setup::new(config, 1024) };
    with_twins(&setup, |twins| {
        for burst in [1, 5, 32] {
            let reasons = twins.play(burst, |twins| recording.replay(twins));
            let reasons = reasons.unwrap_or_else(|difference| panic!("{burst} at once: {difference}"));
            let count = |of: Reason| reasons.iter().filter(|&&reason| reason == of).count();
            let lost: Vec<_> = reasons.iter().filter(|reason| reason.verdict() == Verdict::Drop).collect();
            assert!(lost.is_empty(), "{lost:?}");
            assert!(count(Reason::ToBackend) >= packets && count(Reason::ToClient) >= packets, "{reasons:?}");
            let passed = reasons.iter().filter(|reason| reason.verdict() == Verdict::Pass).count();
            assert!(count(Reason::EchoReply) > 0 && passed > 0, "{reasons:?}");
            println!("{} packets, {passed} of them passed, {burst} at once", reasons.len());
        }
    });
}

#[test]
fn sessions_of_nc_replay_alike() {
    testbed::on(Plane::NativeXdp).needs(&["nc", "tcpdump", "ping"]).run(|bed| {
        assert_replays_alike(bed, &file(&[2, 3]), 50, |bed| {
            let answer = "while nc -N -l 8080 < /etc/services; do :; done";
            let _servers = SERVERS.map(|server| bed.start(server, &["sh", "-c", answer]));
            for _ in 0..10 {
                SERVERS.iter().for_each(|server| bed.wait_for_listener(server, "tcp", 8080));
                bed.do_in("", &["sh", "-c", "nc -N 10.0.0.10 8080 < /etc/protocols"]);
            }
        });
    });
}

/// Answers every question with itself, which is a proper answer: there is nothing.
const NAME_SERVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 53))
while True:
    question, client = server.recvfrom(512)
    server.sendto(question[:2] + bytes([question[2] | 0x80]) + question[3:], client)
"#;

#[test]
fn sessions_of_dig_replay_alike() {
    testbed::on(Plane::NativeXdp).needs(&["dig", "python3", "tcpdump", "ping"]).run(|bed| {
        assert_replays_alike(bed, &file(&[2, 3]), 30, |bed| {
            let _servers = SERVERS.map(|server| bed.start(server, &["python3", "-c", NAME_SERVER]));
            SERVERS.iter().for_each(|server| bed.wait_for_listener(server, "udp", 53));
            for number in 0..30 {
                let name = format!("host-{number}.example.net");
                let said = bed.do_in("", &["dig", "@10.0.0.10", "+tries=1", "+noedns", &name]).stdout;
                assert!(said.contains("status: NOERROR"), "{said}");
            }
        });
    });
}

#[test]
fn sessions_of_curl_replay_alike() {
    testbed::on(Plane::NativeXdp).needs(&["curl", "python3", "tcpdump", "ping"]).run(|bed| {
        assert_replays_alike(bed, &file(&[2, 3]), 100, |bed| {
            let page = bed.config("page", &"all the same ".repeat(20_000));
            let directory = bed.work.display().to_string();
            let server = ["python3", "-m", "http.server", "8000", "--directory", &directory];
            let _servers = SERVERS.map(|name| bed.start(name, &server));
            SERVERS.iter().for_each(|name| bed.wait_for_listener(name, "tcp", 8000));
            for _ in 0..5 {
                let got = bed.do_in("", &["curl", "-sS", "http://10.0.0.10:8000/page"]).stdout;
                assert_eq!(got, std::fs::read_to_string(&page).expect("it was written"));
            }
        });
    });
}

#[test]
fn sessions_of_iperf3_replay_alike() {
    testbed::on(Plane::NativeXdp).needs(&["iperf3", "tcpdump", "ping"]).run(|bed| {
        // Its connections, for control and for data, must come to one server.
        assert_replays_alike(bed, &file(&[2]), 500, |bed| {
            for options in [&["-n", "1M"][..], &["-n", "1M", "-R"], &["-u", "-n", "500K", "-b", "0"]] {
                let mut server = bed.start(SERVERS[0], &["iperf3", "-s", "-1"]);
                bed.wait_for_listener(SERVERS[0], "tcp", 5201);
                bed.do_in("", &[&["iperf3", "-c", "10.0.0.10"], options].concat());
                server.finish();
            }
        });
    });
}
