//! What the control side could not do and tries again: none of it stops a packet. Each kind is counted, and told when it begins
//! and when it is over.

use std::any::Any;
use std::fmt::Display;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// A kind of trouble that lasts is told again after so long.
const AGAIN: Duration = Duration::from_secs(600);
/// What has not happened for so long is over: what is tried again is tried every few seconds.
const QUIET: Duration = Duration::from_secs(12);

/// Of what kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A table could not be changed or read.
    Tables,
    /// A connection to the API or for metrics could not be taken.
    Connections,
    /// A thread or a task has panicked, and was begun again.
    Panic,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tables, Self::Connections, Self::Panic];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Connections => "connections",
            Self::Panic => "panic",
        }
    }

    fn begins(self, error: &str) -> String {
        let error = error.trim_end_matches(['.', ':']);
        match self {
            Self::Tables => format!(
                "warning: {error}; what is in force stays, packets are balanced on, and it is tried again every second."
            ),
            Self::Connections => format!(
                "warning: connections to the API or for metrics cannot be taken ({error}); they wait, and it is tried again."
            ),
            Self::Panic => {
                format!("warning: a thread has panicked ({error}) and was begun again: this is a fault of evenkeel's.")
            }
        }
    }

    /// Nothing if that cannot be told.
    fn ends(self) -> Option<&'static str> {
        match self {
            Self::Tables => Some("the tables can be changed again, and are as is wanted."),
            Self::Connections => Some("connections to the API and for metrics are taken again."),
            Self::Panic => None,
        }
    }
}

/// What has happened of every kind. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<[Kind; Trouble::ALL.len()]>>);

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// The last error, if it has not been looked at.
    news: Option<String>,
    last: Option<Instant>,
    /// When it was told last that it goes on.
    told: Option<Instant>,
}

impl Troubles {
    /// Notes that something of this kind has happened.
    pub fn note(&self, trouble: Trouble, error: &impl Display) {
        self.note_at(trouble, error, Instant::now());
    }

    /// Notes that this thread or task has panicked, by what [`std::panic::catch_unwind`] has of it.
    pub(crate) fn note_panic(&self, what: &str, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
        self.note(Trouble::Panic, &format!("{what}: {text}"));
    }

    /// What comes of some work; nothing if it panics, which is noted.
    pub async fn guard<T>(&self, what: &str, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(panic) => {
                self.note_panic(what, &*panic);
                Poll::Ready(None)
            }
        })
        .await
    }

    /// Does some work again and again, until it comes to an end other than a panic, which is noted, or nobody wants it any more.
    pub fn keep_up(&self, what: &str, is_wanted: impl Fn() -> bool, mut work: impl FnMut()) {
        while is_wanted() {
            match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(()) => return,
                Err(panic) => self.note_panic(what, &*panic),
            }
        }
    }

    fn note_at(&self, trouble: Trouble, error: &impl Display, now: Instant) {
        let kind = &mut self.kinds()[trouble as usize];
        kind.count += 1;
        kind.last = Some(now);
        kind.news = Some(error.to_string());
    }

    /// How often each kind has happened.
    pub(crate) fn counts(&self) -> [(Trouble, u64); Trouble::ALL.len()] {
        let kinds = self.kinds();
        Trouble::ALL.map(|trouble| (trouble, kinds[trouble as usize].count))
    }

    /// What there is to tell by now, in sentences. `is_over`: whether what was tried again has come to a good end.
    pub(crate) fn tell(&self, is_over: impl Fn(Trouble) -> bool) -> Vec<String> {
        self.tell_at(is_over, Instant::now())
    }

    fn tell_at(&self, is_over: impl Fn(Trouble) -> bool, now: Instant) -> Vec<String> {
        let mut said = Vec::new();
        let mut kinds = self.kinds();
        for trouble in Trouble::ALL {
            let kind = &mut kinds[trouble as usize];
            if let Some(error) = kind.news.take()
                && kind.told.is_none_or(|told| now >= told + AGAIN)
            {
                kind.told = Some(now);
                said.push(trouble.begins(&error));
            }
            let is_quiet = kind.last.is_none_or(|last| now >= last + QUIET);
            if let (Some(_), Some(words), true) = (kind.told, trouble.ends(), is_quiet && is_over(trouble)) {
                kind.told = None;
                said.push(words.to_owned());
            }
        }
        said
    }

    /// Nobody panics while holding it.
    fn kinds(&self) -> MutexGuard<'_, [Kind; Trouble::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once_and_its_end_too() {
        let troubles = Troubles::default();
        let begun = Instant::now();
        let mut said = Vec::new();
        for second in 0..300 {
            let now = begun + Duration::from_secs(second);
            if second < 200 {
                troubles.note_at(Trouble::Tables, &"BPF map MAGLEV: too many open files", now);
            }
            said.extend(troubles.tell_at(|_| second >= 200, now).into_iter().map(|line| (second, line)));
        }
        let [(0, begins), (211, ends)] = &said[..] else { panic!("{said:?}") };
        assert!(begins.starts_with("warning: BPF map MAGLEV: too many open files; what is in force stays"), "{begins}");
        assert!(ends.contains("again"), "{ends}");
        assert_eq!(troubles.counts()[0], (Trouble::Tables, 200));
    }

    #[tokio::test]
    async fn a_panic_is_noted_and_the_work_done_again() {
        let troubles = Troubles::default();
        let mut done = 0;
        troubles.keep_up(
            "test",
            || true,
            || {
                done += 1;
                assert!(done > 3, "a test's");
            },
        );
        assert_eq!((done, troubles.counts()[2]), (4, (Trouble::Panic, 3)));
        troubles.keep_up("test", || false, || unreachable!("nobody wants it"));
        assert_eq!(troubles.guard("test", async { 7 }).await, Some(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("a test's")
        };
        assert_eq!(troubles.guard::<()>("test", panics).await, None);
        let said = troubles.tell(|_| true);
        assert!(matches!(&said[..], [line] if line.contains("test: a test's")), "{said:?}");
    }

    #[test]
    fn what_comes_and_goes_is_not_told_all_the_time() {
        let troubles = Troubles::default();
        let begun = Instant::now();
        let said = (0..3600).map(|second| {
            let now = begun + Duration::from_secs(second);
            if second % 5 == 0 {
                troubles.note_at(Trouble::Connections, &"too many open files", now);
            }
            troubles.tell_at(|_| true, now).len()
        });
        assert_eq!(said.sum::<usize>(), 6, "once in ten minutes");
    }
}
