//! What the task of a backend does: it checks at its pace, and tells when there is something to tell.

use super::course::Course;
use super::finding::Finding;
use super::pace::Pace;
use crate::config::{BackendId, Health};
use crate::operator::{Condition, Judgement};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Checks until nobody listens any more. `before` is what is held of the backend so far; `check` is one check, and must end
/// by itself.
pub(super) async fn attend(
    backend: BackendId,
    health: Arc<Health>,
    before: Option<Condition>,
    mut pace: Pace,
    judgements: mpsc::Sender<Judgement>,
    mut check: impl AsyncFnMut() -> Finding,
) {
    let mut course = Course::new(health.rise, health.fall, before);
    let mut since = SystemTime::now();
    let mut due = Instant::now() + pace.first();
    loop {
        sleep_until(due).await;
        // From beginning to beginning, so that what a check takes does not slow the pace.
        due = Instant::now() + pace.next();
        let finding = check().await;
        let Some(news) = course.follow(finding) else { continue };
        if news.turned {
            since = SystemTime::now();
        }
        let judgement = Judgement { backend, condition: news.condition, reason: finding.words(&health), since };
        if judgements.send(judgement).await.is_err() {
            return;
        }
    }
}
