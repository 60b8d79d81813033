//! What monitoring reads. Who asks again and again gets the same text for a while: reading it all costs the operator time,
//! of which those who may ask, and that may be anybody, get no more than a tenth.

use super::answer::Refusal;
use super::exposition::{Format, plain};
use super::metrics;
use crate::operator::Handle;
use crate::plane::Plane;
use axum::body::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

/// How many times as long as it took to read is what was read good for.
const GOOD_FOR: u32 = 10;

/// What was read may have been begun so long before it is asked for. So whoever comes while it is read does not wait for what
/// is read next, and a crowd costs one reading.
const BEFORE: Duration = Duration::from_millis(50);

/// The last text, and a way to another.
#[derive(Debug)]
pub(super) struct Scrapes<P> {
    handle: Handle<P>,
    last: Arc<Mutex<Option<Text>>>,
}

#[derive(Debug)]
struct Text {
    text: Arc<Formats>,
    /// When reading began.
    begun: Instant,
    good_until: Instant,
}

/// A text in each format that somebody has wanted.
#[derive(Debug)]
struct Formats {
    open: Bytes,
    plain: OnceLock<Bytes>,
}

impl Formats {
    fn get(&self, format: Format) -> Bytes {
        match format {
            Format::OpenMetrics => self.open.clone(),
            Format::Plain => self.plain.get_or_init(|| plain(&String::from_utf8_lossy(&self.open)).into()).clone(),
        }
    }
}

impl<P> Clone for Scrapes<P> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), last: Arc::clone(&self.last) }
    }
}

impl<P: Plane + 'static> Scrapes<P> {
    pub(super) fn new(handle: Handle<P>) -> Self {
        Self { handle, last: Arc::default() }
    }

    /// A text that is good.
    pub(super) async fn text(&self, format: Format) -> Result<Bytes, Refusal> {
        let text = self.formats().await?;
        spawn_blocking(move || text.get(format)).await.map_err(Refusal::failed)
    }

    async fn formats(&self) -> Result<Arc<Formats>, Refusal> {
        let asked = Instant::now();
        let last = Arc::clone(&self.last).lock_owned().await;
        match &*last {
            Some(Text { text, begun, good_until }) if asked < *good_until || asked < *begun + BEFORE => {
                Ok(Arc::clone(text))
            }
            // By a task of its own, so that those who ask and go leave one question behind, and not one each.
            _ => tokio::spawn(read(self.handle.clone(), last)).await.map_err(Refusal::failed)?,
        }
    }
}

async fn read<P: Plane + 'static>(
    handle: Handle<P>,
    mut last: OwnedMutexGuard<Option<Text>>,
) -> Result<Arc<Formats>, Refusal> {
    let begun = Instant::now();
    let scrape = handle.ask_counted(|operator| {
        let begun = Instant::now();
        operator.scrape().map(|scrape| (scrape, begun.elapsed()))
    });
    let (scrape, took): (_, Duration) = scrape.await.ok_or_else(Refusal::ending)?.map_err(Refusal::failed)?;
    let good_until = Instant::now() + took * GOOD_FOR;
    let text = spawn_blocking(move || metrics::encode(scrape)).await.map_err(Refusal::failed)?;
    let text = Arc::new(Formats { open: text.map_err(Refusal::failed)?.into(), plain: OnceLock::new() });
    *last = Some(Text { text: Arc::clone(&text), begun, good_until });
    Ok(text)
}
