//! The BPF file system, where maps and programs have names that outlive processes.

use crate::error::XdpError;
use aya::pin::PinError;
use evenkeel_control::private::is_trusted;
use std::ffi::{CStr, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Where it is mounted by custom.
const ROOT: &CStr = c"/sys/fs/bpf";
/// Others may write.
const OTHERS_WRITE: u32 = 0o022;
/// What is ours of it.
const HOME: &str = "/sys/fs/bpf/evenkeel";

/// Sees to it that there is one at its usual place.
///
/// # Errors
/// There is none and it cannot be mounted; or it is there, and has no room for us.
pub(crate) fn ready() -> Result<(), XdpError> {
    if !is_mounted() {
        mount().map_err(|source| XdpError::NoBpffs { source })?;
    }
    make_directory(Path::new(HOME))?;
    check(Path::new(HOME))
}

/// Whether what is found in our directory can only be ours.
pub(crate) fn is_private() -> bool {
    check(Path::new(HOME)).is_ok()
}

/// Sees to it that nobody else can have made our directory, or can change what is in it: pins in there are trusted. Where
/// only root can make one it may be any user's, since root has given it to that user.
pub(crate) fn check(home: &Path) -> Result<(), XdpError> {
    let about = fs::symlink_metadata(home).map_err(failed(home))?;
    let root = home.parent().unwrap_or(home);
    let others_make = fs::metadata(root).map_err(failed(root))?.mode() & OTHERS_WRITE != 0;
    let is_private = about.is_dir() && about.mode() & OTHERS_WRITE == 0;
    if is_private && (is_trusted(&about) || !others_make) {
        return Ok(());
    }
    Err(XdpError::ForeignHome { path: home.to_owned() })
}

/// The directory for the tables of an interface. The file system has no names with a dot, interfaces do.
pub(crate) fn directory(interface: &str) -> PathBuf {
    Path::new(HOME).join(interface.replace('%', "%25").replace('.', "%2e"))
}

/// A second directory for the same interface, for tables that are being made ready. No interface's directory is called
/// like this, since a percent sign in a name is written otherwise.
pub(crate) fn second_directory(interface: &str) -> PathBuf {
    let mut name = directory(interface).into_os_string();
    name.push("%next");
    name.into()
}

/// Makes a directory for us alone, if it is not there.
pub(crate) fn make_directory(path: &Path) -> Result<(), XdpError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory of pins, if it is there.
pub(crate) fn remove_directory(path: &Path) -> Result<(), XdpError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// Leaves nothing of ours where no interface has anything.
pub(crate) fn remove_home_if_empty() {
    // Not empty is the usual case, and no reason to complain.
    let _ = fs::remove_dir(HOME);
}

/// For errors about a pin.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> XdpError {
    let path = path.to_owned();
    move |source| XdpError::Pin { path, source }
}

/// Whether a directory is of a BPF file system.
pub(crate) fn is_one(directory: &File) -> bool {
    // SAFETY: plain data, for which zero is a value; the call writes to it and to nothing else.
    let kind = unsafe {
        let mut about = std::mem::zeroed::<libc::statfs>();
        if libc::fstatfs(directory.as_raw_fd(), &mut about) == 0 { about.f_type as u64 } else { 0 }
    };
    // BPF_FS_MAGIC (linux/magic.h).
    kind == 0xcafe_4a11
}

/// Gives something a name there.
pub(crate) fn pin(path: &Path, pin: impl FnOnce(&Path) -> Result<(), PinError>) -> Result<(), XdpError> {
    pin(path).map_err(|error| {
        failed(path)(match error {
            PinError::SyscallError(error) => error.io_error,
            other => io::Error::other(other.to_string()),
        })
    })
}

fn is_mounted() -> bool {
    File::open(OsStr::from_bytes(ROOT.to_bytes())).is_ok_and(|directory| is_one(&directory))
}

fn mount() -> io::Result<()> {
    let data = c"mode=0700";
    // SAFETY: every pointer is to a string that ends with a zero and outlives the call.
    let outcome = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            ROOT.as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            data.as_ptr().cast(),
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    #[test]
    fn a_directory_that_somebody_else_can_have_made_is_refused() {
        let root = std::env::temp_dir().join(format!("evenkeel-bpffs-{}", std::process::id()));
        let home = root.join("evenkeel");
        make_directory(&root).expect("nobody else has this number");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        make_directory(&home).expect("the directory is ours");
        for (root_mode, home_mode, is_good) in
            [(0o700, 0o700, true), (0o1777, 0o700, true), (0o700, 0o777, false), (0o1777, 0o770, false)]
        {
            set(&root, root_mode);
            set(&home, home_mode);
            assert_eq!(check(&home).is_ok(), is_good, "{root_mode:o} {home_mode:o}");
        }
        set(&home, 0o700);
        if std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_none() {
            let needed = "this test needs root, or EVENKEEL_SKIP_PRIVILEGED=1";
            chown(&home, Some(65534), Some(65534)).expect(needed);
            assert!(check(&home).is_err(), "nobody can have made it");
            set(&root, 0o701);
            assert!(check(&home).is_ok(), "root has given it to nobody");
        }
        fs::remove_dir(&home).expect("it is empty");
        symlink(&root, &home).expect("nothing is there");
        assert!(check(&home).is_err(), "a link is no directory");
        fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn no_two_interfaces_share_a_directory_and_none_has_a_dot() {
        let names = ["eth0", "eth0.5", "eth0%2e5", "eth0%next", "eth0%25next"];
        let mut paths: Vec<_> = names.iter().flat_map(|name| [directory(name), second_directory(name)]).collect();
        assert!(paths.iter().all(|path| !path.to_string_lossy().contains('.')));
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 2 * names.len());
    }
}
