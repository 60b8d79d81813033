//! Whether packets find the way to a backend, as status, metrics and log tell it; and what is refused because they never will.

use evenkeel_tests::testbed::{
    self, GOOD_CONFIG, Load, Plane, SERVICE_PORT, Servers, Testbed, assert_refused, file, until,
};

/// State and what is the matter with a backend.
fn told(bed: &Testbed, host: u8) -> (String, Option<String>) {
    let backend = bed.backend(host).expect("it is there");
    let text = |key: &str| backend[key].as_str().map(str::to_owned);
    (text("state").expect("text"), text("trouble"))
}

#[test]
fn a_backend_whose_packets_go_elsewhere_is_down_and_gets_no_connections() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = bed.balance_config(&file("", "", &[(2, ""), (3, "")]));
        let load = Load::start(20);
        load.goes_on(&["h2", "h3"]);
        assert_eq!(told(bed, 3), ("up".to_owned(), None));

        bed.do_in("lb", &["ip", "link", "add", "aside", "type", "veth", "peer", "name", "nowhere"]);
        bed.do_in("lb", &["ip", "link", "set", "dev", "aside", "up"]);
        bed.do_in("lb", &["ip", "route", "add", "10.0.0.3/32", "dev", "aside"]);
        balancer.wait_for(
            "warning: the route to backend 10.0.0.3 leaves by another interface, aside; it gets no connections",
        );
        assert_eq!(told(bed, 3), ("down".to_owned(), Some("elsewhere".to_owned())));
        load.next(60).assert_on(&["h2"]);
        // Those that it has may know better than the route.
        load.goes_on(&["h2", "h3"]);

        bed.do_in("lb", &["ip", "route", "replace", "unreachable", "10.0.0.3/32"]);
        balancer.wait_for("warning: there is no route to backend 10.0.0.3; it gets no connections (service \"web\")");
        assert_eq!(told(bed, 3), ("down".to_owned(), Some("no-route".to_owned())));

        bed.do_in("lb", &["ip", "route", "del", "unreachable", "10.0.0.3/32"]);
        until("it is reached again", || (told(bed, 3) == ("up".to_owned(), None)).then_some(()));
        load.next(60).assert_on(&["h2", "h3"]);
        load.assert_whole();
    });
}

#[test]
fn a_backend_that_stops_answering_arp_is_not_up_beside_one_that_answers() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let balancer = bed.balance_config(&file("", "", &[(2, ""), (3, "")]));
        bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "arp", "off"]);
        bed.do_in("lb", &["ip", "neigh", "flush", "dev", "veth6"]);
        balancer.wait_for(
            "warning: backend 10.0.0.3 does not answer ARP any more; its connections still go to where it was",
        );
        assert_eq!(told(bed, 3), ("down".to_owned(), Some("unresolved".to_owned())));
        assert_eq!(told(bed, 2), ("up".to_owned(), None));
        bed.do_in("h3", &["ip", "link", "set", "dev", "veth4", "arp", "on"]);
        balancer.wait_for_times("backend 10.0.0.3 is at de:ad:be:ef:00:03", 2);
        assert_eq!(told(bed, 3), ("up".to_owned(), None));
    });
}

#[test]
fn a_neighbour_table_that_is_flushed_takes_nobody_out() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let _servers = Servers::tcp(SERVICE_PORT);
        let mut balancer = bed.balance_config(&file("", "", &[(2, ""), (3, "")]));
        let load = Load::start(20);
        load.goes_on(&["h2", "h3"]);
        for _ in 0..20 {
            bed.do_in("lb", &["ip", "neigh", "flush", "dev", "veth6"]);
            bed.told(&["status"]);
        }
        load.next(60).assert_on(&["h2", "h3"]);
        load.goes_on(&["h2", "h3"]);
        load.assert_whole();
        let ended = balancer.interrupt();
        assert!(!ended.stderr.contains("does not answer"), "{ended}");
    });
}

#[test]
fn a_port_of_a_bridge_is_refused_with_what_to_do() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        bed.do_in("lb", &["ip", "link", "add", "br1", "type", "bridge"]);
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "master", "br1"]);
        let ended = bed.start_with_file(&bed.config("evenkeel.toml", GOOD_CONFIG)).finish();
        assert_refused(&ended, 1, &["veth6 is a port of the bridge br1", "nomaster"]);
        assert!(!bed.is_occupied());
        // Under way it shows in the state.
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "nomaster"]);
        let balancer = bed.balance_config(GOOD_CONFIG);
        bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "master", "br1"]);
        bed.do_in("lb", &["ip", "link", "set", "dev", "br1", "up"]);
        bed.do_in("lb", &["ip", "address", "flush", "dev", "veth6"]);
        bed.do_in("lb", &["ip", "address", "add", "10.0.0.10/24", "dev", "br1"]);
        balancer.wait_for("warning: the route to backend 10.0.0.2 leaves by another interface, br1");
        assert_eq!(told(bed, 2), ("down".to_owned(), Some("elsewhere".to_owned())));
    });
}

#[test]
fn an_address_that_nobody_answers_arp_for_is_warned_of() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let text = file("", "", &[(2, "")]).replace("address = \"10.0.0.10\"\nport", "address = \"10.0.0.99\"\nport");
        let mut balancer = bed.balance_config(&text);
        let warning =
            "warning: this host does not answer ARP for 10.0.0.99 (service \"web\"): give it the address with";
        balancer.wait_for(warning);
        bed.do_in("lb", &["ip", "address", "add", "10.0.0.99/32", "dev", "veth6"]);
        bed.do_in("lb", &["ip", "address", "del", "10.0.0.99/32", "dev", "veth6"]);
        balancer.wait_for_times(warning, 2);
        let ended = balancer.interrupt();
        assert!(!ended.stderr.contains("does not answer ARP for 10.0.0.10"), "the host has that one: {ended}");
    });
}

#[test]
fn automatic_choice_says_why_it_came_to_generic_mode() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let path = bed.config("evenkeel.toml", GOOD_CONFIG).display().to_string();
        let program = testbed::repository().join("build/evenkeel").display().to_string();
        let balancer = bed.start("lb", &[&program, "run", "--config", &path, "--interface", "veth6"]);
        balancer
            .wait_for("note: generic XDP, which is slower than native: the other end of the veth pair is out of sight");
        balancer.wait_for("ready on veth6");
        let status = bed.told_json(&["status"]);
        assert_eq!((&status["interface"], &status["mode"]), (&"veth6".into(), &"generic".into()));
        assert!(status["mode_reason"].as_str().is_some_and(|why| why.contains("out of sight")), "{status}");
        let text = bed.told(&["status"]);
        assert!(text.contains("on veth6 (generic): the other end"), "{text}");
    });
}
