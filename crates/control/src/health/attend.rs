//! What the task of a check does: it checks at its pace, and tells when there is something to tell.

use super::audience::Audience;
use super::finding::Finding;
use super::inquiry::Inquiry;
use super::pace::Pace;
use crate::operator::Judgement;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Checks until nobody listens any more, for the first time after `wait`. `check` is one check, and must end by itself.
pub(super) async fn attend(
    inquiry: Arc<Inquiry>,
    audience: Arc<Audience>,
    wait: Duration,
    mut pace: Pace,
    judgements: mpsc::Sender<Judgement>,
    mut check: impl AsyncFnMut() -> Finding,
) {
    let mut due = Instant::now() + wait;
    loop {
        sleep_until(due).await;
        // From beginning to beginning, so that what a check takes does not slow the pace.
        due = Instant::now() + pace.next();
        let finding = check().await;
        for judgement in audience.hear(finding, || finding.words(&inquiry)) {
            if judgements.send(judgement).await.is_err() {
                return;
            }
        }
    }
}
