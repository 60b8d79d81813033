//! Work on a thread of its own, with a runtime of its own: what it does, and what others do to it, delays nobody else.

use crate::trouble::Troubles;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Work that goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct Beside {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    /// Begins. `name` is for people, at most 15 characters; `niceness` is how little of the CPU it wants where others want it
    /// too (nice(2)). A panic of its own is noted.
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    pub(crate) fn begin<W: Future<Output = ()>>(
        name: &str,
        niceness: i32,
        troubles: Troubles,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let what = name.to_owned();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Whoever forbids it has this compete with the others.
            let _ = rustix::process::nice(niceness);
            let worked = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    tokio::select! {
                        () = work() => {}
                        _ = ended => {}
                    }
                });
            }));
            if let Err(panic) = worked {
                troubles.note_panic(&what, &*panic);
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Beside {
    /// Whether the work is over, as it is after a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was noted.
            let _ = thread.join();
        }
    }
}
