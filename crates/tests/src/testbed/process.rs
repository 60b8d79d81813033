//! Programs that a test starts: none outlives its guard, everything they say is kept, every wait ends.

use super::{DEADLINE, until};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A program at work. Killed when dropped, with everything it has started in its process group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Kept,
    stderr: Kept,
    status: Option<ExitStatus>,
}

/// How a program ended, and what it had said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(out, "ended with {code}")?,
            (None, signal) => write!(out, "ended by signal {}", signal.unwrap_or_default())?,
        }
        write!(out, "\nstdout: {}\nstderr: {}", self.stdout, self.stderr)
    }
}

impl Running {
    /// Starts a program, in a process group of its own.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Kept::new(child.stdout.take());
        let stderr = Kept::new(child.stderr.take());
        Self { child, stdin, stdout, stderr, status: None }
    }

    /// Writes to the program's standard input. One that has ended does not read it; who waits for an effect will see.
    pub fn type_text(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is still open");
        let _ = stdin.write_all(text.as_bytes());
    }

    /// Ends its standard input, like Ctrl-D.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// What it has said so far on standard output.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has said so far on standard error.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has said this, on either channel.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Waits until it has said this so many times.
    pub fn wait_for_times(&self, text: &str, times: usize) {
        let end = Instant::now() + DEADLINE;
        while self.stdout().matches(text).count() + self.stderr().matches(text).count() < times {
            assert!(
                Instant::now() < end && !(self.stdout.is_closed() && self.stderr.is_closed()),
                "it never said \"{text}\":\nstdout: {}\nstderr: {}",
                self.stdout(),
                self.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has become this program, and is not the shell or `ip` any more that starts it.
    pub fn wait_to_become(&mut self, program: &Path) {
        let exe = format!("/proc/{}/exe", self.id());
        until("the program starts", || {
            (self.has_ended() || std::fs::read_link(&exe).is_ok_and(|exe| exe == program)).then_some(())
        });
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        self.status.is_some()
    }

    /// Sends a signal to its process group, as a terminal does.
    pub fn signal(&self, signal: i32) {
        // A child that nobody has waited for keeps its id, so nobody else can be hit.
        if self.status.is_none() {
            // SAFETY: no memory is involved.
            unsafe { libc::kill(-(self.child.id() as i32), signal) };
        }
    }

    /// Types Ctrl-C and waits for the end.
    pub fn interrupt(&mut self) -> Ended {
        self.signal(libc::SIGINT);
        self.finish()
    }

    /// Waits for the end.
    pub fn finish(&mut self) -> Ended {
        self.finish_within(DEADLINE)
    }

    /// Waits for the end; fails if it does not come.
    pub fn finish_within(&mut self, deadline: Duration) -> Ended {
        let end = Instant::now() + deadline;
        while !self.has_ended() {
            if Instant::now() >= end {
                self.signal(libc::SIGKILL);
                panic!("it did not end within {deadline:?}:\nstdout: {}\nstderr: {}", self.stdout(), self.stderr());
            }
            thread::sleep(Duration::from_millis(5));
        }
        until("the program's output closes", || (self.stdout.is_closed() && self.stderr.is_closed()).then_some(()));
        let status = self.status.expect("it has ended");
        Ended { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Collects a channel in the background, so that the program never waits for us.
#[derive(Debug)]
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Kept {
    fn new(channel: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = channel.map(|mut channel| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = channel.read(&mut buffer) {
                    bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn is_closed(&self) -> bool {
        self.reader.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }
}
