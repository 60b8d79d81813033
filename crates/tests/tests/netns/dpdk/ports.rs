//! Ports other than a TAP device, chosen by EAL's arguments alone.

use evenkeel_tests::testbed::{self, Connection, Plane, Running, Servers, Testbed, wait_for_walkthrough_backends};
use std::collections::BTreeSet;

#[track_caller]
fn ends_well(balancer: &mut Running) {
    balancer.signal(libc::SIGTERM);
    let ended = balancer.finish();
    assert_eq!(ended.code, Some(0), "{ended}");
}

/// A port on veth6, which the kernel in lb leaves to it.
fn balances_on_veth6(bed: &Testbed, eal: impl Fn() -> Vec<String>) {
    bed.do_in("lb", &["ip", "address", "del", "10.0.0.10/24", "dev", "veth6"]);
    let _servers = Servers::tcp(8080);
    for _ in 0..2 {
        let mut balancer = bed.base_server("lb", &eal());
        wait_for_walkthrough_backends(&balancer);
        bed.do_in("", &["ping", "-c", "3", "-i", "0.2", "-w", "20", "10.0.0.10"]);
        bed.do_in("", &["ping", "-c", "3", "-i", "0.2", "-w", "20", "-s", "1472", "-M", "do", "10.0.0.10"]);
        let mut reached = BTreeSet::new();
        // That one of two servers gets none of them by chance: 2^-39.
        for number in 0..40_u8 {
            let payload = vec![number; 1 + 5000 * usize::from(number)];
            reached.insert(Connection::new(8080).exchange(&payload).expect("the connection holds"));
        }
        assert_eq!(reached, BTreeSet::from(["h2".to_owned(), "h3".to_owned()]));
        ends_well(&mut balancer);
        assert!(!bed.link("veth6").contains("prog/xdp"), "nothing is left behind");
    }
}

#[test]
fn af_packet_balances() {
    testbed::on(Plane::Dpdk).with_lb().needs(&["ping"]).run(|bed| {
        balances_on_veth6(bed, || bed.eal("net_af_packet0,iface=veth6"));
    });
}

#[test]
fn pcap_balances() {
    testbed::on(Plane::Dpdk).with_lb().needs(&["ping"]).run(|bed| {
        balances_on_veth6(bed, || bed.eal("net_pcap0,iface=veth6"));
    });
}

/// DPDK 22.11 tells the kernel of less memory than its packets lie in when pages are small: what is sent from the rest is
/// not sent.
#[test]
fn af_xdp_balances_on_huge_pages() {
    testbed::on(Plane::Dpdk).with_lb().with_huge_pages().needs(&["ping"]).run(|bed| {
        bed.typed("./hugepages.sh 256");
        balances_on_veth6(bed, || {
            let words = bed.eal("net_af_xdp0,iface=veth6").into_iter().filter(|word| word != "--no-shconf");
            words.map(|word| if word == "--no-huge" { "--in-memory".to_owned() } else { word }).collect()
        });
    });
}

#[test]
fn ports_that_lead_nowhere_start_and_end_well() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let file = format!("net_pcap0,tx_pcap={}", bed.work.join("sent.pcap").display());
        for device in ["net_null0", "net_ring0", &file] {
            ends_well(&mut bed.base_server("", &bed.eal(device)));
        }
    });
}

/// Two balancers at the two ends of a port hear each other: both say that the other one has their address.
fn two_hear_each_other(bed: &Testbed, one: &str, other: &str) {
    let mut one = bed.base_server("", &bed.eal(one));
    let mut other = bed.base_server("", &bed.eal(other));
    for balancer in [&one, &other] {
        balancer.wait_for("says that it has 10.0.0.10, too");
    }
    ends_well(&mut other);
    ends_well(&mut one);
}

#[test]
fn memif_carries_frames_both_ways() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let end = |role: &str| {
            format!("net_memif0,role={role},socket={},socket-abstract=no", bed.work.join("memif").display())
        };
        two_hear_each_other(bed, &end("server"), &end("client"));
    });
}

#[test]
fn virtio_user_and_vhost_carry_frames_both_ways() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let socket = bed.work.join("vhost").display().to_string();
        two_hear_each_other(bed, &format!("net_vhost0,iface={socket}"), &format!("net_virtio_user0,path={socket}"));
    });
}
