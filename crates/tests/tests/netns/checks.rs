//! What backends are asked, by real servers: those that speak first, name servers, and whoever answers datagrams or does not.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Backend, Load, Plane, Running, Testbed, file, is_up, until};
use std::thread;
use std::time::Duration;

on_every_plane! {
    a_new_backend_gets_nothing_before_its_first_good_check["python3"],
    a_server_that_shuts_out_who_breaks_off_goes_on_serving["python3"],
    datagrams_are_answered_or_refused["python3"],
}

/// Connections after which each of two servers has surely been reached.
const MANY: usize = 60;

fn checks(kind: &str) -> String {
    format!("health = {{ {kind}, interval = \"500ms\", timeout = \"400ms\", rise = 2, fall = 3 }}")
}

fn wait_until(bed: &Testbed, host: u8, state: &str) -> String {
    until(&format!("{host} is {state}"), || {
        let backend = bed.backend(host)?;
        (backend["state"] == state && backend["since"].is_u64())
            .then(|| backend["reason"].as_str().map(str::to_owned))?
    })
}

fn a_new_backend_gets_nothing_before_its_first_good_check(bed: &Testbed) {
    let (_h2, mut h3) = (Backend::start(bed, "h2"), Backend::start(bed, "h3"));
    let health = checks("kind = \"tcp\"");
    let _balancer = bed.balance_config(&file("", &health, &[(2, "")]));
    wait_until(bed, 2, "up");
    h3.kill();
    let load = Load::start(MANY / 3);
    bed.config("evenkeel.toml", &file("", &health, &[(2, ""), (3, "")]));
    bed.told(&["reload"]);
    let new = bed.backend(3).expect("it is there");
    assert_eq!((&new["state"], &new["reason"]), (&"down".into(), &"waits for its first good check".into()));
    load.next(2 * MANY).assert_on(&["h2"]);
    assert_eq!(wait_until(bed, 3, "down"), "connection refused");
    load.next(2 * MANY).assert_on(&["h2"]);
    load.goes_on(&["h2"]);
    h3.heal(bed);
    wait_until(bed, 3, "up");
    load.assert_share("h3", 2);
}

/// Greets, and shuts out an address that five times in a row has said nothing to that, as MySQL and MariaDB shut out one after a
/// hundred, however it has ended the connection. Whoever says who he is gets an answer.
const TOUCHY: &str = r#"
import socket, threading, time
broke_off = {}
def serve(connection, address):
    try:
        if broke_off.get(address, 0) >= 5:
            connection.sendall(b"Host is blocked because of many connection errors")
        else:
            # A thread has to be found first.
            time.sleep(0.02)
            connection.sendall(b"5.5.5-MariaDB mysql_native_password")
            if not connection.recv(100):
                raise OSError
            broke_off[address] = 0
            connection.sendall(b"Access denied")
    except OSError:
        broke_off[address] = broke_off.get(address, 0) + 1
    connection.close()
listener = socket.create_server(("", 8080), backlog=64)
print("listening", flush=True)
while True:
    connection, (address, _) = listener.accept()
    threading.Thread(target=serve, args=(connection, address), daemon=True).start()
"#;

const CLIENT: &str = r#"
import socket
with socket.create_connection(("10.0.0.10", 8080), timeout=5) as connection:
    connection.settimeout(5)
    print(connection.recv(100).decode())
    connection.sendall(b"me")
    print(connection.recv(100).decode())
"#;

fn start_python(bed: &Testbed, host: &str, program: &str) -> Running {
    let server = bed.start(host, &["python3", "-c", program]);
    server.wait_for("listening");
    server
}

fn a_server_that_shuts_out_who_breaks_off_goes_on_serving(bed: &Testbed) {
    let _servers = ["h2", "h3"].map(|host| start_python(bed, host, TOUCHY));
    // On DPDK checks leave from the host, and full NAT from the balancer.
    let source = if bed.plane == Plane::Dpdk { "" } else { ", source = \"10.0.0.4\"" };
    if bed.plane != Plane::Dpdk {
        bed.do_in("lb", &["ip", "address", "add", "10.0.0.4/24", "dev", "veth6"]);
    }
    let says = "kind = \"tcp\", send = \"me\"";
    let says_not = format!("kind = \"tcp\"{source}");
    for kind in [says, &says_not] {
        let mut balancer = bed.balance_config(&file("", &checks(kind), &[(2, ""), (3, "")]));
        wait_until(bed, 2, "up");
        wait_until(bed, 3, "up");
        // A dozen checks of each, and no client.
        thread::sleep(Duration::from_secs(6));
        for _ in 0..10 {
            let told = bed.do_in("", &["python3", "-c", CLIENT]).stdout;
            assert_eq!(told, "5.5.5-MariaDB mysql_native_password\nAccess denied\n", "{kind}");
        }
        let ended = balancer.interrupt();
        assert!(!ended.stderr.contains("is down"), "{ended}");
        bed.wait_for_the_dead();
    }
    // By now they have shut out the address that checks leave from, and a check that looks sees it.
    let looks = format!("kind = \"tcp\", expect = \"mysql_native_password\"{source}");
    let _balancer = bed.balance_config(&file("", &checks(&looks), &[(2, ""), (3, "")]));
    assert_eq!(wait_until(bed, 2, "down"), "the answer does not hold \"mysql_native_password\"");
}

/// Answers DNS questions without an error, and whatever is none by an echo; and says nothing at all at another port.
const TALKATIVE: &str = r#"
import select, socket
talks, silent = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
talks.bind(("", 8080))
silent.bind(("", 8081))
print("listening", flush=True)
while True:
    for ready in select.select([talks, silent], [], [])[0]:
        datagram, address = ready.recvfrom(2048)
        if ready is talks:
            is_dns = datagram[4:6] == b"\x00\x01"
            talks.sendto(datagram[:2] + b"\x81\x80" + datagram[4:] if is_dns else b"echo " + datagram, address)
"#;

fn datagrams_are_answered_or_refused(bed: &Testbed) {
    // A host tells one asker of refusals once a second in the long run (icmp(7), icmp_ratelimit), and checks ask twice as often.
    bed.do_in("h3", &["sh", "-c", "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"]);
    for (kind, up) in [
        ("kind = \"dns\", name = \"www.example\"", "DNS NOERROR"),
        ("kind = \"udp\", send = \"hello\", expect = \"echo hello\"", "answered as wanted"),
        ("kind = \"udp\", send = \"hello\", port = 8081", "no answer, and no refusal"),
    ] {
        let _h2 = start_python(bed, "h2", TALKATIVE);
        let mut h3 = start_python(bed, "h3", TALKATIVE);
        let text = file("", &checks(kind), &[(2, ""), (3, "")]).replace("\"tcp\"", "\"udp\"");
        let mut balancer = bed.balance_config(&text);
        assert_eq!((wait_until(bed, 2, "up"), wait_until(bed, 3, "up")), (up.to_owned(), up.to_owned()));
        h3.signal(libc::SIGKILL);
        h3.finish();
        assert_eq!(wait_until(bed, 3, "down"), "connection refused", "by ICMP: {kind}");
        let h3 = start_python(bed, "h3", TALKATIVE);
        assert_eq!(wait_until(bed, 3, "up"), up);
        // A host that is gone says nothing, and does not answer ARP either.
        bed.do_in("", &["ip", "link", "set", "dev", "veth5", "down"]);
        let reason = wait_until(bed, 3, "down");
        // Whoever finds out first: the check, or the plane that looks for the host itself.
        let reasons = ["no answer within 400ms", "no route to host", "does not answer ARP any more"];
        assert!(reasons.contains(&reason.as_str()), "{kind}: {reason}");
        bed.do_in("", &["ip", "link", "set", "dev", "veth5", "up"]);
        assert_eq!(wait_until(bed, 3, "up"), up);
        assert!(is_up(&bed.backend(2).expect("it is there")), "nothing happened to it");
        drop(h3);
        assert_eq!(balancer.interrupt().code, Some(0));
        bed.wait_for_the_dead();
    }
}
