//! What a port can and cannot do, and what else there is beside it.

use evenkeel_tests::testbed::{self, Connection, Plane, Running, Servers, Testbed, assert_refused};

/// Longer packets everywhere in the testbed.
fn with_jumbo_frames(bed: &Testbed) {
    for (namespace, devices) in [("h2", &["veth2"][..]), ("h3", &["veth4"]), ("lb", &["veth6"]), ("", &["veth0"])] {
        for device in devices {
            let network = if namespace.is_empty() { vec!["ip"] } else { vec!["ip", "-n", namespace] };
            bed.do_in("", &[&network[..], &["link", "set", "dev", device, "mtu", "9000"]].concat());
        }
    }
    for device in ["veth1", "veth3", "veth5", "veth7", "br0"] {
        bed.do_in("", &["ip", "link", "set", "dev", device, "mtu", "9000"]);
    }
}

/// A file for the walk-through's service, with this line about the port.
fn file_with(bed: &Testbed, line: &str) -> String {
    let text = format!(
        "[dataplane]\nkind = \"dpdk\"\n{line}\n\n[nat]\naddresses = [\"10.0.0.10\"]\n\n[[service]]\nname = \"web\"\n\
         address = \"10.0.0.10\"\nport = 8080\nprotocol = \"tcp\"\nbackends = [{{ address = \"10.0.0.2\", port = 8080 }}]\n"
    );
    bed.config("port.toml", &text).display().to_string()
}

fn start(bed: &Testbed, namespace: &str, device: &str, line: &str) -> Running {
    let program = testbed::repository().join("build/evenkeel-dpdk").display().to_string();
    let socket = bed.work.join("port.sock").display().to_string();
    let state = bed.work.join("port.state").display().to_string();
    let file = file_with(bed, line);
    let ours = ["--", "--config", &file, "--socket", &socket, "--state", &state].map(str::to_owned);
    bed.start(namespace, &[vec![program], bed.eal(device), ours.to_vec()].concat())
}

#[test]
fn packets_of_9000_bytes_pass_where_the_file_says_so() {
    testbed::on(Plane::Dpdk).with_lb().needs(&["ping"]).run(|bed| {
        with_jumbo_frames(bed);
        bed.do_in("lb", &["ip", "address", "del", "10.0.0.10/24", "dev", "veth6"]);
        let _servers = Servers::tcp(8080);
        let balancer = start(bed, "lb", "net_pcap0,iface=veth6", "mtu = 9000");
        balancer.wait_for("10.0.0.2 is at");
        bed.do_in("", &["ping", "-c", "3", "-i", "0.2", "-w", "20", "-s", "8972", "-M", "do", "10.0.0.10"]);
        let payload = vec![7; 1 << 20];
        Connection::new(8080).exchange(&payload).expect("the connection holds");
    });
}

#[test]
fn a_port_that_cannot_carry_such_packets_is_refused() {
    testbed::on(Plane::Dpdk).with_lb().run(|bed| {
        for (device, port) in [("net_af_packet0,iface=veth6", "net_af_packet0"), (testbed::TAP, "net_tap0")] {
            let ended = start(bed, "lb", device, "mtu = 9000").finish();
            assert_refused(&ended, 2, &[port, "an mtu of 9000", " to 150", "Choose a smaller mtu"]);
        }
    });
}

#[test]
fn a_port_that_belongs_to_another_one_is_not_counted() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let balancer = bed.base_server("", &bed.eal("net_failsafe0,dev(net_null0)"));
        balancer.wait_for("ready on net_failsafe0");
    });
}

#[test]
fn several_queues_that_nobody_spreads_packets_over_are_said() {
    testbed::on(Plane::Dpdk).with_lcores(2).run(|bed| {
        let balancer = bed.base_server("", &bed.eal("net_ring0"));
        balancer.wait_for("does not spread packets over its 2 queues");
        let balancer = bed.base_server("", &bed.eal("net_tap0,iface=tapdpdk"));
        balancer.wait_for("2 lcores, a queue each");
        assert!(!balancer.stderr().contains("does not spread"), "the kernel does: {}", balancer.stderr());
    });
}

/// Names of a process's threads that may run on this CPU (proc(5): Cpus_allowed_list).
fn on_cpu(process: &Running, cpu: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs").flatten();
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned()).unwrap_or_default()
    };
    let allowed = |list: &str| {
        let number = |text: &str| text.parse::<u32>().expect("a CPU's number");
        let wanted = number(cpu);
        list.split(',').any(|part| match part.split_once('-') {
            Some((first, last)) => (number(first)..=number(last)).contains(&wanted),
            None => number(part) == wanted,
        })
    };
    status
        .filter(|status| allowed(&field(status, "Cpus_allowed_list:")))
        .map(|status| field(&status, "Name:"))
        .collect()
}

#[test]
fn an_lcore_has_its_cpu_to_itself_as_far_as_there_are_others() {
    testbed::on(Plane::Dpdk).run(|bed| {
        if evenkeel_tests::program::cpus().len() < 2 {
            return testbed::note("there is one CPU, so nobody can keep off it");
        }
        let eal = bed.eal("net_null0");
        let balancer = bed.base_server("", &eal);
        // Messages are written by a thread that was there before, and does next to nothing.
        let others: Vec<_> = on_cpu(&balancer, &eal[1]).into_iter().filter(|name| name != "messages").collect();
        assert_eq!(others, ["base-server"], "the lcore alone");
    });
}
