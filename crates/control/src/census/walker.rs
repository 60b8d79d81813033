//! The thread that walks through the flow table.

use super::tally::Census;
use crate::plane::{FlowWalk, WalkError};
use crate::trouble::{Trouble, Troubles};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// The longest time between the end of a walk and the begin of the next.
const PAUSE: Duration = Duration::from_secs(3);
/// Buckets that are looked at in one go: 1 MB of them, well under a millisecond.
const PIECE: usize = 4096;
/// For how long a question waits for a count that has begun after it. Where that takes longer, the last count is told.
const PATIENCE: Duration = Duration::from_millis(60);
/// Buckets of a table that is small: 128 MB, which is what a million connections have. It is walked through within a hundredth
/// of a second or two, if the machine has that to spare; so it is worth waiting when it has not.
const SMALL: usize = 1 << 19;
/// The same as [`PATIENCE`] for a small table.
const PATIENCE_WITH_SMALL: Duration = Duration::from_millis(500);
/// How little of the CPU the walker wants where others want it too (nice(2)).
const NICENESS: i32 = 5;

/// Walks through a flow table for as long as it lives.
#[derive(Debug)]
pub(crate) struct Walker {
    counts: Counts,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Orders {
    /// On the next walk, entries whose time is long over are to be freed.
    sweep: AtomicBool,
    end: AtomicBool,
}

/// Where counts are to be had.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    patience: Duration,
    wake: SyncSender<()>,
    latest: watch::Receiver<Arc<Census>>,
}

impl Walker {
    /// Begins.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn begin(table: Arc<dyn FlowWalk>, troubles: Troubles) -> io::Result<Self> {
        // One order to hurry is as good as many.
        let (wake, woken) = sync_channel(1);
        let (publish, latest) = watch::channel(Arc::new(Census::begin()));
        let orders = Arc::new(Orders::default());
        let patience = if table.buckets() <= SMALL { PATIENCE_WITH_SMALL } else { PATIENCE };
        let walk = Walk { table, orders: Arc::clone(&orders), publish, woken, troubles };
        let thread = thread::Builder::new().name("flow-walker".to_owned()).spawn(move || walk.run())?;
        Ok(Self { counts: Counts { patience, wake, latest }, orders, thread: Some(thread) })
    }

    /// Where its counts are to be had.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next count, and every later one, is news to this.
    pub(crate) async fn news(&mut self) {
        // The thread ends after us.
        if self.counts.latest.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Asks for a walk that frees entries whose time is long over, and counts.
    pub(crate) fn sweep(&self) {
        self.orders.sweep.store(true, Ordering::Release);
        self.counts.hurry();
    }
}

impl Drop for Walker {
    fn drop(&mut self) {
        self.orders.end.store(true, Ordering::Release);
        self.counts.hurry();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was said.
            let _ = thread.join();
        }
    }
}

impl Counts {
    /// The last count.
    pub(crate) fn latest(&self) -> Arc<Census> {
        Arc::clone(&self.latest.borrow())
    }

    /// Waits for a count that begins after now, as long as that does not take long.
    pub(crate) async fn refresh(&self) {
        let asked = Instant::now();
        let mut latest = self.latest.clone();
        self.hurry();
        // If it is not there by then, the one before will do.
        let _ = timeout(self.patience, latest.wait_for(|census| census.begun >= asked)).await;
    }

    fn hurry(&self) {
        // If there is no room, that was said already.
        let _ = self.wake.try_send(());
    }
}

/// What the thread works with.
struct Walk {
    table: Arc<dyn FlowWalk>,
    orders: Arc<Orders>,
    publish: watch::Sender<Arc<Census>>,
    woken: Receiver<()>,
    troubles: Troubles,
}

impl Walk {
    fn run(self) {
        // Whoever forbids it has the walker compete with the others.
        let _ = rustix::process::nice(NICENESS);
        while !self.has_ended() {
            let begun = Instant::now();
            // A clock that cannot be read now may be readable the next time. Until then the last count stands, and tells its
            // age.
            match catch_unwind(AssertUnwindSafe(|| self.walk())) {
                Ok(Ok(Some(census))) => drop(self.publish.send_replace(Arc::new(census))),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => self.troubles.note(Trouble::Tables, &error),
                Err(panic) => self.troubles.note_panic("the flow table", &*panic),
            }
            // At least as long as the walk took, so that whoever asks all the time has it walk half of the time.
            let rest = begun.elapsed();
            self.pause(rest);
            if !self.has_ended()
                && self.woken.recv_timeout(PAUSE.saturating_sub(rest)) == Err(RecvTimeoutError::Disconnected)
            {
                return;
            }
        }
    }

    /// Once through the table; nothing if the end has come before its end.
    fn walk(&self) -> Result<Option<Census>, WalkError> {
        let sweep = self.orders.sweep.swap(false, Ordering::AcqRel);
        loop {
            let mut census = Census::begin();
            let buckets = self.table.buckets();
            for piece in pieces(buckets) {
                if self.has_ended() {
                    return Ok(None);
                }
                if sweep {
                    self.table.sweep(piece.clone())?;
                }
                self.table.visit(piece, &mut |flow| census.count(&flow))?;
            }
            // In a table that has grown meanwhile, connections are elsewhere: some were counted twice, and some not at all, whose
            // backends would be taken to have none.
            if self.table.buckets() == buckets {
                if sweep {
                    self.table.sweep_hops()?;
                }
                return Ok(Some(census));
            }
        }
    }

    /// Sleeps, unless the end comes.
    fn pause(&self, time: Duration) {
        const LOOK: Duration = Duration::from_millis(20);
        let end = Instant::now() + time;
        while !self.has_ended() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    fn has_ended(&self) -> bool {
        self.orders.end.load(Ordering::Acquire)
    }
}

/// All buckets, a piece at a time.
fn pieces(buckets: usize) -> impl Iterator<Item = Range<usize>> {
    (0..buckets).step_by(PIECE).map(move |first| first..(first + PIECE).min(buckets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::FlowView;
    use evenkeel_core::BackendRef;
    use evenkeel_core::flow::State;
    use evenkeel_wire::IpProtocol;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;

    /// A table with one connection, which grows while it is walked through for the first time: the connection is in the first
    /// piece before, and in the last one after.
    struct Growing(AtomicUsize);

    const SMALLER: usize = 2 * PIECE;
    const LARGER: usize = 4 * PIECE;
    const BACKEND: BackendRef = BackendRef { index: 1, generation: 1 };

    impl FlowWalk for Growing {
        fn buckets(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
            let at = if self.buckets() == SMALLER { 0 } else { LARGER - 1 };
            if buckets.contains(&at) {
                let nobody = SocketAddr::from(([0; 4], 0));
                visit(FlowView {
                    protocol: IpProtocol::TCP,
                    client: nobody,
                    service: nobody,
                    backend: BACKEND,
                    nat: nobody,
                    state: State::Established,
                    idle: Duration::ZERO,
                });
            }
            if buckets.start == PIECE {
                self.0.store(LARGER, Ordering::Relaxed);
            }
            Ok(())
        }

        fn sweep(&self, _: Range<usize>) -> Result<(), WalkError> {
            Ok(())
        }

        fn sweep_hops(&self) -> Result<(), WalkError> {
            Ok(())
        }
    }

    #[test]
    fn a_table_that_grows_meanwhile_is_counted_from_the_beginning() {
        for (buckets, already) in [(SMALLER, "it grows"), (LARGER, "it has grown")] {
            let (publish, _latest) = watch::channel(Arc::new(Census::begin()));
            let (_wake, woken) = sync_channel(1);
            let table = Arc::new(Growing(AtomicUsize::new(buckets)));
            let walk = Walk { table, orders: Arc::default(), publish, woken, troubles: Troubles::default() };
            let before = Instant::now();
            let census = walk.walk().expect("it can be read").expect("nobody ends it");
            assert_eq!(census.flows(BACKEND), 1, "{already}");
            assert!(census.begun >= before);
        }
    }
}
