//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file says things that cannot be done.
    #[error("{}", Lines { path, faults })]
    Faults {
        /// The file.
        path: String,
        /// All of them, in the order of the file; at least one.
        faults: Vec<Fault>,
    },
    /// The file is for another plane.
    #[error("{path}: [dataplane] kind is \"{is}\": start it with `{program}`, or leave kind out.")]
    OtherPlane {
        /// The file.
        path: String,
        /// The plane that it is for.
        is: &'static str,
        /// The program of that plane.
        program: &'static str,
    },
}

/// A line for each fault: `path:line:column: message`, as compilers write them.
struct Lines<'a> {
    path: &'a str,
    faults: &'a [Fault],
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Fault { line, column, message }) in self.faults.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(out, "{separator}{}:{line}:{column}: {message}", self.path)?;
        }
        Ok(())
    }
}

/// Faults as they are found, by their byte range in the text.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Range<usize>, String)>);

impl Faults {
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        // TOML's own messages may have several lines.
        let message = message.into().trim().replace('\n', "; ");
        self.0.push((span, message));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With their places, in the order of the text.
    pub(super) fn in_order(mut self, text: &str) -> Vec<Fault> {
        self.0.sort_by_key(|(span, _)| span.start);
        let place = |(span, message): (Range<usize>, String)| {
            // Not every offset need be a character's first byte.
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            Fault { line, column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1, message }
        };
        self.0.into_iter().map(place).collect()
    }
}
