//! Where answers come from.

use super::model::Answer;
use evenkeel_control::api::{Client, ClientError};
use std::path::Path;
use std::time::{Duration, Instant};

/// A balancer's socket, and when the screen began.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    began: Instant,
}

impl Source {
    pub(super) fn new(socket: &Path) -> Self {
        Self { client: Client::new(socket), began: Instant::now() }
    }

    /// Asks everything that the screen shows.
    pub(super) async fn ask(&self) -> Result<Answer, ClientError> {
        let status = self.client.get("/v1/status").await?;
        let status_at = self.now();
        let counters = self.client.get("/v1/counters").await?;
        Ok(Answer { status, status_at, counters, counters_at: self.now() })
    }

    /// Since the screen began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
