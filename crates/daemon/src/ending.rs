//! How a program ends, for whoever has started it.

use crate::announcer::Announcer;
use std::fmt::Display;
use std::io::Write as _;

/// What an exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did what it was asked to.
    Good,
    /// It could not.
    Failed,
    /// It was asked for something that makes no sense, on the command line or in the configuration.
    Usage,
}

impl Ending {
    /// 0, 1, 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Usage => 2,
        }
    }

    /// Says a program's last words and returns its exit code. Those of a good end were asked for, and go to standard
    /// output as they are; others are announced, line by line.
    pub fn with_words(self, announcer: Announcer, words: &impl Display) -> u8 {
        let words = words.to_string();
        match self {
            Self::Good => {
                let mut stdout = std::io::stdout();
                // Nobody may be reading.
                let _ = stdout.write_all(words.as_bytes()).and_then(|()| stdout.flush());
            }
            Self::Failed | Self::Usage => {
                words.lines().for_each(|line| announcer.say(line));
                announcer.finish();
            }
        }
        self.exit_code()
    }
}
