//! Signals that drivers would take for themselves.

use std::mem::MaybeUninit;

/// As long as this lives, no real-time signal looks free.
///
/// The net_tap driver takes the first free one, and has the kernel send it for every packet that arrives, so as to know
/// when polling is worth a system call. A signal for a packet costs more than the packet: it interrupts some thread of the
/// process, its system calls end early, and real-time signals queue up. A driver that finds none does without, and asks.
#[derive(Debug)]
pub(crate) struct NoFreeSignals(Vec<i32>);

impl NoFreeSignals {
    /// Takes those that nobody has.
    pub(crate) fn take() -> Self {
        let signals = libc::SIGRTMIN()..=libc::SIGRTMAX();
        Self(signals.filter(|&signal| is_free(signal)).inspect(|&signal| handle(signal, libc::SIG_IGN)).collect())
    }
}

impl Drop for NoFreeSignals {
    fn drop(&mut self) {
        self.0.iter().for_each(|&signal| handle(signal, libc::SIG_DFL));
    }
}

fn is_free(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure is plain data, for which zero is a value, and the call only fills it.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

fn handle(signal: i32, action: libc::sighandler_t) {
    // SAFETY: `action` is one of the two that are no functions.
    unsafe { libc::signal(signal, action) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_free_before_and_after_but_not_meanwhile() {
        let signal = libc::SIGRTMIN() + 3;
        assert!(is_free(signal));
        {
            let _taken = NoFreeSignals::take();
            assert!(!is_free(signal) && !is_free(libc::SIGRTMAX()));
        }
        assert!(is_free(signal));
    }
}
