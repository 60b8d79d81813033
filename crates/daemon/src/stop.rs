//! When a program in the foreground is to end.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM and SIGQUIT, from the moment that this is made: what comes earlier than anybody waits is not lost.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Stop {
    /// Begins to listen. To be called within a runtime.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn new() -> io::Result<Self> {
        let [interrupt, terminate, quit] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()].map(signal);
        Ok(Self { interrupt: interrupt?, terminate: terminate?, quit: quit? })
    }

    /// Waits until one of them comes, and says which.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}
