//! A connection on which something is said and something is to be heard.
//!
//! A server that speaks first is heard out before anything is sent or the connection is closed: one that is left in the middle
//! of its greeting sees a connection that broke, and logs an error at each check. MySQL and MariaDB count one that only heard
//! them as well, and after a hundred in a row shut its address out; they are content with an answer, even a wrong one. Which servers do is not said anywhere, so the first check listens for a while, and those after it know.

use super::body::{MAX_BODY, Search};
use super::finding::Finding;
use super::tls::failure;
use crate::config::Talk;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

/// How long a server is listened to of which it is not known whether it speaks first. A greeting comes within a round trip, but
/// may wait for a thread.
const HEARING: Duration = Duration::from_millis(100);

/// How a server was found to begin: for how many more checks it is taken to say nothing first, or that it speaks.
#[derive(Debug, Default)]
pub(super) struct Manners(AtomicU8);

impl Manners {
    const UNKNOWN: u8 = 0;
    const SPEAKS: u8 = u8::MAX;
    /// Then it is listened to once more: it may have been slow.
    const WAITS: u8 = 16;

    /// Forgets what was found: another server may be there.
    pub(super) fn forget(&self) {
        self.0.store(Self::UNKNOWN, Ordering::Relaxed);
    }

    fn note(&self, speaks: bool) {
        self.0.store(if speaks { Self::SPEAKS } else { Self::WAITS }, Ordering::Relaxed);
    }

    /// Until when its first word is to be waited for, if at all.
    fn patience(&self, deadline: Instant) -> Option<Instant> {
        let now = Instant::now();
        match self.0.load(Ordering::Relaxed) {
            Self::SPEAKS => Some(deadline),
            Self::UNKNOWN => Some(now + HEARING.min(deadline.saturating_duration_since(now) / 2)),
            checks => {
                // One check asks at a time.
                self.0.store(checks - 1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Says and hears what is wanted. `else_good` is what is found where nothing more is wanted than a connection.
///
/// The caller closes the connection, and ends what has not ended at the deadline.
pub(super) async fn talk(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    talk: &Talk,
    manners: &Manners,
    else_good: Finding,
    deadline: Instant,
) -> Finding {
    let mut heard = Heard::new(talk);
    let mut has_greeted = false;
    if let Some(patience) = manners.patience(deadline) {
        match timeout_at(patience, heard.more(stream)).await {
            Ok(More::Some) => has_greeted = true,
            // It takes connections, and that is all that was asked.
            Ok(More::End(_)) if talk.send.is_none() && talk.expect.is_none() => return else_good,
            Ok(More::End(finding)) => return finding,
            Err(_) if patience == deadline => return heard.in_vain().await,
            Err(_) => {}
        }
        manners.note(has_greeted);
    }
    let Some(send) = &talk.send else {
        return match talk.expect {
            Some(_) => heard.all(stream, deadline).await,
            None => else_good,
        };
    };
    let was_found = talk.expect.is_some() && heard.is_enough();
    if let Err(error) = stream.write_all(send).await {
        return failure(&error);
    }
    if was_found {
        // The greeting was what is wanted. What is sent is a farewell, whose answer shall not meet a closed door.
        let _ = timeout_at(deadline.min(Instant::now() + HEARING), heard.more(stream)).await;
        return Finding::Said;
    }
    heard.begin_answer();
    heard.all(stream, deadline).await
}

/// What a server has said so far.
struct Heard<'t> {
    search: Option<Search<'t>>,
    bytes: usize,
    /// Whether anything will do, and has come.
    has_anything: bool,
}

enum More {
    Some,
    End(Finding),
}

impl<'t> Heard<'t> {
    fn new(talk: &'t Talk) -> Self {
        Self { search: talk.expect.as_deref().map(Search::new), bytes: 0, has_anything: false }
    }

    /// From now on what comes is an answer to what was sent.
    fn begin_answer(&mut self) {
        self.has_anything = false;
    }

    fn is_enough(&self) -> bool {
        self.search.as_ref().map_or(self.has_anything, Search::has_found)
    }

    /// Hears more, if there is any.
    async fn more(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> More {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) => More::End(self.nothing_more()),
            Ok(count) => {
                let room = MAX_BODY.saturating_sub(self.bytes);
                self.bytes += count;
                self.has_anything = true;
                if let Some(search) = &mut self.search {
                    search.go_on(&buffer[..count.min(room)]);
                }
                More::Some
            }
            // TLS whose end was not announced.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => More::End(self.nothing_more()),
            Err(error) => More::End(failure(&error)),
        }
    }

    fn nothing_more(&self) -> Finding {
        if self.search.is_some() && self.bytes > 0 { Finding::OtherAnswer } else { Finding::Closed }
    }

    /// Hears until it is enough, or too much.
    async fn all(&mut self, stream: &mut (impl AsyncRead + Unpin), deadline: Instant) -> Finding {
        while !self.is_enough() {
            match timeout_at(deadline, self.more(stream)).await {
                Ok(More::Some) if self.bytes > MAX_BODY => return Finding::OtherAnswer,
                Ok(More::Some) => {}
                Ok(More::End(finding)) => return finding,
                Err(_) => return self.in_vain().await,
            }
        }
        Finding::Said
    }

    /// What it means that the time is over. If nothing has come at all, the caller knows what that is called.
    async fn in_vain(&self) -> Finding {
        if self.bytes > 0 { Finding::OtherAnswer } else { std::future::pending().await }
    }
}
