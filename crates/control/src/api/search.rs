//! Connections one by one. The search has a thread to itself, and one search goes on at a time.

use super::answer::Refusal;
use crate::operator::FlowSearch;
use axum::body::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// What the search finds, as JSON. If this is dropped, the search ends.
pub(super) async fn find(search: FlowSearch) -> Result<Bytes, Refusal> {
    // Nobody closes it.
    let _turn = ONE_AT_A_TIME.acquire().await;
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let is_wanted = Arc::clone(&wanted.0);
    let work = move || -> Result<Bytes, Refusal> {
        let found = search.run(|| is_wanted.load(Ordering::Relaxed)).map_err(Refusal::failed)?;
        serde_json::to_vec(&found).map(Bytes::from).map_err(Refusal::failed)
    };
    spawn_blocking(work).await.map_err(Refusal::failed)?
}

/// Somebody waits for it, as long as this lives.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
