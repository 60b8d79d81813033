//! What the balancer on DPDK has kept, but cannot use.

use super::{config, is_alive, open, start, state, stop};
use evenkeel_tests::testbed::{self, Plane, SERVICE_PORT, Servers};

#[test]
fn what_does_not_fit_is_said_and_new_connections_work() {
    testbed::on(Plane::Dpdk).run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let mut connections = {
            let balancer = start(bed, &config(4096), &["--keep"]);
            let connections = open();
            stop(balancer);
            connections
        };
        let other_ports = config(4096).replace("[nat]", "[nat]\nports = \"2000-65535\"");
        let balancer = start(bed, &other_ports, &["--keep"]);
        balancer.wait_for("warning: the connections of the process before are forgotten: [nat] is not what it was");
        assert!(!is_alive(&mut connections[0]));
        let mut connections = open();
        stop(balancer);

        std::fs::write(state(bed), "not a file of ours").expect("the sandbox's directory can be written");
        let balancer = start(bed, &config(4096), &["--keep"]);
        balancer.wait_for("is damaged, or not evenkeel's");
        assert!(!is_alive(&mut connections[0]));
        open();
        stop(balancer);
    });
}
