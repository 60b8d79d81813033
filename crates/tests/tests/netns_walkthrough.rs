//! The walk-through, typed as its users type it: bash, `source ./aliases.sh`, ping, nc, ip.

use evenkeel_tests::testbed::{self, Connection, Running, Servers, Testbed, until};

/// Rounds after which both servers have surely been reached: for one of them to be left out by chance, 2^-60.
const ROUNDS: usize = 60;

/// Types an endless `ping`, waits for an answer, types Ctrl-C.
fn ping(bed: &Testbed, line: &str) {
    let mut ping = bed.terminal(line);
    ping.wait_for("bytes from");
    ping.signal(libc::SIGINT);
    let ended = ping.finish();
    assert_eq!(ended.code, Some(0), "`{line}`: {ended}");
}

#[test]
fn everybody_pings_everybody() {
    testbed::run(&["ping"], |bed| {
        for line in ["ping 10.0.0.2", "ping 10.0.0.3", "h2 ping 10.0.0.1", "h3 ping 10.0.0.2", "h2 ping 10.0.0.3"] {
            ping(bed, line);
        }
    });
}

#[test]
fn the_balancer_answers_ping_and_arping_before_while_and_after_it_is_loaded() {
    testbed::run(&["ping", "arping"], |bed| {
        ping(bed, "ping 10.0.0.10");
        let mut balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        balancer.wait_for("ICMP echo");
        for line in ["ping 10.0.0.10", "h2 ping 10.0.0.10", "h3 ping 10.0.0.10"] {
            ping(bed, line);
        }
        // Larger than one frame of text, with bytes that can be compared.
        bed.typed("ping -c 3 -i 0.2 -s 1472 -M do -p 5aa5 10.0.0.10");
        bed.typed("arping -c 1 10.0.0.10");
        let ended = balancer.interrupt();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("echo-reply"), "the echo was answered by the program: {ended}");
        ping(bed, "ping 10.0.0.10");
    });
}

/// Two servers as the walk-through has them, one line typed into each of many clients, until both servers have got one.
fn connect_until_both_have_received(bed: &Testbed, server: &str, client: &str, protocol: &str, ends_after_one: bool) {
    let mut servers: Vec<Running> = Vec::new();
    for name in ["h2", "h3"] {
        servers.push(bed.terminal(&format!("{name} {server}")));
        bed.wait_for_listener(name, protocol, 8080);
    }
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let line = format!("message {round}\n");
        let mut nc = bed.terminal(client);
        nc.type_text(&line);
        // What one server gets is what was typed, once, and nothing else.
        let arrived = |servers: &[Running]| servers.iter().filter(|server| server.stdout().contains(&line)).count();
        until("the message arrives", || (arrived(&servers) == 1 || nc.has_ended()).then_some(()));
        if arrived(&servers) == 1 {
            sent.push(line);
        } else {
            // A server that takes one connection only is gone after it: the client is refused, and says nothing. Then
            // the other one is still waiting.
            assert!(ends_after_one, "the client ended early: {}", nc.finish());
        }
        nc.signal(libc::SIGINT);
        nc.finish();
        if servers.iter().all(|server| server.stdout().contains("message")) {
            let mut received: Vec<_> = servers.iter().flat_map(|server| lines(&server.stdout())).collect();
            received.sort();
            sent.sort();
            assert_eq!(received, sent, "every message arrived once");
            return;
        }
    }
    panic!("one of the servers was not reached in {ROUNDS} connections");
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn nc_reaches_both_tcp_servers_through_the_alias_lb() {
    testbed::run(&["nc"], |bed| {
        let balancer = bed.terminal("lb xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        connect_until_both_have_received(bed, "nc -l 8080", "nc 10.0.0.10 8080", "tcp", true);
    });
}

#[test]
fn nc_reaches_both_tcp_servers_that_take_many_connections() {
    testbed::run(&["nc"], |bed| {
        let balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        connect_until_both_have_received(bed, "nc -k -l 8080", "nc 10.0.0.10 8080", "tcp", false);
    });
}

#[test]
fn nc_reaches_both_udp_servers() {
    testbed::run(&["nc"], |bed| {
        let balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        connect_until_both_have_received(bed, "nc -u -k -l 8080", "nc -u 10.0.0.10 8080", "udp", false);
    });
}

#[test]
fn nc_talks_both_ways() {
    testbed::run(&["nc"], |bed| {
        for mode in testbed::MODES {
            let mut balancer = bed.terminal(&format!("lb xdp_lb --xdp-mode {mode} veth6"));
            balancer.wait_for("xdp_lb: ready on veth6");
            for (options, protocol) in [("", "tcp"), ("-u", "udp")] {
                let mut servers = Vec::new();
                for name in ["h2", "h3"] {
                    servers.push(bed.terminal(&format!("{name} nc {options} -l 8080")));
                    bed.wait_for_listener(name, protocol, 8080);
                }
                let mut client = bed.terminal(&format!("nc {options} 10.0.0.10 8080"));
                client.type_text("question\n");
                let server = until("a server gets the question", || {
                    servers.iter().position(|server| server.stdout() == "question\n")
                });
                let server = &mut servers[server];
                server.type_text("answer\n");
                client.wait_for("answer\n");
                client.type_text("thanks\n");
                server.wait_for("question\nthanks\n");
            }
            assert_eq!(balancer.interrupt().code, Some(0));
        }
    });
}

#[test]
fn ip_link_unloads_the_program_and_the_process_notices() {
    testbed::run(&["ping"], |bed| {
        let mut balancer = bed.terminal("xdp_lb veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        assert!(bed.is_attached());
        bed.typed("lb ip link set dev veth6 xdpgeneric off");
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains("the program was detached by somebody else; stopped."), "{ended}");
        assert!(!bed.is_attached());
        ping(bed, "ping 10.0.0.10");
    });
}

#[test]
fn ip_link_unloads_the_native_program_as_well() {
    testbed::run(&[], |bed| {
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
    testbed::run(&[], |bed| {
        let mut balancer = bed.terminal("xdp_lb --xdp-mode native veth6");
        balancer.wait_for("xdp_lb: ready on veth6");
        assert_eq!(balancer.interrupt().code, Some(0));
    });
}

/// The narrowest interval around half of `count` that a fair coin stays in 999 times of 1,000.
fn fair_share(count: usize) -> std::ops::RangeInclusive<usize> {
    let choose = |heads: usize| (0..heads).map(|i| ((count - i) as f64 / (i + 1) as f64).ln()).sum::<f64>();
    let chance = |heads: usize| (choose(heads) - count as f64 * 2f64.ln()).exp();
    let mut away = 0;
    let mut inside = chance(count / 2);
    while inside < 0.999 {
        away += 1;
        inside += 2.0 * chance(count / 2 - away);
    }
    count / 2 - away..=count / 2 + away
}

#[test]
fn two_hundred_connections_are_split_evenly_and_each_is_whole_on_one_server() {
    testbed::run(&[], |bed| {
        let expected = fair_share(200);
        // Secrets are random, so one run in a thousand is outside by right. A second start outside as well is a fault.
        for attempt in 0..2 {
            let servers = Servers::tcp(8080 + attempt);
            let _balancer = bed.balance(&[]);
            let mut on_h2 = 0;
            for number in 0..200_usize {
                // Of all lengths from a few bytes to many segments, and none like another.
                let mut payload = format!("{attempt} {number} ").into_bytes();
                payload.extend((0..number * number).map(|at| (at * (number + 1)) as u8));
                let mut connection = Connection::new(8080 + attempt);
                let server = connection.exchange(&payload).expect("the connection holds");
                assert_eq!(servers.that_got(&payload), [server.as_str()], "connection {number} is whole on one server");
                on_h2 += usize::from(server == "h2");
            }
            assert_eq!(servers.total(), 200);
            if expected.contains(&on_h2) {
                return;
            }
            println!("{on_h2} of 200 on h2: outside {expected:?}");
        }
        panic!("connections are not split evenly");
    });
}

#[test]
fn the_fair_share_is_that_of_the_binomial_distribution() {
    assert_eq!(fair_share(200), 77..=123);
}

#[test]
fn curl_fetches_a_page_from_both_servers() {
    testbed::run(&["curl", "python3"], |bed| {
        let mut servers = Vec::new();
        for name in ["h2", "h3"] {
            let pages = bed.work.join(name);
            std::fs::create_dir(&pages).expect("the sandbox's directory can be written");
            std::fs::write(pages.join("page"), format!("this is {name}")).expect("so can this one");
            let pages = pages.display();
            servers.push(bed.terminal(&format!("{name} python3 -m http.server -d {pages} 8000")));
            bed.wait_for_listener(name, "tcp", 8000);
        }
        let _balancer = bed.balance(&[]);
        let mut pages = std::collections::BTreeSet::new();
        for _ in 0..ROUNDS {
            pages.insert(bed.typed("curl -sS --fail --max-time 20 http://10.0.0.10:8000/page").stdout);
            if pages.len() == 2 {
                break;
            }
        }
        assert_eq!(pages.into_iter().collect::<Vec<_>>(), ["this is h2", "this is h3"]);
    });
}
