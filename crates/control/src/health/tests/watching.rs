//! Who is watched, and who is not any more. One server's checks tell the others' tests that time has passed.

use super::server::{Manner, Server};
use super::{config, next, often, page};
use crate::config::{Health, Probe, Talk};
use crate::health::Checker;
use crate::operator::{Condition, Judgement};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::sync::mpsc;

fn checker() -> (Checker, mpsc::Receiver<Judgement>) {
    let (sender, receiver) = mpsc::channel(16);
    (Checker::new(sender), receiver)
}

async fn taking() -> Server {
    Server::start(vec![Manner::SayAndStay(String::new())]).await
}

fn target(judgement: &Judgement) -> SocketAddr {
    judgement.backend.socket_address()
}

fn status(status: u16) -> Manner {
    Manner::Say(format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n"))
}

#[tokio::test]
async fn a_server_that_dies_and_heals_is_told_down_and_up() {
    let (mut checker, mut judged) = checker();
    let server = taking().await;
    let address = server.address;
    checker.watch(&config(&[(address, often(Probe::Tcp(Talk::default())))]), |_| false);
    let up = next(&mut judged).await;
    assert_eq!((target(&up), up.condition), (address.into(), Condition::Up));
    assert!(up.reason.starts_with("connected in "), "{}", up.reason);
    drop(server);
    let down = next(&mut judged).await;
    assert_eq!((down.condition, down.reason.as_str()), (Condition::Down, "connection refused"));
    let _server = Server::start_at(address, vec![Manner::SayAndStay(String::new())]).await;
    assert_eq!(next(&mut judged).await.condition, Condition::Up);
}

#[tokio::test]
async fn a_server_that_answers_by_a_script_is_judged_by_rise_and_fall() {
    let (mut checker, mut judged) = checker();
    // Up at the first, down at the sixth, up at the tenth.
    let script = [200, 503, 503, 200, 503, 503, 503, 200, 503, 200, 200].map(status);
    let mut server = Server::start(script.to_vec()).await;
    checker.watch(&config(&[(server.address, often(Probe::Http(page())))]), |_| false);
    for expected in ["HTTP 200", "HTTP 503, wanted 200", "HTTP 200"] {
        assert_eq!(next(&mut judged).await.reason, expected);
    }
    server.see_more(10).await;
    assert!(judged.try_recv().is_err(), "nothing is told while nothing changes");
}

#[tokio::test]
async fn what_has_not_changed_keeps_its_state_and_its_pace() {
    let (mut checker, mut judged) = checker();
    let (mut clock, often_asked, seldom_asked) = (taking().await, taking().await, taking().await);
    let seldom = Health { interval: Duration::from_secs(3600), ..often(Probe::Tcp(Talk::default())) };
    let clock_entry = (clock.address, often(Probe::Tcp(Talk::default())));
    let entries = [(often_asked.address, often(Probe::Tcp(Talk::default()))), (seldom_asked.address, seldom)];
    checker.watch(&config(&[clock_entry.clone(), entries[0].clone(), entries[1].clone()]), |_| false);
    // The one that is asked seldom may wait a while for its first check; a restarted one would come as soon as that.
    for _ in 0..3 {
        assert_eq!(next(&mut judged).await.condition, Condition::Up);
    }
    // In another order, and beside a service that is new to it.
    let other = taking().await;
    for _ in 0..3 {
        checker.watch(
            &config(&[
                entries[1].clone(),
                (other.address, often(Probe::Tcp(Talk::default()))),
                entries[0].clone(),
                clock_entry.clone(),
            ]),
            |_| false,
        );
        clock.see_more(20).await;
    }
    assert_eq!(target(&next(&mut judged).await), other.address.into(), "a judgement on the new one");
    assert!(judged.try_recv().is_err(), "and none on the others");
    assert_eq!(seldom_asked.connects(), 1);
}

#[tokio::test]
async fn who_is_not_wanted_any_more_is_left_alone() {
    let (mut checker, mut judged) = checker();
    let (mut clock, removed, unasked) = (taking().await, taking().await, taking().await);
    let clock_entry = (clock.address, often(Probe::Tcp(Talk::default())));
    checker.watch(
        &config(&[
            clock_entry.clone(),
            (removed.address, often(Probe::Tcp(Talk::default()))),
            (unasked.address, often(Probe::Tcp(Talk::default()))),
        ]),
        |_| false,
    );
    for _ in 0..3 {
        next(&mut judged).await;
    }
    // One backend's service is gone, the other's has no check any more.
    checker.watch(
        &config(&[clock_entry, (unasked.address, Health { probe: None, ..often(Probe::Tcp(Talk::default())) })]),
        |_| false,
    );
    // What was under way before has arrived by then.
    clock.see_more(3).await;
    let before = (removed.connects(), unasked.connects());
    clock.see_more(20).await;
    assert_eq!((removed.connects(), unasked.connects()), before);
    drop(checker);
    assert_eq!(judged.recv().await, None, "when the checker is gone, so are its tasks, and nothing more was told");
}

#[tokio::test]
async fn a_check_under_way_is_broken_off_with_its_backend() {
    let (mut checker, mut judged) = checker();
    let mut server = taking().await;
    checker.watch(&config(&[(server.address, often(Probe::Http(page())))]), |_| false);
    server.see_more(1).await;
    checker.watch(&config(&[]), |_| false);
    drop(checker);
    assert_eq!(judged.recv().await, None, "the silent server's check has ended long before its time");
}

#[tokio::test]
async fn another_check_begins_anew() {
    let (mut checker, mut judged) = checker();
    let server = Server::start(vec![status(200)]).await;
    let tcp = often(Probe::Tcp(Talk::default()));
    checker.watch(&config(&[(server.address, tcp.clone())]), |_| false);
    assert!(next(&mut judged).await.reason.starts_with("connected in "));
    checker.watch(&config(&[(server.address, often(Probe::Http(page())))]), |_| false);
    assert_eq!(next(&mut judged).await.reason, "HTTP 200");
    checker.watch(&config(&[(server.address, Health { rise: 3, ..tcp })]), |_| false);
    assert!(next(&mut judged).await.reason.starts_with("connected in "));
}

#[tokio::test]
async fn many_backends_are_watched_side_by_side() {
    let (mut checker, mut judged) = checker();
    let server = taking().await;
    // Every address of 127/8 is this host.
    let others: Vec<_> = (1..=2000_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            SocketAddrV4::new([127, 9, high, low].into(), server.address.port())
        })
        .collect();
    let mut entries: Vec<_> = others.iter().map(|address| (*address, often(Probe::Tcp(Talk::default())))).collect();
    entries.push((server.address, often(Probe::Tcp(Talk::default()))));
    let mut all = config(&entries);
    // One service of them all.
    let backends = all.services.drain(1..).flat_map(|service| service.backends).collect::<Vec<_>>();
    all.services[0].backends.extend(backends);
    checker.watch(&all, |_| false);
    let (mut up, mut down) = (0, 0);
    for _ in 0..entries.len() {
        match next(&mut judged).await.condition {
            Condition::Up => up += 1,
            Condition::Down => down += 1,
        }
    }
    assert_eq!((up, down), (1, 2000), "only one address is listened at, and each was told once");
}

#[tokio::test]
async fn a_backend_that_is_asked_all_the_time_is_never_out_of_ports() {
    let (mut checker, mut judged) = checker();
    let mut server = taking().await;
    checker.watch(&config(&[(server.address, often(Probe::Tcp(Talk::default())))]), |_| false);
    assert_eq!(next(&mut judged).await.condition, Condition::Up);
    // More than there are ports, within less time than a connection that has ended keeps its own.
    server.see_more(300).await;
    assert!(judged.try_recv().is_err(), "there is nothing to tell");
}
