//! A file, or a text, becomes a configuration.

use super::fault::ConfigError;
use super::file::Config;
use super::read;
use std::path::Path;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something that cannot be done.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text),
            Err(source) => Err(ConfigError::Read { path: name, source }),
        }
    }

    /// Reads a text; `name` is what messages call it.
    ///
    /// # Errors
    /// The text says something that cannot be done: all such things, in the order of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        read::read(text).map_err(|faults| ConfigError::Faults { path: name.to_owned(), faults })
    }
}
