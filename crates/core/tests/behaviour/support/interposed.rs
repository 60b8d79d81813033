//! Memory that lets something happen in the middle of a packet: what another CPU would do between two accesses.

use evenkeel_core::Word;
use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

type Interruption = (usize, Box<dyn FnOnce()>);

thread_local! {
    static PENDING: RefCell<Option<Interruption>> = const { RefCell::new(None) };
}

/// Runs `during` in the middle of `outer`, before its access number `at`. Says whether `outer` had that many.
pub(crate) fn interrupt(at: usize, during: impl FnOnce() + 'static, outer: impl FnOnce()) -> bool {
    PENDING.set(Some((at, Box::new(during))));
    outer();
    PENDING.take().is_none()
}

fn access() {
    let due = PENDING.with_borrow_mut(|pending| match pending {
        Some((0, _)) => pending.take(),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    });
    if let Some((_, happen)) = due {
        happen();
    }
}

pub(crate) struct Interposed(AtomicU64);

impl From<u64> for Interposed {
    fn from(value: u64) -> Self {
        Self(value.into())
    }
}

impl Word for Interposed {
    fn load(&self) -> u64 {
        access();
        Word::load(&self.0)
    }

    fn store(&self, value: u64) {
        access();
        Word::store(&self.0, value);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> bool {
        access();
        Word::compare_exchange(&self.0, current, new)
    }

    fn publish(&self, value: u64) {
        access();
        self.0.publish(value);
    }
}
