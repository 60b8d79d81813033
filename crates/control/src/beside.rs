//! Work on a thread of its own, with a runtime of its own: what it does, and what others do to it, delays nobody else.

use std::io;
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
    /// too (nice(2)).
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    pub(crate) fn begin<W: Future<Output = ()>>(
        name: &str,
        niceness: i32,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Whoever forbids it has this compete with the others.
            let _ = rustix::process::nice(niceness);
            runtime.block_on(async {
                tokio::select! {
                    () = work() => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was said.
            let _ = thread.join();
        }
    }
}
