//! Connections one by one. A part of the search has a thread to itself, and one goes on at a time: they take turns.

use super::answer::Refusal;
use crate::operator::{Cursor, FlowPart, FlowSearch, SearchError};
use axum::body::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// What the search finds in the part of the table that begins there, as JSON, and where the next part begins. If this is
/// dropped, the search ends.
pub(super) async fn find(search: FlowSearch, from: Option<Cursor>) -> Result<(Bytes, Option<Cursor>), Refusal> {
    // Nobody closes it.
    let _turn = ONE_AT_A_TIME.acquire().await;
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let is_wanted = Arc::clone(&wanted.0);
    let work = move || {
        let found = search.run(from, || is_wanted.load(Ordering::Relaxed));
        let FlowPart { flows, next, .. } = found.map_err(|error| match error {
            SearchError::Walk(_) => Refusal::failed(error),
            SearchError::Exchanged => Refusal::gone(error),
        })?;
        Ok((serde_json::to_vec(&flows).map(Bytes::from).map_err(Refusal::failed)?, next))
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
