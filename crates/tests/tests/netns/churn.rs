//! Short connections, one after another: none waits for the port of one that has ended.
//!
//! In the suite few ports are forced to be used again. With `EVENKEEL_CHURN=RATE:SECONDS` so many connections a second come
//! through all ports of one NAT address, for so long, and it is told how they fared.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{
    self, Manners, Newcomers, SERVICE_PORT, Testbed, Welcome, echo_servers, file, is_up, note, until,
};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

on_every_plane! {
    more_connections_in_a_row_than_there_are_ports_all_come_about[],
}

/// The variable that asks for the long form.
const LONG: &str = "EVENKEEL_CHURN";

/// Clients of the long form, from 10.0.0.101: one has too few ports of its own, since it keeps each for a minute.
const CLIENTS: u8 = 100;

/// What becomes of newcomers, and the balancer's counters.
fn come(bed: &Testbed, nat: &str, manners: &Manners) -> (Welcome, Value) {
    echo_servers(&["h2", "h3"], SERVICE_PORT);
    let checks = "health = { kind = \"tcp\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 3 }";
    let text = file("", checks, &[(2, ""), (3, "")]).replace("[nat]\n", &format!("[nat]\n{nat}\n"));
    let balancer = bed.balance_config(&text);
    until("both backends are up", || {
        bed.backends().iter().all(|backend| is_up(backend) && backend["since"].is_u64()).then_some(())
    });
    let welcome = Newcomers::start(manners).wait();
    assert!(!balancer.stderr().contains(" is down"), "{}", balancer.stderr());
    (welcome, bed.told_json(&["counters"]))
}

fn more_connections_in_a_row_than_there_are_ports_all_come_about(bed: &Testbed) {
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10), SERVICE_PORT);
    let (patience, from) = (Duration::from_secs(8), Vec::new());
    let Ok(long) = std::env::var(LONG) else {
        // Each port has its turn eight times, and rests for a second after each.
        let manners = Manners { to, from, at_once: 4, pace: 80, most: 800, patience };
        let (welcome, _) = come(bed, "ports = \"20000-20049\"", &manners);
        assert_eq!((welcome.served, welcome.tried()), (800, 800), "{welcome:?}");
        return;
    };
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|error| panic!("{LONG}: {error}"));
    let (pace, seconds) = long.split_once(':').map(|(pace, seconds)| (number(pace), number(seconds))).expect(LONG);
    let from: Vec<_> = (101..=100 + CLIENTS).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    for address in &from {
        bed.do_in("", &["ip", "address", "add", &format!("{address}/32"), "dev", "veth0"]);
    }
    let manners = Manners { to, from, at_once: 64, pace, most: pace * seconds, patience };
    let began = Instant::now();
    let (welcome, counters) = come(bed, "", &manners);
    let rate = welcome.tried() as f64 / began.elapsed().as_secs_f64();
    note(&format!("{:?}: {rate:.0} a second, {welcome:?}, {counters}", bed.plane));
    assert_eq!(welcome.served, pace * seconds, "{:?}", welcome.failed);
    assert!(welcome.slowest < testbed::DEADLINE);
}
