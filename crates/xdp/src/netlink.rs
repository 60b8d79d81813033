//! The kernel's routing sockets: one for questions, one for what it tells by itself.
//!
//! Two, because a socket that is told more than it can hold loses what comes next, and that must not be an answer. And a
//! question may stay without an answer nonetheless, so nobody waits for one for ever.

use crate::error::XdpError;
use futures_util::{Stream, StreamExt as _};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the kernel may take for an answer; it takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked.
const TRIES: usize = 3;
/// What the kernel may tell before we listen, in bytes: some ten thousand changes.
const RECEIVE_BUFFER: libc::c_int = 16 << 20;
/// Between two attempts to listen again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said and heard, as rtnetlink hands it on.
type Messages = Pin<Box<dyn Stream<Item = NetlinkPayload<RouteNetlinkMessage>>>>;

/// A connection for questions. To be called within a runtime.
///
/// # Errors
/// The kernel refuses.
pub fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// What the kernel tells by itself of interfaces, addresses, routes and neighbours in our network namespace.
#[expect(missing_debug_implementations, reason = "it is a stream")]
pub struct News {
    messages: Messages,
    connection: AbortHandle,
    /// When to listen again, if the socket has failed. Kept here, because who waits may turn to something else meanwhile.
    again: Option<Instant>,
}

/// One thing told.
#[derive(Debug)]
pub enum Told {
    /// A message.
    Message(RouteNetlinkMessage),
    /// Some were lost: whatever is known from messages has to be asked for.
    Overrun,
}

impl News {
    /// Begins to listen. To be called within a runtime.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn listen() -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        enlarge(connection.socket_mut().as_raw_fd());
        let connection = tokio::spawn(connection).abort_handle();
        Ok(Self { messages: Box::pin(messages.map(|(message, _)| message.payload)), connection, again: None })
    }

    /// Waits for the next thing. A socket that has failed is replaced; what was told meanwhile is lost.
    pub async fn next(&mut self) -> Told {
        loop {
            match self.messages.next().await {
                Some(NetlinkPayload::InnerMessage(message)) => return Told::Message(message),
                Some(NetlinkPayload::Overrun(_)) => return Told::Overrun,
                Some(_) => {}
                None => {
                    sleep_until(*self.again.get_or_insert_with(|| Instant::now() + PAUSE)).await;
                    self.again = None;
                    if let Ok(again) = Self::listen() {
                        *self = again;
                        return Told::Overrun;
                    }
                }
            }
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Makes room for what comes while we are busy. The limit for everybody (net.core.rmem_max) does not hold for who may change
/// the network.
fn enlarge(socket: RawFd) {
    let bytes = RECEIVE_BUFFER;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        let size = size_of_val(&bytes) as libc::socklen_t;
        // SAFETY: the pointer is to a number of that size, which outlives the call.
        let outcome = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const bytes).cast(), size) };
        if outcome == 0 {
            return;
        }
    }
}

/// Asks the kernel something that may be asked twice: waits a second for the answer, and asks again if there is none.
pub(crate) async fn ask<T, F>(what: &'static str, question: impl Fn() -> F) -> Result<T, XdpError>
where
    F: Future<Output = Result<T, XdpError>>,
{
    for _ in 0..TRIES {
        if let Ok(answer) = timeout(PATIENCE, question()).await {
            return answer;
        }
    }
    Err(unanswered(what))
}

/// The same for a question with many answers, each of which the kernel has a second for.
pub(crate) async fn ask_for_all<T, S>(what: &'static str, question: impl Fn() -> S) -> Result<Vec<T>, XdpError>
where
    S: Stream<Item = Result<T, rtnetlink::Error>>,
{
    for _ in 0..TRIES {
        let mut answers = pin!(question());
        let mut all = Vec::new();
        while let Ok(answer) = timeout(PATIENCE, answers.next()).await {
            match answer {
                Some(answer) => all.push(answer.map_err(failed(what))?),
                None => return Ok(all),
            }
        }
    }
    Err(unanswered(what))
}

/// Gives the kernel an order, which may not be given twice, and waits for its answer.
pub(crate) async fn order<T, E>(
    order: impl Future<Output = Result<T, E>>,
    unanswered: impl FnOnce() -> E,
) -> Result<T, E> {
    timeout(PATIENCE * TRIES as u32, order).await.unwrap_or_else(|_| Err(unanswered()))
}

fn unanswered(what: &'static str) -> XdpError {
    XdpError::Netlink { what, reason: "the kernel does not answer".to_owned() }
}

/// For errors of the library's.
pub(crate) fn failed<E: Display>(what: &'static str) -> impl Fn(E) -> XdpError {
    move |error| XdpError::Netlink { what, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::cell::Cell;
    use std::future::{pending, ready};
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_is_asked_again() {
        let asked = Cell::new(0);
        let question = || {
            asked.set(asked.get() + 1);
            let is_lost = asked.get() < 3;
            async move { if is_lost { pending().await } else { Ok(7) } }
        };
        assert_eq!(ask("numbers", question).await.expect("the third answer comes"), 7);
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn many_answers_may_take_longer_than_one_and_half_of_them_are_none() {
        let slow = |ends: bool| {
            stream::unfold(0, move |count| async move {
                sleep(PATIENCE / 2).await;
                match count {
                    0..10 => Some((Ok(count), count + 1)),
                    _ if ends => None,
                    _ => pending().await,
                }
            })
        };
        let all = ask_for_all("numbers", || slow(true)).await.expect("each comes in time");
        assert_eq!(all, Vec::from_iter(0..10));
        let asked = Cell::new(0);
        let refused = ask_for_all("numbers", || {
            asked.set(asked.get() + 1);
            slow(false)
        });
        assert!(refused.await.is_err());
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let begun = Instant::now();
        let refused = ask::<(), _>("numbers", pending).await.expect_err("nobody answers");
        assert_eq!(refused.to_string(), "cannot ask the kernel about numbers: the kernel does not answer");
        assert_eq!(begun.elapsed(), PATIENCE * 3);
        assert_eq!(order(pending::<Result<(), &str>>(), || "lost").await, Err("lost"));
        assert_eq!(begun.elapsed(), PATIENCE * 6);
    }

    #[tokio::test]
    async fn an_answer_is_an_answer_also_if_it_is_no() {
        let asked = Cell::new(0);
        let question = || {
            asked.set(asked.get() + 1);
            ready(Err::<(), _>(XdpError::NoBtf))
        };
        assert!(ask("numbers", question).await.is_err());
        assert_eq!(asked.get(), 1);
    }
}
