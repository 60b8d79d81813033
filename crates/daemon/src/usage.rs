//! What clap says, in one sentence.

use crate::refusal::Refusal;
use clap::error::ErrorKind;

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
