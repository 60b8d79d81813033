//! The XDP half of the walk-through, typed as its users type it.

use evenkeel_tests::testbed::{self, Plane, connect_until_both_have_received};

#[test]
fn the_balancer_answers_ping_and_arping_before_while_and_after_it_is_loaded() {
    testbed::on(Plane::GenericXdp).needs(&["ping", "arping"]).run(|bed| {
        bed.ping("ping 10.0.0.10");
        let mut balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        bed.ping("ping 10.0.0.10");
        bed.typed("arping -c 1 10.0.0.10");
        let ended = balancer.interrupt();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("echo-reply"), "the echo was answered by the program: {ended}");
        bed.ping("ping 10.0.0.10");
    });
}

#[test]
fn nc_reaches_both_servers() {
    testbed::on(Plane::GenericXdp).needs(&["nc"]).run(|bed| {
        let balancer = bed.terminal("lb xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        connect_until_both_have_received(bed, "nc -l 8080", "nc 10.0.0.10 8080", "tcp", true);
    });
}

#[test]
fn ip_link_unloads_the_program_and_the_process_notices() {
    testbed::on(Plane::GenericXdp).needs(&["ping"]).run(|bed| {
        let mut balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        assert!(bed.is_occupied());
        bed.typed("lb ip link set dev veth6 xdpgeneric off");
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("the program was detached by somebody else; stopped."), "{ended}");
        assert!(!bed.is_occupied());
        bed.ping("ping 10.0.0.10");
    });
}

#[test]
fn ip_link_unloads_the_native_program_as_well() {
    testbed::on(Plane::NativeXdp).run(|bed| {
        let mut balancer = bed.terminal("lb xdp_lb --xdp-mode native veth6");
        balancer.wait_for("`ip link set dev veth6 xdpdrv off`");
        bed.typed("lb ip link set dev veth6 xdpdrv off");
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("detached by somebody else"), "{ended}");
    });
}

#[test]
fn the_alias_finds_the_interface_behind_options() {
    testbed::on(Plane::NativeXdp).run(|bed| {
        let mut balancer = bed.terminal("xdp_lb --xdp-mode native veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        assert_eq!(balancer.interrupt().code, Some(0));
    });
}
