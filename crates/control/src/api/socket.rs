//! The Unix socket that the command line speaks to.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Where it is if nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/evenkeel/evenkeel.sock";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another balancer answers there.
    #[error("another evenkeel answers at {0}: stop it, or give this one another socket with --socket PATH.")]
    Taken(PathBuf),
    /// Something that is no socket is there.
    #[error("{0} is there and no socket: remove it, or choose another place with --socket PATH.")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot make the socket {path}: {source}: choose another place with --socket PATH.")]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Listens at a path, for its owner alone (mode 0600). A socket that a killed process has left there is replaced.
///
/// # Errors
/// Somebody else is there, or the system refuses.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let refused = |source| SocketError::Refused { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(refused)?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::Taken(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(_) => {}
    }
    // Made under another name, closed to others, and then put in its place: at no moment can somebody else open it.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(refused)?;
    let placed = fs::set_permissions(&beside, Permissions::from_mode(0o600)).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = placed {
        let _ = fs::remove_file(&beside);
        return Err(refused(error));
    }
    Ok(listener)
}
