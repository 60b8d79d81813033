//! The secret that backends are picked by, where a file fixes it.

use crate::private::{PrivateError, read_secret};
use evenkeel_core::hash::siphash13;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Bytes that a secret must have: fewer could be guessed.
const SHORTEST: usize = 16;
/// Bytes that a secret may have: what is longer is some other file.
const LONGEST: u64 = 4096;

/// A deployment's secret: every node that has it picks the same backend for the same connection, before and after a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PickSecret([u64; 2]);

/// Why a file is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read, or others can read or change it.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// It is short or long.
    #[error("{} holds {are} bytes, and a secret has 16 to 4096: `openssl rand -hex 16` writes one", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How many there are, white space at the end not counted.
        are: usize,
    },
}

impl PickSecret {
    /// Reads a file. All of its bytes count, except white space at the end.
    ///
    /// # Errors
    /// It cannot be read, others can read or change it, or it is too short or too long.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |source: io::Error| PrivateError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        read_secret(path)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        let secret = bytes.trim_ascii_end();
        if secret.len() < SHORTEST || bytes.len() as u64 > LONGEST {
            return Err(SecretError::Length { path: path.to_owned(), are: secret.len() });
        }
        Ok(Self::of(secret))
    }

    /// The key that follows from the bytes: the same on every machine and in every version, or connections move when one of
    /// several nodes is upgraded. Every 16 bytes are hashed under the key that those before them have made, and their number
    /// last.
    fn of(bytes: &[u8]) -> Self {
        let mut key = [0x6576_656e_6b65_656c, 0x7069_636b_2d6b_6579];
        let mut take = |first: u64, second: u64| {
            let [low, high] = key;
            key = [siphash13([first, second], &[low, high]), siphash13([first, second], &[!high, !low])];
        };
        for piece in bytes.chunks(16) {
            let mut block = [0; 16];
            block[..piece.len()].copy_from_slice(piece);
            let whole = u128::from_le_bytes(block);
            take(whole as u64, (whole >> 64) as u64);
        }
        take(bytes.len() as u64, 0);
        Self(key)
    }

    /// The key.
    pub fn key(&self) -> [u64; 2] {
        self.0
    }
}

/// Says nothing of what it is.
impl fmt::Debug for PickSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PickSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// A file of a test's own, which goes at its end.
    struct Kept(PathBuf);

    impl Kept {
        fn new(name: &str, bytes: &[u8], mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-secret-{}-{name}", std::process::id()));
            fs::write(&path, bytes).expect("nobody else has this number");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            Self(path)
        }

        fn read(&self) -> Result<PickSecret, String> {
            PickSecret::read(&self.0).map_err(|error| error.to_string())
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn what_a_secret_becomes_stays_the_same() {
        // Written down once; nodes of other versions have this.
        let expected = [7_888_474_607_688_853_910, 8_801_635_723_222_649_163];
        assert_eq!(PickSecret::of(b"0123456789abcdef0123456789abcdef").key(), expected);
    }

    #[test]
    fn every_byte_counts_and_their_number() {
        let mut secrets = HashSet::new();
        let text = [b'a'; 40];
        for length in 16..=40 {
            assert!(secrets.insert(PickSecret::of(&text[..length]).key()), "{length}");
        }
        for changed in 0..40 {
            let mut other = text;
            other[changed] = b'b';
            assert!(secrets.insert(PickSecret::of(&other).key()), "{changed}");
        }
        // Zeros at the end are bytes like others.
        assert_ne!(PickSecret::of(&[0; 16]), PickSecret::of(&[0; 17]));
        assert!(secrets.iter().flatten().collect::<HashSet<_>>().len() == 2 * secrets.len());
    }

    #[test]
    fn white_space_at_the_end_is_none_of_it() {
        let plain = Kept::new("plain", b"0123456789abcdef", 0o600);
        let line = Kept::new("line", b"0123456789abcdef\r\n", 0o400);
        assert_eq!(plain.read().expect("it is long enough"), line.read().expect("it is long enough"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let secret = [b's'; 5000];
        for (name, length, mode, expected) in [
            ("short", 15, 0o600, "holds 15 bytes"),
            ("long", 4097, 0o600, "16 to 4096"),
            ("read", 32, 0o604, "others may read"),
            ("written", 32, 0o620, "others may write"),
        ] {
            let said = Kept::new(name, &secret[..length], mode).read().expect_err(name);
            assert!(said.contains(expected), "{said}");
        }
        let there = Kept::new("there", &secret[..32], 0o600);
        let link = Kept(there.0.with_extension("link"));
        symlink(&there.0, &link.0).expect("it is ours");
        assert!(link.read().expect_err("a link").contains("no ordinary file"));
        assert!(Kept("/nowhere/secret".into()).read().expect_err("nothing").contains("No such file"));
    }
}
