//! Neighbours of IPv6, and neighbours in a VLAN: the kernels of the testbed's hosts find the balancer's addresses, and it finds them.

use evenkeel_tests::testbed::{self, Plane, Running, Servers, TAP, Testbed, connect_tap, repository, until};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Ethernet addresses of h2 and h3.
const H2: &str = "de:ad:be:ef:00:02";
const H3: &str = "de:ad:be:ef:00:03";

/// A file with these lines about the port, for a service at this address.
fn file(dataplane: &str, address: &str, backend: &str) -> String {
    format!(
        "[dataplane]\nkind = \"dpdk\"\n{dataplane}\n\n[nat]\naddresses = [\"{address}\"]\n\n[[service]]\nname = \"web\"\n\
         address = \"{address}\"\nport = 8080\nprotocol = \"tcp\"\nbackends = [{{ address = \"{backend}\", port = 8080 }}]\n"
    )
}

const OWN: &str = "address = \"10.0.0.10/24\"\naddress6 = \"fd00::10/64\"";

/// Starts a balancer on a port in a namespace.
fn start(bed: &Testbed, namespace: &str, device: &str, text: &str) -> Running {
    let program = repository().join("build/evenkeel-dpdk").display().to_string();
    let place = |name: &str| bed.work.join(name).display().to_string();
    bed.config("discovery.toml", text);
    let ours = ["--config", &place("discovery.toml"), "--socket", &place("socket"), "--state", &place("state")];
    let words = [vec![program], bed.eal(device), vec!["--".to_owned()], ours.map(str::to_owned).to_vec()].concat();
    let balancer = bed.start(namespace, &words);
    balancer.wait_for(": ready on ");
    balancer
}

/// The same on the TAP device, and connects that.
fn start_on_tap(bed: &Testbed, text: &str) -> Running {
    let balancer = start(bed, "", TAP, text);
    connect_tap();
    balancer
}

/// The Ethernet address that a balancer on a TAP device says that it has.
fn mac_of(balancer: &Running) -> String {
    let said = balancer.stderr();
    let (_, rest) = said.split_once("ready on net_tap0 (net_tap, ").expect("it is ready");
    rest.split(')').next().expect("in brackets").to_owned()
}

fn ip(bed: &Testbed, namespace: &str, words: &[&str]) -> String {
    let network = if namespace.is_empty() { vec!["ip"] } else { vec!["ip", "-n", namespace] };
    bed.do_in("", &[&network[..], words].concat()).stdout
}

/// Gives the hosts addresses of IPv6 in fd00::/64, as they have them of IPv4.
fn with_ipv6(bed: &Testbed) {
    for (namespace, device, address) in
        [("", "veth0", "fd00::1"), ("h2", "veth2", "fd00::2"), ("h3", "veth4", "fd00::3")]
    {
        ip(bed, namespace, &["address", "add", &format!("{address}/64"), "dev", device, "nodad"]);
    }
}

/// Waits until a host has asked for an address and knows that it is there.
fn finds(bed: &Testbed, namespace: &str, address: &str, mac: &str) {
    until(&format!("'{namespace}' finds {address}"), || {
        // Something to be sent there.
        bed.start(namespace, &["ping", "-c", "1", "-W", "1", address]).finish();
        let known = ip(bed, namespace, &["neighbour", "show", "to", address]);
        (known.contains(&format!("lladdr {mac}")) && known.contains("REACHABLE")).then_some(())
    });
}

#[test]
fn hosts_find_our_addresses_of_ipv6_by_multicast_and_by_unicast() {
    testbed::on(Plane::Dpdk).needs(&["ping"]).run(|bed| {
        with_ipv6(bed);
        let balancer = start_on_tap(bed, &file(OWN, "10.0.0.10", "10.0.0.2"));
        let mac = mac_of(&balancer);
        for namespace in ["", "h2", "h3"] {
            finds(bed, namespace, "fd00::10", &mac);
        }
        // Who knows where we are asks there, and nowhere else, whether we still are.
        ip(bed, "h2", &["neighbour", "replace", "fd00::10", "lladdr", &mac, "nud", "probe", "dev", "veth2"]);
        until("h2 is told that we are", || {
            ip(bed, "h2", &["neighbour", "show", "to", "fd00::10"]).contains("REACHABLE").then_some(())
        });
    });
}

#[test]
fn an_address_that_another_host_has_is_told_and_one_that_we_have_nobody_else_gets() {
    testbed::on(Plane::Dpdk).run(|bed| {
        with_ipv6(bed);
        let on_h2 = |words: &[&str]| ip(bed, "h2", &[&["address"], words].concat());
        on_h2(&["add", "fd00::10/64", "dev", "veth2", "nodad"]);
        let balancer = start_on_tap(bed, &file(OWN, "10.0.0.10", "10.0.0.2"));
        balancer.wait_for(&format!("{H2} says that it has fd00::10, too"));
        finds(bed, "", "fd00::10", H2);
        // When he has gone, those who have known him are told.
        on_h2(&["del", "fd00::10/64", "dev", "veth2"]);
        let mac = mac_of(&balancer);
        until("this host has been told", || {
            ip(bed, "", &["neighbour", "show", "to", "fd00::10"]).contains(&mac).then_some(())
        });
        // He would like to have it again.
        on_h2(&["add", "fd00::10/64", "dev", "veth2"]);
        until("h2 does without", || on_h2(&["show", "dev", "veth2"]).contains("dadfailed").then_some(()));
    });
}

/// A bridge that knows who is in which group hands questions for an address to those only who are in its group.
#[test]
fn a_switch_that_listens_knows_that_we_are_in_our_groups() {
    testbed::on(Plane::Dpdk).needs(&["ping", "bridge"]).run(|bed| {
        with_ipv6(bed);
        bed.do_in(
            "",
            &["ip", "link", "set", "dev", "br0", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1"],
        );
        let balancer = start_on_tap(bed, &file(OWN, "10.0.0.10", "10.0.0.2"));
        let groups = || bed.do_in("", &["bridge", "mdb", "show", "dev", "br0"]).stdout;
        until("the bridge knows", || {
            groups().lines().any(|line| line.contains("port tapdpdk grp ff02::1:ff00:10")).then_some(())
        });
        finds(bed, "h2", "fd00::10", &mac_of(&balancer));
        // It forgets, and asks.
        bed.do_in("", &["ip", "link", "set", "dev", "br0", "type", "bridge", "mcast_snooping", "0"]);
        bed.do_in("", &["ip", "link", "set", "dev", "br0", "type", "bridge", "mcast_snooping", "1"]);
        let query =
            "mcast_query_interval 100 mcast_startup_query_interval 100 mcast_startup_query_count 5 mcast_querier 0";
        let query = ["ip link set dev br0 type bridge", query].join(" ");
        bed.do_in("", &["sh", "-c", &format!("{query}; ip link set dev br0 type bridge mcast_querier 1")]);
        until("the bridge knows again", || groups().contains("port tapdpdk grp ff02::1:ff00:10").then_some(()));
    });
}

#[test]
fn an_interface_of_the_kernels_receives_our_groups_as_long_as_we_live() {
    testbed::on(Plane::Dpdk).with_lb().needs(&["ping"]).run(|bed| {
        with_ipv6(bed);
        ip(bed, "lb", &["address", "del", "10.0.0.10/24", "dev", "veth6"]);
        let own = "address = \"10.0.0.10/24\"\naddress6 = \"fd00::12:3456/64\"";
        let mut balancer = start(bed, "lb", "net_af_packet0,iface=veth6", &file(own, "10.0.0.10", "10.0.0.2"));
        let groups = || ip(bed, "lb", &["maddress", "show", "dev", "veth6"]);
        until("the interface is told", || groups().contains("33:33:ff:12:34:56").then_some(()));
        assert!(bed.link("veth6").contains("promiscuity 0"), "{}", bed.link("veth6"));
        finds(bed, "", "fd00::12:3456", "de:ad:be:ef:00:10");
        balancer.signal(libc::SIGKILL);
        balancer.finish();
        until("nothing is left at the interface", || (!groups().contains("33:33:ff:12:34:56")).then_some(()));
    });
}

/// A switch's port of a trunk: frames from the first interface leave by the second with a tag of this VLAN, and those that come with
/// one go the other way without it. Kernels have this only with the module 8021q, or with VLAN filtering in their bridges.
const TRUNK: &str = r#"
import select, socket, struct, sys
AUXDATA = (263, 8)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes tags off before it hands frames over
OUTGOING, VLAN_VALID = 4, 16
vlan = int(sys.argv[3])

def port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    port.setsockopt(*AUXDATA, 1)
    port.bind((name, 0))
    return port

inside, trunk = port(sys.argv[1]), port(sys.argv[2])
print("the trunk is there", flush=True)
while True:
    for port in select.select([inside, trunk], [], [])[0]:
        frame, about, _, place = port.recvmsg(65536, 256)
        if place[2] == OUTGOING:
            continue
        tags = [struct.unpack("=IIIHHHH", data) for level, kind, data in about if (level, kind) == AUXDATA]
        tag = next((tag[5] & 0xfff for tag in tags if tag[0] & VLAN_VALID), None)
        if port is inside:
            trunk.send(frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:])
        elif tag == vlan:
            inside.send(frame)
"#;

/// Starts a balancer on the TAP device, which is a trunk's end: the testbed's hosts are in this VLAN of it.
fn start_on_trunk(bed: &Testbed, vlan: u16, text: &str) -> (Running, Running) {
    let balancer = start(bed, "", TAP, text);
    bed.do_in("", &["ip", "link", "add", "access", "type", "veth", "peer", "name", "inside"]);
    bed.do_in("", &["ethtool", "-K", "access", "tx", "off"]);
    bed.do_in("", &["ip", "link", "set", "dev", "access", "master", "br0", "up"]);
    for name in ["inside", "tapdpdk"] {
        bed.do_in("", &["ip", "link", "set", "dev", name, "up"]);
    }
    let trunk = bed.start("", &["python3", "-c", TRUNK, "inside", "tapdpdk", &vlan.to_string()]);
    trunk.wait_for("the trunk is there");
    (balancer, trunk)
}

#[test]
fn a_balancer_in_a_vlan_is_found_there_and_finds_its_backends_there() {
    testbed::on(Plane::Dpdk).needs(&["ping", "python3"]).run(|bed| {
        with_ipv6(bed);
        let _servers = Servers::tcp(8080);
        let text = file(&format!("{OWN}\nvlan = 5"), "10.0.0.10", "10.0.0.2");
        let (balancer, _trunk) = start_on_trunk(bed, 5, &text);
        balancer.wait_for(&format!("backend 10.0.0.2 is at {H2}"));
        let mac = mac_of(&balancer);
        finds(bed, "", "10.0.0.10", &mac);
        finds(bed, "h3", "fd00::10", &mac);
        let service: SocketAddr = "10.0.0.10:8080".parse().expect("an address");
        TcpStream::connect_timeout(&service, Duration::from_secs(20)).expect("packets pass with their tags");
    });
}

#[test]
fn a_question_in_a_vlan_is_answered_there_and_backends_are_elsewhere() {
    testbed::on(Plane::Dpdk).needs(&["ping", "python3"]).run(|bed| {
        with_ipv6(bed);
        let (balancer, _trunk) = start_on_trunk(bed, 7, &file(OWN, "10.0.0.10", "10.0.0.2"));
        let mac = mac_of(&balancer);
        for namespace in ["", "h2"] {
            finds(bed, namespace, "10.0.0.10", &mac);
            finds(bed, namespace, "fd00::10", &mac);
        }
        bed.do_in("h3", &["ping", "-c", "1", "-w", "20", "10.0.0.10"]);
        balancer.wait_for("backend 10.0.0.2 does not answer ARP");
    });
}

#[test]
fn backends_of_ipv6_are_found_and_those_elsewhere_by_the_router_that_says_it_is_there() {
    testbed::on(Plane::Dpdk).run(|bed| {
        with_ipv6(bed);
        let text = file(OWN, "fd00::10", "fd00::2");
        let text = text.replace("backends = [", "backends = [{ address = \"fd01::2\", port = 8080 }, ");
        let balancer = start_on_tap(bed, &text);
        balancer.wait_for(&format!("backend fd00::2 is at {H2}"));
        balancer.wait_for("backend fd01::2 is not in our network, and there is no gateway");
        let advertisement = format!(
            "from scapy.all import *\nmac = '{H3}'\nsendp(Ether(src=mac, dst='33:33:00:00:00:01') / \
             IPv6(src='fe80::dcad:beff:feef:3', dst='ff02::1') / ICMPv6ND_RA(routerlifetime=1800) / \
             ICMPv6NDOptSrcLLAddr(lladdr=mac), iface='veth4')"
        );
        bed.do_in("h3", &["/usr/bin/python3", "-c", &advertisement]);
        balancer.wait_for(&format!("backend fd01::2 is at {H3}"));
    });
}
