//! A steady load of clients, who count what becomes of their connections.

use super::{Connection, SERVICE_PORT, until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Clients that open one connection after the other.
const REQUESTERS: usize = 2;
/// How long one of these waits. What waits longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// After so many connections a client takes its time, or it would come to an end of its ports: each is kept for a minute after its
/// connection's end (TIME_WAIT), and Linux hands out 28,232.
const QUICK: usize = 5_000;
/// Until it opens the next one then.
const LEISURE: Duration = Duration::from_millis(6);

/// Clients at work for as long as this exists: some talk without end on one connection each, others open connections one
/// after another for one question each.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    talks: Mutex<Vec<Talk>>,
    requests: Mutex<Vec<Request>>,
    /// How many of them each client has ended.
    ended: Mutex<[usize; REQUESTERS]>,
}

/// A connection that goes on and on.
#[derive(Clone, Debug)]
struct Talk {
    home: String,
    exchanges: usize,
    /// Why it could not go on.
    lost: Option<String>,
}

/// Who answered; or why nobody did.
type Request = Result<String, String>;

impl Load {
    /// Begins, with so many long connections.
    pub fn start(long: usize) -> Self {
        let load = Self::of_long_connections(long);
        for number in 0..REQUESTERS {
            let shared = Arc::clone(&load.shared);
            thread::spawn(move || shared.request(number));
        }
        load
    }

    /// Begins with long connections alone: while nobody balances, new ones may not come about.
    pub fn of_long_connections(long: usize) -> Self {
        let load = Self { shared: Arc::default() };
        load.talk(long);
        load
    }

    /// Opens so many more long connections.
    pub fn talk(&self, long: usize) {
        for number in 0..long {
            let mut connection = Connection::new(SERVICE_PORT);
            let home = connection.exchange(format!("talk {number}").as_bytes()).expect("a new connection works");
            let mut talks = lock(&self.shared.talks);
            let place = talks.len();
            talks.push(Talk { home, exchanges: 0, lost: None });
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || shared.talk(place, connection));
        }
    }

    /// Waits until every long connection on one of these servers, of which there must be some, has carried more in both
    /// directions. None of them may have been lost.
    #[track_caller]
    pub fn goes_on(&self, homes: &[&str]) {
        let before = lock(&self.shared.talks).clone();
        let concerned = |talk: &Talk| homes.contains(&talk.home.as_str());
        for home in homes {
            assert!(before.iter().any(|talk| talk.home == *home), "no connection is on {home}: {before:?}");
        }
        until("long connections go on", || {
            let now = lock(&self.shared.talks);
            let mut pairs = before.iter().zip(now.iter()).filter(|(before, _)| concerned(before));
            pairs
                .all(|(before, now)| {
                    assert_eq!(now.lost, None, "a connection to {} was lost", now.home);
                    now.exchanges >= before.exchanges + 10
                })
                .then_some(())
        });
    }

    /// What becomes of the next so many connections that are opened.
    pub fn next(&self, count: usize) -> Next {
        // Those that are under way are older.
        self.settle();
        let first = lock(&self.shared.requests).len();
        let mut next = Next::default();
        until("connections are opened", || (lock(&self.shared.requests).len() >= first + count).then_some(()));
        for request in &lock(&self.shared.requests)[first..first + count] {
            match request {
                Ok(server) => *next.servers.entry(server.clone()).or_default() += 1,
                Err(error) => next.failed.push(error.clone()),
            }
        }
        next
    }

    /// Sees to it that a server gets its share of new connections, in quarters, give or take six standard deviations, and
    /// that none fails.
    #[track_caller]
    pub fn assert_share(&self, server: &str, quarters: usize) {
        const COUNT: usize = 400;
        let share = quarters as f64 / 4.0;
        let expected = COUNT as f64 * share;
        let tolerance = 6.0 * (expected * (1.0 - share)).sqrt();
        let got = self.next(COUNT).on(server);
        assert!((got as f64 - expected).abs() <= tolerance, "{got} of {COUNT} on {server}, not about {expected}");
    }

    /// Waits until every short connection that is under way has come to something.
    fn settle(&self) {
        let ended = *lock(&self.shared.ended);
        until("connections end", || {
            lock(&self.shared.ended).iter().zip(&ended).all(|(now, before)| now > before).then_some(())
        });
    }

    /// Sees to it that long connections on one server carry nothing any more, while those on another go on.
    #[track_caller]
    pub fn stands_still(&self, home: &str, other: &str) {
        let carried = || {
            // What had arrived before may still be read.
            self.goes_on(&[other]);
            let talks = lock(&self.shared.talks);
            talks
                .iter()
                .filter(|talk| talk.home == home && talk.lost.is_none())
                .map(|talk| talk.exchanges)
                .sum::<usize>()
        };
        let before = carried();
        assert!(carried() <= before, "connections to {home} go on");
    }

    /// How many short connections have failed.
    pub fn failed(&self) -> usize {
        lock(&self.shared.requests).iter().filter(|request| request.is_err()).count()
    }

    /// Sees to it that no long connection was lost, but for those on this server.
    #[track_caller]
    pub fn assert_lost_only(&self, home: &str) {
        let talks = lock(&self.shared.talks);
        let lost: Vec<_> =
            talks.iter().filter(|talk| talk.home != home).filter_map(|talk| talk.lost.as_ref()).collect();
        assert!(lost.is_empty(), "long connections were lost: {lost:?}");
    }

    /// Sees to it that nothing was lost since the beginning.
    #[track_caller]
    pub fn assert_whole(&self) {
        let lost: Vec<_> = lock(&self.shared.talks).iter().filter_map(|talk| talk.lost.clone()).collect();
        assert!(lost.is_empty(), "long connections were lost: {lost:?}");
        let requests = lock(&self.shared.requests);
        let failed: Vec<_> = requests.iter().filter_map(|request| request.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} of {} connections failed: {failed:?}", failed.len(), requests.len());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// What became of some connections.
#[derive(Debug, Default)]
pub struct Next {
    /// How many reached each server.
    servers: BTreeMap<String, usize>,
    failed: Vec<String>,
}

impl Next {
    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// How many reached a server; none may have failed.
    #[track_caller]
    pub fn on(&self, server: &str) -> usize {
        assert!(self.failed.is_empty(), "new connections failed: {self:?}");
        self.servers.get(server).copied().unwrap_or(0)
    }

    /// Sees to it that none failed, and that each of these servers, and no other, was reached.
    #[track_caller]
    pub fn assert_on(&self, servers: &[&str]) {
        assert!(self.failed.is_empty(), "new connections failed: {self:?}");
        let reached: Vec<_> = self.servers.keys().map(String::as_str).collect();
        assert_eq!(reached, servers, "{self:?}");
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn talk(&self, place: usize, mut connection: Connection) {
        let home = lock(&self.talks)[place].home.clone();
        for round in 1.. {
            // From one segment to many.
            let payload = format!("talk {place} round {round} ").repeat(round % 50 * 8 + 1);
            let lost = match connection.exchange(payload.as_bytes()) {
                Ok(server) if server == home => None,
                Ok(server) => Some(format!("moved from {home} to {server}")),
                Err(error) => Some(format!("on {home}: {error}")),
            };
            if self.is_over() {
                return;
            }
            let is_lost = lost.is_some();
            self.note(place, lost);
            if is_lost {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn note(&self, place: usize, lost: Option<String>) {
        let talk = &mut lock(&self.talks)[place];
        talk.exchanges += 1;
        talk.lost = lost;
    }

    fn request(&self, number: usize) {
        for round in 0.. {
            let payload = format!("request {number} {round} ").repeat(20);
            let answer = Connection::open_to_speak(PATIENCE, SERVICE_PORT)
                .and_then(|mut connection| connection.exchange(payload.as_bytes()));
            if self.is_over() {
                return;
            }
            lock(&self.requests).push(answer.map_err(|error| error.to_string()));
            lock(&self.ended)[number] += 1;
            thread::sleep(if round < QUICK { Duration::from_millis(1) } else { LEISURE });
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
