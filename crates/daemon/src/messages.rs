//! Messages on their way to standard error. Whoever has one to say leaves it here and goes on: a thread of their own writes
//! them, so that a reader who does not read (a stalled pipe, a halted terminal) halts nobody else.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Messages that may wait; more are counted and lost.
const WAITING: usize = 1024;
/// For how long it is waited until a reader who does not keep up can take more (EAGAIN).
const AGAIN: Duration = Duration::from_millis(50);

/// Makes a line of how many messages were lost.
pub(crate) type TellLost = Box<dyn FnOnce(u64) -> String + Send>;

/// A queue of lines, and the thread that writes them.
#[derive(Clone)]
pub(crate) struct Messages(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    /// Whether a line has been taken out and is not yet written.
    is_writing: bool,
    lost: u64,
    /// Of whoever has lost one last.
    tell_lost: Option<TellLost>,
}

impl Messages {
    /// Those of this process, to standard error. The first call should be made before the calling thread is bound to a CPU,
    /// because the writer inherits that; and what it writes to is what standard error is now. Nothing if no thread can be had.
    pub(crate) fn to_stderr() -> Option<&'static Self> {
        static MESSAGES: OnceLock<Option<Messages>> = OnceLock::new();
        let begin = || match io::stderr().as_fd().try_clone_to_owned() {
            Ok(stderr) => Self::to(File::from(stderr)).ok(),
            Err(_) => Self::to(io::stderr()).ok(),
        };
        MESSAGES.get_or_init(begin).as_ref()
    }

    /// Begins to write to `out`, until the process ends.
    pub(crate) fn to(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let messages = Self(Arc::default());
        let writer = messages.clone();
        thread::Builder::new().name("messages".to_owned()).spawn(move || {
            loop {
                let line = writer.next();
                // Nobody may be reading any more; that is no reason to stop balancing.
                let _ = write_whole(&mut out, line.as_bytes());
            }
        })?;
        Ok(messages)
    }

    /// Leaves a line to be written, whole and in its turn. If too many wait it is lost; `tell_lost` makes the line that says so
    /// once there is somebody to read it.
    pub(crate) fn leave(&self, line: String, tell_lost: impl FnOnce(u64) -> String + Send + 'static) {
        let mut state = self.state();
        if state.waiting.len() < WAITING {
            state.waiting.push_back(line);
        } else {
            state.lost += 1;
            state.tell_lost = Some(Box::new(tell_lost));
        }
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than this. Returns whether it is.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let unwritten = |state: &mut State| state.is_writing || state.lost > 0 || !state.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.state(), patience, unwritten);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The next line to write; the one before is written.
    fn next(&self) -> String {
        let mut state = self.state();
        state.is_writing = false;
        self.0.changed.notify_all();
        let line = loop {
            if let Some(line) = state.waiting.pop_front() {
                break line;
            }
            // After those that were there before.
            if let Some(tell_lost) = state.tell_lost.take() {
                break tell_lost(std::mem::take(&mut state.lost));
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.is_writing = true;
        line
    }

    /// Nobody panics while holding it; what is in it is whole at any time.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_whole(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody has made the pipe one that does not wait.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn lost(count: u64) -> String {
        format!("{count} lost\n")
    }

    #[test]
    fn a_reader_who_does_not_read_halts_nobody_and_is_told_how_much_it_missed() {
        let (reader, writer) = io::pipe().expect("there are descriptors");
        let messages = Messages::to(writer).expect("there is a thread");
        // Many times what a pipe and the queue hold together.
        let said = 20_000;
        for number in 0..said {
            messages.leave(format!("{number} {}\n", "x".repeat(100)), lost);
        }
        assert!(!messages.flush(Duration::from_millis(1)), "nobody has read anything");

        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("it is text"));
        let mut read = Vec::new();
        let missed: usize = loop {
            let line = lines.next().expect("there is more");
            match line.split_once(' ').expect("it has two words") {
                (missed, "lost") => break missed.parse().expect("it is a number"),
                (number, rest) => {
                    assert_eq!(rest.len(), 100, "it is whole");
                    read.push(number.parse::<u64>().expect("it is a number"));
                }
            }
        };
        assert!(read.is_sorted(), "in their turn");
        assert_eq!(read.len() + missed, said);
        assert!(read.len() >= WAITING && missed > 0, "{} read, {missed} missed", read.len());

        messages.leave("again\n".to_owned(), lost);
        assert_eq!(lines.next().as_deref(), Some("again"));
        assert!(messages.flush(PATIENCE), "everything is read");
    }

    #[test]
    fn a_reader_who_has_gone_halts_nobody() {
        let (reader, writer) = io::pipe().expect("there are descriptors");
        let messages = Messages::to(writer).expect("there is a thread");
        drop(reader);
        (0..10_000).for_each(|number| messages.leave(format!("{number}\n"), lost));
        assert!(messages.flush(PATIENCE));
    }
}
