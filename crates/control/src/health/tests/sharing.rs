//! Backends that want the same asked, and many that begin together.

use super::server::{Manner, Server};
use super::{config, next, often};
use crate::config::{Health, Probe, Talk};
use crate::health::Checker;
use crate::health::pace::Pace;
use crate::operator::Condition;
use fastrand::Rng;
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test]
async fn one_check_is_made_for_all_services_that_want_the_same() {
    let (sender, mut judged) = mpsc::channel(64);
    let mut checker = Checker::new(sender);
    // It answers once, and then only when the test is over: who asks a second time waits.
    let mut server = Server::start(vec![
        Manner::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Manner::SayAndStay(String::new()),
    ])
    .await;
    let wanted = often(Probe::Http(super::page()));
    let mut many = config(&vec![(server.address, wanted.clone()); 10]);
    for (number, service) in many.services.iter_mut().enumerate() {
        service.port = 1000 + number as u16;
        // By themselves these make no other question.
        (service.health.rise, service.health.fall) = (1 + number as u32, 3);
    }
    checker.watch(&many, |_| false);
    let mut told = HashSet::new();
    for _ in 0..10 {
        let judgement = next(&mut judged).await;
        assert_eq!(judgement.condition, Condition::Up);
        assert!(told.insert(judgement.backend), "once for each");
    }
    // The second check is under way, and there is no other beside it.
    if server.connects() < 2 {
        server.see_more(1).await;
    }
    // Whoever comes to it later is judged by the next one, and a service that goes takes nothing along.
    let mut fewer = many.clone();
    fewer.services.truncate(3);
    checker.watch(&fewer, |_| false);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.connects(), 2, "it is still the same check");
    // Another question is another check.
    fewer.services[0].health.timeout -= Duration::from_millis(1);
    checker.watch(&fewer, |_| false);
    server.see_more(1).await;
}

#[tokio::test]
async fn who_comes_to_a_check_later_is_judged_by_it() {
    let (sender, mut judged) = mpsc::channel(64);
    let mut checker = Checker::new(sender);
    let server = Server::start(vec![Manner::Say("HTTP/1.1 503 So\r\n\r\n".to_owned())]).await;
    let entry = (server.address, often(Probe::Http(super::page())));
    let mut both = config(&[entry.clone(), entry.clone()]);
    both.services[1].port = 1;
    let mut one = both.clone();
    one.services.truncate(1);
    checker.watch(&one, |_| false);
    assert_eq!(next(&mut judged).await.condition, Condition::Down);
    checker.watch(&both, |_| true);
    drop(server);
    while tokio::net::TcpStream::connect(entry.0).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let _well =
        Server::start_at(entry.0, vec![Manner::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned())]).await;
    let mut up = HashSet::new();
    while up.len() < 2 {
        let judgement = next(&mut judged).await;
        if judgement.condition == Condition::Up {
            up.insert(judgement.backend.service.port);
        }
    }
}

#[test]
fn many_that_begin_together_are_spread_out() {
    let health = Health { probe: Some(Probe::Tcp(Talk::default())), ..Health::default() };
    for (interval, of) in
        [(health.interval, 10), (health.interval, 500), (health.interval, 20_000), (Duration::from_secs(60), 20_000)]
    {
        let waits: Vec<_> = (0..of)
            .map(|number| Pace::new(interval, Rng::with_seed(number)).first(number as usize, of as usize))
            .collect();
        assert!(waits.is_sorted(), "in their order");
        assert!(waits.iter().all(|wait| *wait <= interval));
        let in_a_tenth = waits.iter().filter(|wait| **wait < Duration::from_millis(100)).count();
        let steady = (of as f64 / interval.as_secs_f64() / 10.0) as usize;
        assert!(in_a_tenth <= steady.max(101) + 1, "{in_a_tenth} of {of} within 100 ms");
    }
}
