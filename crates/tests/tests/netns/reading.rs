//! What an operator reads: the log, which names services and people and has the time; what signals do; what commands say of
//! many things at once.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{self, Connection, Plane, Running, SERVICE_PORT, Servers, Testbed, file, is_up, until};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};

on_every_plane! {
    lines_of_the_log_have_the_time_the_service_and_whose_order_it_was[],
    a_host_is_drained_in_all_its_services_and_the_last_one_is_warned_of[],
    connections_are_told_by_client_backend_and_state_in_order_and_cut_with_a_word[],
    a_reload_says_what_changes_and_where_new_connections_go[],
    signals_say_what_they_do[],
    the_walk_throughs_programs_answer_as_well[],
}

fn both() -> String {
    file("", "", &[(2, ""), (3, "")])
}

/// A second service on the same hosts.
fn with_another() -> String {
    let text = both();
    let (_, service) = text.split_at(text.find("[[service]]").expect("there is one"));
    let other = service.replace("\"web\"", "\"datagrams\"").replace("\"tcp\"", "\"udp\"");
    format!("{text}{other}")
}

/// The line that says this.
#[track_caller]
fn line(balancer: &Running, text: &str) -> String {
    balancer.wait_for(text);
    let log = balancer.stderr();
    log.lines().find(|line| line.contains(text)).expect("it was said").to_owned()
}

fn lines_of_the_log_have_the_time_the_service_and_whose_order_it_was(bed: &Testbed) {
    let mut balancer = bed.balance_config(&both());
    bed.told(&["drain", "web", "10.0.0.3"]);
    bed.told(&["undrain", "web", "10.0.0.3"]);
    bed.told(&["weight", "web", "10.0.0.3", "7"]);
    bed.reload(&both());
    for text in [
        "backend 10.0.0.3:8080 is drained, by order of ",
        "backend 10.0.0.3:8080 is not drained any more, by order of ",
        "backend 10.0.0.3:8080 has weight 7 until the next reload, by order of ",
    ] {
        let line = line(&balancer, text);
        assert!(line.contains("root (process ") && line.ends_with("(service \"web\")"), "{line}");
    }
    assert!(line(&balancer, "read the configuration again, by order of ").contains("root (process "));
    balancer.signal(libc::SIGHUP);
    line(&balancer, "nothing changes. (by order of SIGHUP)");
    let ended = balancer.interrupt();
    let (_, program) = bed.plane.programs();
    for line in ended.stderr.lines() {
        // Such as 2026-11-24T23:45:14.250Z.
        let (time, rest) = line.split_once(' ').expect("it has words");
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with(&format!("{program}: ")), "{line}");
    }
}

fn a_host_is_drained_in_all_its_services_and_the_last_one_is_warned_of(bed: &Testbed) {
    let balancer = bed.balance_config(&with_another());
    let states = |host: u8| -> Vec<Value> {
        let services = bed.told_json(&["services"]);
        let services = services.as_array().expect("a list").iter();
        let backends = services.flat_map(|service| service["backends"].as_array().expect("a list").clone());
        backends.filter(|it| it["address"] == testbed::address(host)).map(|it| it["state"].clone()).collect()
    };
    let said = bed.told(&["drain", "--host", "10.0.0.3"]);
    assert_eq!(said, "drained web 10.0.0.3:8080\ndrained datagrams 10.0.0.3:8080\n");
    assert_eq!((states(2), states(3)), (vec!["up".into(); 2], vec!["draining".into(); 2]));

    // Nobody else is left, which is done, and said.
    let ended = bed.evenkeel(&["drain", "web", "10.0.0.2"]).finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended}");
    let warning = "warning: service \"web\" has nobody left: no backend takes new connections.";
    assert_eq!(ended.stderr, format!("evenkeel: {warning}\n"));
    balancer.wait_for(warning);
    let ended = bed.evenkeel(&["drain", "--host", "10.0.0.2"]).finish();
    assert!(
        ended.stderr.contains("\"web\" has nobody") && ended.stderr.contains("\"datagrams\" has nobody"),
        "{ended}"
    );

    bed.told(&["undrain", "--host", "10.0.0.2"]);
    bed.told(&["undrain", "--host", "10.0.0.3"]);
    assert!(bed.backends().iter().all(is_up));
    balancer.wait_for("service \"datagrams\" has a backend that takes connections again.");
    bed.refused(&["drain", "--host", "10.0.0.9"], 1, &["no service has a backend at 10.0.0.9"]);
    bed.refused(&["drain", "--host", "h3"], 2, &["h3"]);
    bed.refused(&["drain", "--host", "10.0.0.3", "web", "10.0.0.3"], 2, &["--host"]);
}

fn connections_are_told_by_client_backend_and_state_in_order_and_cut_with_a_word(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both());
    let mut connections = Vec::new();
    for port in 20000..20020 {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port);
        let mut connection = Connection::open("", Some(client), SERVICE_PORT).expect("the balancer takes it");
        let server = connection.exchange(b"hello").expect("the server answers");
        connections.push((client, server, connection));
    }
    let told = |words: &[&str]| -> Vec<Value> {
        bed.told_json(&[&["flows"], words].concat()).as_array().expect("a list").clone()
    };
    let on = |name: &str| connections.iter().filter(|(_, server, _)| server == name).count();
    assert_eq!(told(&["--client", "10.0.0.1"]).len(), 20);
    assert_eq!(told(&["--client", "10.0.0.1:20007"]).len(), 1);
    assert_eq!(told(&["--client", "10.0.0.9"]).len(), 0);
    assert_eq!(told(&["--backend", "10.0.0.2"]).len(), on("h2"));
    assert_eq!(told(&["--backend", "10.0.0.3:8080", "--service", "web"]).len(), on("h3"));
    assert_eq!(told(&["--backend", "10.0.0.3:80"]).len(), 0);
    assert_eq!(told(&["--state", "established"]).len(), 20);
    assert_eq!(told(&["--state", "opening"]).len(), 0);
    let clients: Vec<_> =
        told(&["--sort", "client", "--limit", "5"]).into_iter().map(|flow| flow["client"].clone()).collect();
    let expected: Vec<Value> = (20000..20005).map(|port| format!("10.0.0.1:{port}").into()).collect();
    assert_eq!(clients, expected, "the first of all, and not of those that were found first");
    let backends: Vec<_> = told(&["--sort", "backend"]).into_iter().map(|flow| flow["backend"].to_string()).collect();
    assert!(backends.is_sorted(), "{backends:?}");

    let cut = bed.told(&["flows", "--limit", "5"]);
    assert!(cut.lines().count() == 7 && cut.contains("There are more than these 5"), "{cut}");
    let whole = bed.told(&["flows", "--limit", "20"]);
    assert!(whole.lines().count() == 21 && !whole.contains("There are more"), "{whole}");
    bed.refused(&["flows", "--client", "nobody"], 1, &["\"nobody\" is neither an address"]);
    bed.refused(&["flows", "--state", "happy"], 2, &["happy"]);
    bed.refused(&["flows", "--sort", "nicely"], 2, &["nicely"]);
}

fn a_reload_says_what_changes_and_where_new_connections_go(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&with_another());
    let mut living: Vec<_> = (0..10).map(|_| Connection::new(SERVICE_PORT)).collect();
    for connection in &mut living {
        connection.exchange(b"hello").expect("the server answers");
    }
    // These end, and their places are kept for late segments.
    for _ in 0..10 {
        Connection::new(SERVICE_PORT).exchange(b"hello").expect("the server answers");
    }
    until("they have ended", || {
        let closing = bed.told_json(&["flows", "--state", "closing"]);
        (closing.as_array().map(Vec::len) == Some(10)).then_some(())
    });
    let rehearsed = |text: &str| {
        bed.rewrite(text);
        bed.told(&["reload", "--dry-run"])
    };
    let elsewhere = with_another().replace("port = 8080\nprotocol = \"tcp\"", "port = 8081\nprotocol = \"tcp\"");
    // How many are alive is counted every now and then.
    until("nobody else takes them, and ten are alive", || {
        let said = rehearsed(&elsewhere);
        let removed = said.lines().find(|line| line.contains("removed")).expect("it is another service");
        (removed.contains(" 0.0 %") && removed.ends_with(" 10")).then_some(())
    });

    let share = |said: &str| -> f64 {
        let words: Vec<_> = said.split_whitespace().collect();
        let sign = words.iter().position(|word| *word == "%").expect("a share");
        words[sign - 1].parse().expect("a number")
    };
    let said = rehearsed(&with_another().replacen("backends =", "affinity = \"client-address\"\nbackends =", 1));
    assert!(
        said.contains("changed: affinity") && (49.0..51.0).contains(&share(&said)),
        "half of them by chance: {said}"
    );
    let said =
        rehearsed(&with_another().replacen("backends =", "on-down = \"reset\"\ndrain-time = \"9s\"\nbackends =", 1));
    assert!(said.contains("changed: on-down, drain-time") && share(&said) == 0.0, "{said}");
    let weighted = with_another().replacen(
        "address = \"10.0.0.3\", port = 8080",
        "address = \"10.0.0.3\", port = 8080, weight = 3",
        1,
    );
    let said = rehearsed(&weighted);
    assert!(said.contains("weight of 10.0.0.3:8080 from 1 to 3") && (20.0..30.0).contains(&share(&said)), "{said}");
}

fn signals_say_what_they_do(bed: &Testbed) {
    let mut balancer = bed.balance_config(&both());
    balancer.signal(libc::SIGUSR1);
    balancer.wait_for("SIGUSR1: at work for ");
    balancer.wait_for("service \"web\": backends up 2, draining 0, down 0; connections 0");
    balancer.signal(libc::SIGUSR2);
    balancer.wait_for("SIGUSR2 means nothing here");
    assert!(!balancer.has_ended());
    for signal in [libc::SIGQUIT, libc::SIGTERM, libc::SIGINT] {
        balancer.signal(signal);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        let name = match signal {
            libc::SIGQUIT => "SIGQUIT",
            libc::SIGTERM => "SIGTERM",
            _ => "SIGINT",
        };
        assert!(ended.stderr.contains(&format!("stopped by {name}; ")), "{ended}");
        assert!(!bed.is_occupied());
        bed.wait_for_the_dead();
        balancer = bed.balance_config(&both());
    }
}

fn the_walk_throughs_programs_answer_as_well(bed: &Testbed) {
    let mut balancer = bed.balance();
    let status = bed.told_json(&["status"]);
    assert_eq!(status["services"].as_array().map(Vec::len), Some(2), "{status}");
    let place = if bed.plane == Plane::Dpdk { "net_tap0" } else { "veth6" };
    assert!(status["interface"].as_str().is_some_and(|interface| interface.contains(place)), "{status}");
    bed.told(&["drain", "--host", "10.0.0.3"]);
    bed.refused(&["reload"], 1, &["there is no configuration file to read again"]);
    // What nobody can ask balances nonetheless.
    let ended = balancer.interrupt();
    assert!(ended.stderr.lines().all(|line| !line.starts_with("20")), "a walk-through is no log: {ended}");
    bed.refused(&["status"], 1, &["is it running?"]);
    let socket = std::path::Path::new("/run/evenkeel/evenkeel.sock");
    let _other = std::os::unix::net::UnixListener::bind(socket).expect("the place is free");
    bed.wait_for_the_dead();
    let balancer = bed.balance();
    balancer.wait_for("note: `evenkeel status` and its like do not reach this program: another evenkeel answers at");
}

/// What an XDP program does while nobody looks after it, and whose packets are not counted as anybody's.
mod on_xdp {
    use super::*;
    use evenkeel_tests::testbed::{in_network, repository};

    /// Where the interface is, since there is nothing to see from elsewhere.
    fn status(bed: &Testbed) -> testbed::Ended {
        let program = repository().join("build/evenkeel").display().to_string();
        bed.start("", &in_network("lb", &[&program, "status"])).finish()
    }

    #[test]
    fn a_program_that_was_left_at_work_is_told_of() {
        testbed::on(Plane::GenericXdp).run(|bed| {
            let _servers = Servers::tcp(SERVICE_PORT);
            let path = bed.config("evenkeel.toml", &both()).display().to_string();
            let program = repository().join("build/evenkeel").display().to_string();
            let words = [&program, "run", "--keep", "--config", &path, "--interface", "veth6", "--xdp-mode", "generic"];
            let mut balancer = bed.start("", &in_network("lb", &words));
            balancer.wait_for("ready on veth6");
            assert_eq!(status(bed).code, Some(0));
            balancer.signal(libc::SIGTERM);
            let ended = balancer.finish();
            assert!(ended.stderr.contains("stopped by SIGTERM; program and connections are left at work"), "{ended}");
            let left = ["its program is still at work on veth6 (generic XDP)", "ip link set dev veth6 xdpgeneric off"];
            testbed::assert_refused(&status(bed), 1, &left);
            Connection::new(SERVICE_PORT).exchange(b"hello").expect("it balances on");

            let balancer = bed.start("", &in_network("lb", &words));
            balancer.wait_for("took over");
            balancer.wait_for("ready on veth6");
            drop(balancer);
            bed.do_in("lb", &["ip", "link", "set", "dev", "veth6", "xdpgeneric", "off"]);
            testbed::assert_refused(&status(bed), 1, &["is it running?"]);
        });
    }

    #[test]
    fn answers_to_our_own_checks_are_not_counted_as_for_no_service() {
        testbed::on(Plane::GenericXdp).run(|bed| {
            let _servers = Servers::tcp(SERVICE_PORT);
            let health = "health = { kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\" }";
            let _balancer = bed.balance_config(&file("", health, &[(2, ""), (3, "")]));
            until("checks were answered", || {
                let counters = bed.told_json(&["counters"]);
                (counters["check-answer"].as_u64() >= Some(20)).then_some(())
            });
            assert_eq!(bed.told_json(&["counters"])["no-service"], 0);
        });
    }

    #[test]
    fn help_says_how_to_look_at_packets() {
        for words in [&["evenkeel", "run", "--help"][..], &["xdp_lb", "--help"], &["evenkeel", "counters", "--help"]] {
            let program = repository().join("build").join(words[0]);
            let output = std::process::Command::new(program).args(&words[1..]).output().expect("it starts");
            let text = String::from_utf8(output.stdout).expect("it is text");
            assert!(text.contains("tcpdump") && text.contains("xdpdump"), "{words:?}: {text}");
        }
    }
}
