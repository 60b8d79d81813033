//! Keys for the hashes.

use crate::config::Config;

/// The secrets of a deployment and of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// Picks backends; the same on every node that must pick alike.
    pub pick: [u64; 2],
    /// Places flows in the table; this process's own.
    pub flow: [u32; 4],
}

impl Secrets {
    /// Secrets from the kernel's random numbers.
    ///
    /// # Errors
    /// The system has no source of random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
        let [low, high] = [word(2), word(3)];
        Ok(Self { pick: [word(0), word(1)], flow: [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32] })
    }

    /// The same for a configuration, which may fix what backends are picked by. Flows of tables that another secret has
    /// filled stay where they are.
    #[must_use]
    pub fn of(self, config: &Config) -> Self {
        Self { pick: config.dataplane.secret.map_or(self.pick, |secret| secret.key()), ..self }
    }
}
