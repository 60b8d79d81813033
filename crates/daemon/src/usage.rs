//! Command lines that make no sense, in one sentence.

use clap::error::ErrorKind;

/// Why a command line is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It asks for help or the version: this text, and a good end.
    Asked(String),
    /// It is wrong: a sentence without its full stop.
    Wrong(String),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Asked(text),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::Wrong("say what to do".to_owned()),
            // clap's first paragraph says what is wrong; the rest repeats the usage.
            _ => {
                let paragraph = text.split("\n\n").next().unwrap_or_default();
                let words: Vec<_> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
                Self::Wrong(words.join(" "))
            }
        }
    }
}
