//! One file for every plane, and what only some of them need from it.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Connection, Plane, Servers, Testbed, assert_refused};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;

on_every_plane! {
    the_same_file_works_with_and_without_its_plane[],
    a_file_for_another_plane_is_refused[],
    a_backend_behind_a_router_is_reached[],
    a_client_meets_one_server_on_every_port_and_after_every_fresh_start[],
}

/// `dataplane` are lines of that section, and these are the service's backends.
fn file(dataplane: &str, backends: &[&str]) -> String {
    let backends: Vec<_> =
        backends.iter().map(|address| format!("{{ address = \"{address}\", port = 8080 }}")).collect();
    format!(
        r#"
        [dataplane]
        {dataplane}
        max-flows = 4096
        [nat]
        addresses = ["10.0.0.10"]
        [[service]]
        name = "test"
        address = "10.0.0.10"
        port = 80
        protocol = "tcp"
        backends = [{}]
        "#,
        backends.join(", ")
    )
}

const BOTH: [&str; 2] = ["10.0.0.2", "10.0.0.3"];

/// The servers that connections to port 80 have reached. That one of two gets none of 40 by chance: 2^-39.
fn reached() -> BTreeSet<String> {
    (0..40).map(|number| Connection::new(80).exchange(&[number]).expect("the connection works")).collect()
}

fn kind(plane: Plane) -> &'static str {
    if plane == Plane::Dpdk { "dpdk" } else { "xdp" }
}

fn the_same_file_works_with_and_without_its_plane(bed: &Testbed) {
    let _servers = Servers::tcp(8080);
    for dataplane in [String::new(), format!("kind = \"{}\"", kind(bed.plane))] {
        let mut balancer = bed.balance_config(&file(&dataplane, &BOTH));
        assert_eq!(reached(), BTreeSet::from(["h2".to_owned(), "h3".to_owned()]), "with \"{dataplane}\"");
        assert_eq!(balancer.interrupt().code, Some(0));
        assert!(!bed.is_occupied());
    }
}

fn a_file_for_another_plane_is_refused(bed: &Testbed) {
    let other = if bed.plane == Plane::Dpdk { Plane::NativeXdp } else { Plane::Dpdk };
    let kind = kind(other);
    let path = bed.config("other.toml", &file(&format!("kind = \"{kind}\""), &BOTH));
    let ended = bed.start_with_file(&path).finish();
    let (_, program) = other.programs();
    assert_refused(&ended, 2, &["other.toml", &format!("kind is \"{kind}\""), program]);
    assert!(!bed.is_occupied());
}

/// A network behind a router, as the balancer's host must know it: on DPDK from the file, on XDP from the kernel's routes.
fn a_backend_behind_a_router_is_reached(bed: &Testbed) {
    bed.add_host("h4", "10.0.0.254", "de:ad:be:ef:00:fe");
    bed.do_in("h4", &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    bed.do_in("", &["ip", "netns", "add", "h5"]);
    bed.do_in("h4", &["ip", "link", "add", "far", "type", "veth", "peer", "name", "eth0", "netns", "h5"]);
    for (namespace, device, address) in [("h4", "far", "192.0.2.1/24"), ("h5", "eth0", "192.0.2.5/24")] {
        bed.do_in(namespace, &["ethtool", "-K", device, "tx", "off"]);
        bed.do_in(namespace, &["ip", "address", "add", address, "dev", device]);
        bed.do_in(namespace, &["ip", "link", "set", "dev", device, "up"]);
    }
    bed.do_in("h5", &["ip", "route", "add", "default", "via", "192.0.2.1"]);
    if bed.plane != Plane::Dpdk {
        bed.do_in("lb", &["ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.254"]);
    }
    let _servers = Servers::tcp_in(&["h2", "h5"], 8080);
    let dataplane = "address = \"10.0.0.10/24\"\ngateway = \"10.0.0.254\"";
    let balancer = bed.balance_config(&file(dataplane, &["10.0.0.2", "192.0.2.5"]));
    balancer.wait_for("backend 192.0.2.5 is at de:ad:be:ef:00:fe");
    assert_eq!(reached(), BTreeSet::from(["h2".to_owned(), "h5".to_owned()]));
}

/// Clients of the test below, so many that they agree by chance once in 2^40 times.
const CLIENTS: std::ops::Range<u8> = 100..140;

/// The servers that the clients meet at a port.
fn met(port: u16) -> Vec<String> {
    let meet = |last: u8| {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 0);
        let mut connection = Connection::open("", Some(from), port).expect("it is taken");
        connection.exchange(&[last]).expect("it works")
    };
    CLIENTS.map(meet).collect()
}

fn a_client_meets_one_server_on_every_port_and_after_every_fresh_start(bed: &Testbed) {
    let _servers = [Servers::tcp(8080), Servers::tcp(8443)];
    let device = bed.do_in("", &["ip", "-o", "address", "show", "to", "10.0.0.1"]).stdout;
    let device = device.split_whitespace().nth(1).expect("an index and a name").to_owned();
    for last in CLIENTS {
        bed.do_in("", &["ip", "address", "add", &format!("10.0.0.{last}/24"), "dev", &device]);
    }
    let secret = bed.config("secret", "0123456789abcdef0123456789abcdef\n");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("it is ours");
    let affine = |text: &str| text.replace("backends =", "affinity = \"client-address\"\nbackends =");
    let http = affine(&file(&format!("secret-file = \"{}\"", secret.display()), &BOTH));
    let https = http[http.find("[[service]]").expect("there is one")..]
        .replace("\"test\"", "\"other\"")
        .replace("port = 80\n", "port = 443\n")
        .replace("8080", "8443");
    let mut before = None;
    for _ in 0..2 {
        let mut balancer = bed.balance_config(&format!("{http}{https}"));
        let met = met(80);
        assert_eq!(self::met(443), met, "on another port");
        assert_eq!(*before.get_or_insert(met.clone()), met, "after a fresh start");
        assert_eq!(balancer.interrupt().code, Some(0));
    }
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).expect("it is ours");
    let path = bed.work.join("evenkeel.toml");
    assert_refused(&bed.start_with_file(&path).finish(), 2, &["evenkeel.toml", ":3:", "others may read", "chmod"]);
}
