//! Directories and files that nobody else can have prepared for us.
//!
//! Whoever can write to a directory decides what is found there: a link to somebody else's file, a pipe that nobody reads, a
//! file with contents of their own. So directories are looked at before they are used, and files are opened without
//! following links and looked at before they are read.

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Everybody may read.
const EVERYBODY_READS: u32 = 0o004;
/// In this directory everybody removes and renames only what is theirs.
const STICKY: u32 = 0o1000;

/// Why something is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody, or a group, can change what is there.
    #[error("others may write to {path}: take that from them with `chmod go-w {path}`", path = .0.display())]
    Open(PathBuf),
    /// Everybody can read a secret.
    #[error("others may read {path}: take that from them with `chmod o-rwx {path}`", path = .0.display())]
    Readable(PathBuf),
    /// It is neither ours nor root's.
    #[error("{} is another user's", .0.display())]
    Foreign(PathBuf),
    /// It is a link, a pipe, a device or a directory.
    #[error("{} is no ordinary file", .0.display())]
    NoFile(PathBuf),
}

impl PrivateError {
    /// Whether another user might do it.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Who else may write to a directory that is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody.
    Kept,
    /// Everybody, if they leave alone what is not theirs, as in /tmp. Names in it can be taken before we come.
    Sticky,
}

/// A directory where nobody else can touch what is ours.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    handle: File,
    about: Metadata,
}

impl PrivateDirectory {
    /// Makes it if it is not there, for all to enter and for us to write to, and looks at it.
    ///
    /// # Errors
    /// It cannot be had, or others can change what is in it.
    pub fn make(path: &Path, others: Others) -> Result<Self, PrivateError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed(path))?;
        Self::open(path, others)
    }

    /// Looks at one that is there.
    ///
    /// # Errors
    /// It cannot be had, or others can change what is in it.
    pub fn open(path: &Path, others: Others) -> Result<Self, PrivateError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::DIRECTORY | OFlags::PATH;
        let handle = File::options().read(true).custom_flags(flags.bits() as i32).open(path).map_err(failed(path))?;
        let about = handle.metadata().map_err(failed(path))?;
        let is_open = about.mode() & OTHERS_WRITE != 0;
        let is_enough = others == Others::Sticky && about.mode() & STICKY != 0;
        if is_open && !is_enough {
            return Err(PrivateError::Open(path.to_owned()));
        }
        // Where root looks, it was root who gave the directory to somebody, or the operator who named it.
        if !is_trusted(&about) && !geteuid().is_root() {
            return Err(PrivateError::Foreign(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), handle, about })
    }

    /// Opens an ordinary file in it, which is made for its owner alone if it is not there. The owner of the directory can
    /// open it as well, also when it is root that makes it.
    ///
    /// # Errors
    /// It cannot be opened, or is not what we would have made.
    pub(crate) fn file(&self, name: &str) -> Result<File, PrivateError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR);
        let file = match opened {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO | rustix::io::Errno::ISDIR) => {
                return Err(PrivateError::NoFile(path));
            }
            Err(error) => return Err(failed(&path)(error.into())),
        };
        let about = file.metadata().map_err(failed(&path))?;
        if !about.is_file() {
            return Err(PrivateError::NoFile(path));
        }
        let is_of_directory = about.uid() == self.about.uid();
        if !is_trusted(&about) && !is_of_directory {
            return Err(PrivateError::Foreign(path));
        }
        if geteuid().is_root() && !is_of_directory {
            // Or whoever the directory was made for could not open it.
            let (owner, group) = (self.about.uid(), self.about.gid());
            std::os::unix::fs::fchown(&file, Some(owner), Some(group)).map_err(failed(&path))?;
        }
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a file for reading that only we or root can have written: no link, no pipe, nobody else's. Nothing if there is none.
///
/// # Errors
/// It cannot be opened, or is not such a file.
pub fn read_private(path: &Path) -> Result<Option<File>, PrivateError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(PrivateError::NoFile(path.to_owned()));
        }
        Err(error) => return Err(failed(path)(error)),
    };
    let about = file.metadata().map_err(failed(path))?;
    if !about.is_file() {
        Err(PrivateError::NoFile(path.to_owned()))
    } else if !is_trusted(&about) {
        Err(PrivateError::Foreign(path.to_owned()))
    } else if about.mode() & OTHERS_WRITE != 0 {
        Err(PrivateError::Open(path.to_owned()))
    } else {
        Ok(Some(file))
    }
}

/// The same for a file that must be there, and that not everybody can read. A group can: whoever runs this as a user of its own
/// lets it have root's file so.
///
/// # Errors
/// There is none, it cannot be opened, or is not such a file.
pub fn read_secret(path: &Path) -> Result<File, PrivateError> {
    let file = read_private(path)?.ok_or_else(|| failed(path)(rustix::io::Errno::NOENT.into()))?;
    if file.metadata().map_err(failed(path))?.mode() & EVERYBODY_READS != 0 {
        return Err(PrivateError::Readable(path.to_owned()));
    }
    Ok(file)
}

/// Makes a file for us alone (mode 0600), where there must be none. One that a killed process of ours has left is replaced.
///
/// # Errors
/// It cannot be made.
pub fn create_private(path: &Path) -> Result<File, PrivateError> {
    let create = || File::options().write(true).create_new(true).mode(0o600).open(path);
    let made = create().or_else(|error| {
        let left = fs::symlink_metadata(path).is_ok_and(|about| is_trusted(&about));
        if error.kind() != io::ErrorKind::AlreadyExists || !left {
            return Err(error);
        }
        fs::remove_file(path)?;
        create()
    });
    made.map_err(failed(path))
}

/// Whether something is ours or root's.
pub fn is_trusted(about: &Metadata) -> bool {
    about.uid() == 0 || about.uid() == geteuid().as_raw()
}

/// For errors of the system's about a path.
pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> PrivateError {
    move |source| PrivateError::Io { path: path.to_owned(), source }
}
