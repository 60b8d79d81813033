//! Counters of one lcore. It alone adds to them; others read them at any time.

use evenkeel_core::flow::Side;
use evenkeel_core::{Counters, Event, Reason, Traffic};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, compiler_fence};

/// One lcore's counters; a cache line of their own each, so that lcores do not disturb one another.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct LcoreCounters {
    verdicts: [AtomicU64; Reason::ALL.len()],
    events: [AtomicU64; Event::ALL.len()],
    /// By backend; packets and bytes from clients, then from the backend.
    traffic: Box<[[AtomicU64; 4]]>,
    /// Odd while the lcore is in the midst of a burst, and another number after it.
    turns: AtomicU64,
}

impl LcoreCounters {
    pub(crate) fn new(backends: u32) -> Self {
        Self {
            verdicts: std::array::from_fn(|_| AtomicU64::new(0)),
            events: std::array::from_fn(|_| AtomicU64::new(0)),
            traffic: (0..backends).map(|_| Default::default()).collect(),
            turns: AtomicU64::new(0),
        }
    }

    /// The lcore begins a burst, or has ended one. Tables that it looks at in between stay as they are for so long.
    ///
    /// No fence: who waits for the burst's end has every CPU pass one (`quiescence`), and then this is seen before anything that was
    /// looked at after it.
    #[inline(always)]
    pub(crate) fn turn(&self) {
        add(&self.turns, 1);
        compiler_fence(SeqCst);
    }

    /// See [`LcoreCounters::turn`].
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Acquire)
    }

    #[inline(always)]
    pub(crate) fn count(&self, reason: Reason) {
        if let Some(counter) = self.verdicts.get(reason as usize) {
            add(counter, 1);
        }
    }

    #[inline(always)]
    pub(crate) fn count_events(&self, event: Event, times: u64) {
        if let Some(counter) = self.events.get(event as usize) {
            add(counter, times);
        }
    }

    #[inline(always)]
    pub(crate) fn count_traffic(&self, backend: u16, from: Side, bytes: u32) {
        let Some([client_packets, client_bytes, backend_packets, backend_bytes]) =
            self.traffic.get(usize::from(backend))
        else {
            return;
        };
        let (packets, total) = match from {
            Side::Client => (client_packets, client_bytes),
            Side::Backend => (backend_packets, backend_bytes),
        };
        add(packets, 1);
        add(total, u64::from(bytes));
    }

    pub(crate) fn add_to(&self, sum: &mut Counters) {
        for (sum, counter) in sum.verdicts.iter_mut().zip(&self.verdicts) {
            *sum = sum.wrapping_add(counter.load(Relaxed));
        }
        for (sum, counter) in sum.events.iter_mut().zip(&self.events) {
            *sum = sum.wrapping_add(counter.load(Relaxed));
        }
    }

    /// Counts a backend's traffic from zero again. No packet may be on its way to or from it.
    pub(crate) fn forget_traffic(&self, backend: u16) {
        if let Some(words) = self.traffic.get(usize::from(backend)) {
            words.iter().for_each(|word| word.store(0, Relaxed));
        }
    }

    pub(crate) fn add_traffic_to(&self, backend: u16, sum: &mut Traffic) {
        let Some(words) = self.traffic.get(usize::from(backend)) else { return };
        let [client_packets, client_bytes, backend_packets, backend_bytes] =
            words.each_ref().map(|word| word.load(Relaxed));
        sum.add(&Traffic { client_packets, client_bytes, backend_packets, backend_bytes });
    }
}

/// Adds without a locked instruction, which nobody needs: there is one writer.
#[inline(always)]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}
