//! A process that is told what to do line by line, and answers in lines.

use super::cpu_time::cpu_time;
use crate::error::BenchError;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Talker {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last: String,
}

impl Talker {
    pub(crate) fn start(name: &'static str, mut command: Command) -> Result<Self, BenchError> {
        let failed = |source| BenchError::NotStarted { program: name, source };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self { name, child, input, output: BufReader::new(output), last: String::new() })
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<(), BenchError> {
        match writeln!(self.input, "{line}") {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended()),
        }
    }

    /// The next line.
    pub(crate) fn hear(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(bytes) if bytes > 0 => {
                if !line.trim().is_empty() {
                    self.last = line.trim().to_owned();
                }
                Ok(line)
            }
            _ => Err(self.ended()),
        }
    }

    /// The next line with this text in it.
    pub(crate) fn hear_of(&mut self, text: &str) -> Result<String, BenchError> {
        loop {
            let line = self.hear()?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// How long it has had a CPU.
    pub(crate) fn cpu_time(&self) -> Result<Duration, BenchError> {
        cpu_time(self.child.id())
    }

    /// Why it is no more: its last words.
    fn ended(&mut self) -> BenchError {
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What cannot be read cannot be told.
            let _ = stderr.read_to_string(&mut errors);
        }
        let words = errors.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(&self.last).to_owned();
        BenchError::Ended { program: self.name, words }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
