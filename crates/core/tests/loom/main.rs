//! The tables under every interleaving of two or three threads that loom finds, with a bound on preemptions.

mod hops;
mod ports;
mod table;

use evenkeel_core::Word;
use loom::sync::atomic::{AtomicU64, Ordering, fence};

struct LoomWord(AtomicU64);

impl Word for LoomWord {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn publish(&self, value: u64) {
        // Loom takes a sequentially consistent swap for acquire and release; the fence it models in full.
        self.0.swap(value, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }
}

fn word() -> LoomWord {
    LoomWord(AtomicU64::new(0))
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A search for a port looks at many words.
    builder.max_branches = 20_000;
    builder.check(model);
}
