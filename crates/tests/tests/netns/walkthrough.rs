//! The walk-through on every plane: bash, `source ./aliases.sh`, ping, nc, curl. How a plane's balancer is typed, and what
//! only that plane has, is in `xdp/walkthrough.rs` and `dpdk/walkthrough.rs`.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{Connection, ROUNDS, Servers, Testbed, connect_until_both_have_received, until};

on_every_plane! {
    everybody_pings_everybody["ping"],
    the_balancer_answers_ping_and_arping["ping", "arping"],
    nc_reaches_both_tcp_servers_that_take_one_connection["nc"],
    nc_reaches_both_tcp_servers_that_take_many_connections["nc"],
    nc_reaches_both_udp_servers["nc"],
    nc_talks_both_ways["nc"],
    two_hundred_connections_are_split_evenly_and_each_is_whole_on_one_server[],
    curl_fetches_a_page_from_both_servers["curl", "python3"],
}

fn everybody_pings_everybody(bed: &Testbed) {
    let _balancer = bed.balance();
    for line in ["ping 10.0.0.2", "ping 10.0.0.3", "h2 ping 10.0.0.1", "h3 ping 10.0.0.2", "h2 ping 10.0.0.3"] {
        bed.ping(line);
    }
}

fn the_balancer_answers_ping_and_arping(bed: &Testbed) {
    let mut balancer = bed.balance();
    balancer.wait_for("ICMP echo");
    for line in ["ping 10.0.0.10", "h2 ping 10.0.0.10", "h3 ping 10.0.0.10"] {
        bed.ping(line);
    }
    // As large as a frame can be, with bytes that can be compared.
    bed.typed("ping -c 3 -i 0.2 -s 1472 -M do -p 5aa5 10.0.0.10");
    bed.typed("arping -c 1 10.0.0.10");
    let ended = balancer.interrupt();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stderr.contains("echo-reply"), "the echo was answered by the balancer: {ended}");
    assert!(!bed.is_occupied());
}

fn nc_reaches_both_tcp_servers_that_take_one_connection(bed: &Testbed) {
    let _balancer = bed.balance();
    connect_until_both_have_received(bed, "nc -l 8080", "nc 10.0.0.10 8080", "tcp", true);
}

fn nc_reaches_both_tcp_servers_that_take_many_connections(bed: &Testbed) {
    let _balancer = bed.balance();
    connect_until_both_have_received(bed, "nc -k -l 8080", "nc 10.0.0.10 8080", "tcp", false);
}

fn nc_reaches_both_udp_servers(bed: &Testbed) {
    let _balancer = bed.balance();
    connect_until_both_have_received(bed, "nc -u -k -l 8080", "nc -u 10.0.0.10 8080", "udp", false);
}

fn nc_talks_both_ways(bed: &Testbed) {
    let _balancer = bed.balance();
    for (options, protocol) in [("", "tcp"), ("-u", "udp")] {
        let mut servers = Vec::new();
        for name in ["h2", "h3"] {
            servers.push(bed.terminal(&format!("{name} nc {options} -l 8080")));
            bed.wait_for_listener(name, protocol, 8080);
        }
        let mut client = bed.terminal(&format!("nc {options} 10.0.0.10 8080"));
        client.type_text("question\n");
        let server =
            until("a server gets the question", || servers.iter().position(|server| server.stdout() == "question\n"));
        let server = &mut servers[server];
        server.type_text("answer\n");
        client.wait_for("answer\n");
        client.type_text("thanks\n");
        server.wait_for("question\nthanks\n");
    }
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

fn two_hundred_connections_are_split_evenly_and_each_is_whole_on_one_server(bed: &Testbed) {
    let expected = fair_share(200);
    // Secrets are random, so one run in a thousand is outside by right. A second start outside as well is a fault.
    for attempt in 0..2 {
        let servers = Servers::tcp(8080 + attempt);
        let _balancer = bed.balance();
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
}

#[test]
fn the_fair_share_is_that_of_the_binomial_distribution() {
    assert_eq!(fair_share(200), 77..=123);
}

fn curl_fetches_a_page_from_both_servers(bed: &Testbed) {
    let mut servers = Vec::new();
    for name in ["h2", "h3"] {
        let pages = bed.work.join(name);
        std::fs::create_dir(&pages).expect("the sandbox's directory can be written");
        std::fs::write(pages.join("page"), format!("this is {name}")).expect("so can this one");
        let pages = pages.display();
        servers.push(bed.terminal(&format!("{name} python3 -m http.server -d {pages} 8000")));
        bed.wait_for_listener(name, "tcp", 8000);
    }
    let _balancer = bed.balance();
    let mut pages = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        pages.insert(bed.typed("curl -sS --fail --max-time 20 http://10.0.0.10:8000/page").stdout);
        if pages.len() == 2 {
            break;
        }
    }
    assert_eq!(pages.into_iter().collect::<Vec<_>>(), ["this is h2", "this is h3"]);
}
