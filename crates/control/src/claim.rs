//! One balancer for one interface: a lock on a file in a directory where nobody else can put or open one.
//!
//! The kernel lets go of the lock however its process ends. The name of the file tells network namespaces apart, since they
//! share the directory; it goes when the claim does, and one that a killed process has left is in nobody's way.

use crate::private::{Others, PrivateDirectory, PrivateError, failed};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where the files are.
const DIRECTORY: &str = "/run/evenkeel";

/// Why an interface cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process has it.
    #[error("evenkeel already runs on {0}: stop that one first.")]
    Taken(String),
    /// This user may not say so.
    #[error(
        "cannot claim {interface} ({source}): run this as root, with sudo, or give this user a /run/evenkeel of its own."
    )]
    Forbidden {
        /// The interface.
        interface: String,
        /// Why.
        source: PrivateError,
    },
    /// There is no place to say so.
    #[error("cannot claim {interface} ({source}): see to it that nobody but this user and root can write there.")]
    NoPlace {
        /// The interface.
        interface: String,
        /// Why.
        source: PrivateError,
    },
}

/// A claim, for as long as this lives.
#[derive(Debug)]
pub struct InterfaceClaim {
    path: PathBuf,
    file: File,
}

impl InterfaceClaim {
    /// Claims an interface of the network namespace that we are in. `id` tells it from all others that there are on this
    /// plane; the name may change meanwhile.
    ///
    /// # Errors
    /// Another process has it, or it cannot be told.
    pub fn take(plane: &str, interface: &str, id: &str) -> Result<Self, ClaimError> {
        let namespace = Path::new("/proc/thread-self/ns/net");
        let taken = fs::metadata(namespace).map_err(failed(namespace)).and_then(|about| {
            Self::take_in(Path::new(DIRECTORY), &format!("{plane}-{}-{}.lock", about.ino(), written(id)))
        });
        let interface = interface.to_owned();
        match taken {
            Ok(Some(claim)) => Ok(claim),
            Ok(None) => Err(ClaimError::Taken(interface)),
            Err(source) if source.is_forbidden() => Err(ClaimError::Forbidden { interface, source }),
            Err(source) => Err(ClaimError::NoPlace { interface, source }),
        }
    }

    /// Nothing if another process has it.
    fn take_in(directory: &Path, name: &str) -> Result<Option<Self>, PrivateError> {
        let directory = PrivateDirectory::make(directory, Others::Kept)?;
        let path = directory.path().join(name);
        loop {
            let file = directory.file(name)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
            }
            // Whoever had it may have removed the file between our opening and our locking it: then somebody else may have
            // another one of that name by now.
            if is_at(&file, &path).map_err(failed(&path))? {
                return Ok(Some(Self { path, file }));
            }
        }
    }
}

impl Drop for InterfaceClaim {
    fn drop(&mut self) {
        // While it is still locked, so it is ours that goes. If it cannot be removed it is in nobody's way.
        if is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether this file is the one of that name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// As a part of a file's name: a name that comes from a command line may be any word.
fn written(name: &str) -> String {
    let mut written = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => written.push(byte.into()),
            _ => written.push_str(&format!("%{byte:02x}")),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::{Command, Stdio};

    /// A directory of a test's own, which goes at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-claim-{}-{name}", std::process::id()));
            fs::create_dir(&path).expect("nobody else has this number");
            set_mode(&path, 0o755);
            Self(path)
        }

        fn take(&self) -> Result<Option<InterfaceClaim>, PrivateError> {
            InterfaceClaim::take_in(&self.0, "a.lock")
        }

        fn file(&self) -> PathBuf {
            self.0.join("a.lock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let place = Place::new("one");
        let claim = place.take().expect("a place").expect("nobody has it");
        assert_eq!(fs::metadata(place.file()).expect("it is there").mode() & 0o777, 0o600);
        assert!(matches!(place.take(), Ok(None)));
        InterfaceClaim::take_in(&place.0, "b.lock").expect("a place").expect("another interface");
        drop(claim);
        assert!(!place.file().exists());
        place.take().expect("a place").expect("it is free again");
    }

    #[test]
    fn what_a_killed_process_has_left_is_in_nobodys_way() {
        let place = Place::new("left");
        fs::write(place.file(), "").expect("it is ours");
        let claim = place.take().expect("a place").expect("nobody holds it");
        assert!(matches!(place.take(), Ok(None)));
        drop(claim);
    }

    #[test]
    fn a_file_that_was_removed_meanwhile_is_no_claim() {
        let place = Place::new("removed");
        let first = place.take().expect("a place").expect("nobody has it");
        fs::remove_file(place.file()).expect("it is ours");
        let second = place.take().expect("a place").expect("nobody has the one that is there");
        // The first one's end must not take the second one's file away.
        drop(first);
        assert!(place.file().exists());
        assert!(matches!(place.take(), Ok(None)));
        drop(second);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let place = Place::new("open");
        for mode in [0o1777, 0o777, 0o775] {
            set_mode(&place.0, mode);
            let refused = place.take().expect_err("anybody can have put it there");
            assert!(refused.to_string().contains("chmod go-w"), "{refused}");
        }
    }

    #[test]
    fn links_and_pipes_are_not_followed() {
        let place = Place::new("links");
        let elsewhere = place.0.join("elsewhere");
        symlink(&elsewhere, place.file()).expect("it is ours");
        assert!(matches!(place.take(), Err(PrivateError::NoFile(_))));
        assert!(!elsewhere.exists());
        fs::remove_file(place.file()).expect("it is ours");
        let made = Command::new("mkfifo").arg(place.file()).stdout(Stdio::null()).status();
        assert!(made.expect("every system has it").success());
        // Opening one for reading would wait for ever.
        assert!(matches!(place.take(), Err(PrivateError::NoFile(_))));
    }

    #[test]
    fn any_word_makes_a_name() {
        assert_eq!(written("eth0"), "eth0");
        assert_eq!(written("eth0.5"), "eth0%2e5");
        assert_eq!(written("../%2e"), "%2e%2e%2f%252e");
    }
}
