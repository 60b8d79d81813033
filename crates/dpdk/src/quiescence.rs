//! Waiting until no lcore can be looking at what was replaced.

use crate::tables::Tables;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// How long an lcore's burst takes at the very most, while its CPU is its own.
const PAUSE: Duration = Duration::from_micros(20);

/// Waits until every lcore has ended the burst that it was in the midst of when this was called. What was put into the place of
/// something else before is what all of them look at from then on, and what they had changed until then is seen here.
///
/// An lcore notes beginning and end of its bursts by plain stores (`LcoreCounters::turn`); the fences that these would need
/// are had from here (membarrier(2)), once in a while instead of at every burst.
pub(crate) fn wait_for_bursts(tables: &Tables) {
    fence_everywhere();
    for lcore in &tables.lcores {
        let before = lcore.turns();
        while before % 2 == 1 && lcore.turns() == before {
            thread::sleep(PAUSE);
        }
    }
    fence_everywhere();
}

/// Has every thread of this process pass a memory barrier.
fn fence_everywhere() {
    static IS_REGISTERED: OnceLock<bool> = OnceLock::new();
    let ask = |command: libc::c_int| {
        // SAFETY: takes numbers and touches no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    };
    let is_quick = IS_REGISTERED.get_or_init(|| ask(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
    let is_done = *is_quick && ask(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    if !is_done && !ask(libc::MEMBARRIER_CMD_GLOBAL) {
        // A kernel without it: a store is seen by all long before this has passed.
        thread::sleep(Duration::from_millis(10));
    }
}
