//! What the task of a backend tells, and when, by a clock that stands still while nobody waits: no network, no chance.

use crate::config::{BackendId, Health, Probe, Protocol, ServiceId, Talk};
use crate::health::attend::attend;
use crate::health::audience::{Audience, Member};
use crate::health::finding::Finding;
use crate::health::inquiry::Inquiry;
use crate::health::pace::Pace;
use crate::operator::{Condition, Judgement};
use fastrand::Rng;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const BACKEND: BackendId = BackendId {
    service: ServiceId { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port: 80, protocol: Protocol::Tcp },
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    port: 80,
};
const GOOD: Finding = Finding::Connected(Duration::ZERO);

fn health() -> Health {
    Health { probe: Some(Probe::Tcp(Talk::default())), ..Health::default() }
}

fn inquiry(health: &Health) -> Arc<Inquiry> {
    let (interval, timeout) = (health.interval, health.timeout);
    let probe = health.probe.clone().expect("there is one");
    Arc::new(Inquiry { probe, target: BACKEND.socket_address(), source: None, interval, timeout })
}

fn audience(health: &Health) -> Arc<Audience> {
    let audience = Audience::default();
    audience.become_of(&[Member { backend: BACKEND, rise: health.rise, fall: health.fall }], |_| None);
    Arc::new(audience)
}

/// Attends a backend whose checks are these: how long each takes, and what it finds. Returns what was told, and when.
async fn attended(
    health: Health,
    seed: u64,
    time: Duration,
    mut check: impl AsyncFnMut() -> (Duration, Finding),
) -> Vec<(Instant, Judgement)> {
    let (sender, mut receiver) = mpsc::channel(1);
    let pace = Pace::new(health.interval, Rng::with_seed(seed));
    let mut pace = pace;
    let wait = pace.first(0, 1);
    let attending = attend(inquiry(&health), audience(&health), wait, pace, sender, async || {
        let (takes, finding) = check().await;
        sleep(takes).await;
        finding
    });
    let mut told = Vec::new();
    let listening = async {
        while let Some(judgement) = receiver.recv().await {
            told.push((Instant::now(), judgement));
        }
    };
    tokio::select! {
        () = attending => {}
        () = listening => {}
        () = sleep(time) => {}
    }
    told
}

#[tokio::test(start_paused = true)]
async fn rise_and_fall_are_counted_exactly() {
    // What each check finds; at the end of a group something is told.
    let script = b"+ +--- --+-++ --+--- ----++".map(char::from).into_iter().filter(|c| *c != ' ').collect::<Vec<_>>();
    let checks = AtomicUsize::new(0);
    let told = attended(health(), 1, Duration::from_secs(60), async || {
        let nth = checks.fetch_add(1, Ordering::Relaxed);
        // Its number, so that the reason tells which check it was.
        let number = Duration::from_millis(nth as u64 + 1);
        match script.get(nth) {
            Some('+') => (Duration::ZERO, Finding::Connected(number)),
            Some(_) => (Duration::ZERO, Finding::Silent(number)),
            None => std::future::pending().await,
        }
    })
    .await;
    let told: Vec<_> = told.iter().map(|(_, judgement)| (judgement.condition, judgement.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (Condition::Up, "connected in 1 ms"),
            (Condition::Down, "no answer within 5ms"),
            (Condition::Up, "connected in 11 ms"),
            (Condition::Down, "no answer within 17ms"),
            (Condition::Up, "connected in 23 ms"),
        ]
    );
    assert_eq!(checks.into_inner(), script.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_within_fall_intervals_and_a_timeout_and_a_return_within_rise() {
    // Timers go by milliseconds.
    const GRAIN: Duration = Duration::from_millis(1);
    for seed in 0..200 {
        let mut health = health();
        health.timeout = if seed % 2 == 0 { Duration::from_millis(500) } else { health.interval };
        let begun = Instant::now();
        let (dies, heals) = (Duration::from_millis(5000 + 7 * seed), Duration::from_millis(15_000 + 11 * seed));
        let timeout = health.timeout;
        let told = attended(health.clone(), seed, Duration::from_secs(25), async || {
            let alive = begun.elapsed() < dies || begun.elapsed() >= heals;
            if alive { (GRAIN, GOOD) } else { (timeout, Finding::Silent(timeout)) }
        })
        .await;
        let [up, down, again] = &told[..] else { panic!("seed {seed}: {told:?}") };
        assert!(up.0 - begun <= health.interval / 10 + 2 * GRAIN, "the first check comes at once");
        let took = down.0 - (begun + dies);
        assert!(took <= health.interval * health.fall + timeout + GRAIN * health.fall, "seed {seed}: {took:?}");
        assert_eq!(down.1.reason, Finding::Silent(timeout).words(&inquiry(&health)));
        let took = again.0 - (begun + heals);
        assert!(took <= health.interval * health.rise + timeout + GRAIN * health.rise, "seed {seed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn checks_begin_an_interval_apart_however_long_they_take() {
    let begun = Instant::now();
    let checks = AtomicUsize::new(0);
    attended(health(), 1, Duration::from_secs(100), async || {
        checks.fetch_add(1, Ordering::Relaxed);
        (Duration::from_millis(800), GOOD)
    })
    .await;
    let (checks, seconds) = (checks.into_inner(), begun.elapsed().as_secs() as usize);
    assert!((seconds..=seconds * 10 / 9 + 2).contains(&checks), "{checks} checks in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_listens_any_more_checks_end() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    // Returns; otherwise the clock would go on for ever.
    let pace = Pace::new(health().interval, Rng::with_seed(1));
    attend(inquiry(&health()), audience(&health()), Duration::ZERO, pace, sender, async || GOOD).await;
}

#[tokio::test(start_paused = true)]
async fn another_reason_does_not_make_a_backend_younger() {
    let checks = AtomicUsize::new(0);
    let told = attended(health(), 1, Duration::from_secs(20), async || {
        let nth = checks.fetch_add(1, Ordering::Relaxed);
        // The time of day is not the tests' to halt.
        std::thread::sleep(Duration::from_millis(1));
        (Duration::ZERO, if nth < 5 { Finding::Refused } else { Finding::NoRouteToHost })
    })
    .await;
    let [(_, first), (_, second)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((first.reason.as_str(), second.reason.as_str()), ("connection refused", "no route to host"));
    assert_eq!((first.since, first.condition), (second.since, second.condition));
}
