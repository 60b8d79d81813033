//! One check of one backend, whatever its kind, within its time.

use super::finding::{Finding, Hindrance};
use super::http::Question;
use super::ports::Ports;
use super::tcp;
use crate::config::{Health, Probe};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Asks a backend.
#[derive(Debug)]
pub(super) struct Prober {
    target: SocketAddr,
    health: Arc<Health>,
    /// For an HTTP check; nothing if no request can be made of what is wanted.
    question: Option<Question>,
    ports: Ports,
    permits: Arc<Semaphore>,
}

impl Prober {
    /// One that asks from these ports, and waits for a permit before each check.
    pub(super) fn new(target: SocketAddr, health: Arc<Health>, ports: Ports, permits: Arc<Semaphore>) -> Self {
        let question = match &health.probe {
            Some(Probe::Http(check)) => Question::new(target, check),
            Some(Probe::Tcp) | None => None,
        };
        Self { target, health, question, ports, permits }
    }

    /// Checks once. Takes no longer than the timeout, counted from when there is a permit.
    pub(super) async fn check(&self) -> Finding {
        // Nobody closes the semaphore; a check without a permit would do no harm.
        let _permit = self.permits.acquire().await;
        let timeout = self.health.timeout;
        let deadline = Instant::now() + timeout;
        timeout_at(deadline, self.ask(deadline)).await.unwrap_or(Finding::Silent(timeout))
    }

    async fn ask(&self, deadline: Instant) -> Finding {
        match (&self.health.probe, &self.question) {
            (Some(Probe::Http(check)), Some(question)) => {
                // Apart, so that the many tasks that only wait for their next check do not keep room for an HTTP
                // connection.
                Box::pin(question.ask(check, &self.ports, deadline)).await
            }
            (Some(Probe::Http(_)), None) => Finding::NotMade(Hindrance::Request),
            (Some(Probe::Tcp) | None, _) => tcp::check(self.target, &self.ports).await,
        }
    }
}
