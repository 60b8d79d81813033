//! Asking the operator from elsewhere: the thread that owns it does the work, when it comes to it.

use super::wanted::Operator;
use crate::census::Counts;
use tokio::sync::{mpsc, oneshot};

/// How many questions may wait.
const WAITING: usize = 64;

type Job<P> = Box<dyn FnOnce(&mut Operator<P>) + Send>;

/// A way to ask.
#[derive(Debug)]
pub struct Handle<P> {
    jobs: mpsc::Sender<Job<P>>,
    counts: Option<Counts>,
}

impl<P> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), counts: self.counts.clone() }
    }
}

/// Where questions arrive.
#[expect(missing_debug_implementations, reason = "questions are functions")]
pub struct Inbox<P>(mpsc::Receiver<Job<P>>);

/// A handle and its inbox.
pub fn handle<P>() -> (Handle<P>, Inbox<P>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Handle { jobs: sender, counts: None }, Inbox(receiver))
}

impl<P: 'static> Handle<P> {
    /// The same, for an operator that counts connections by these.
    #[must_use]
    pub(crate) fn counting_by(self, counts: Counts) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// The same as [`Handle::ask`] for a question of how many connections there are: they are counted anew before, unless that
    /// takes long.
    pub async fn ask_counted<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Operator<P>) -> R + Send + 'static,
    ) -> Option<R> {
        if let Some(counts) = &self.counts {
            counts.refresh().await;
        }
        self.ask(question).await
    }

    /// Has something done with the operator, and waits for what comes of it; nothing if the operator is gone.
    pub async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Operator<P>) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        let job: Job<P> = Box::new(move |operator| {
            // Who has asked may have gone.
            let _ = answer.send(question(operator));
        });
        self.jobs.send(job).await.ok()?;
        answered.await.ok()
    }
}

impl<P> Inbox<P> {
    /// The next question, to be called with the operator. Never comes if nobody can ask any more.
    pub async fn next(&mut self) -> Box<dyn FnOnce(&mut Operator<P>) + Send> {
        match self.0.recv().await {
            Some(job) => job,
            None => std::future::pending().await,
        }
    }
}
