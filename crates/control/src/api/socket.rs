//! The Unix socket that the command line speaks to.

use crate::private::{Others, PrivateDirectory, PrivateError, is_trusted};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket};

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
    /// Somebody else can make something of it.
    #[error("cannot make the socket ({0}): choose another place with --socket PATH.")]
    Private(#[from] PrivateError),
    /// The system refuses.
    #[error("cannot make the socket {path}: {source}: choose another place with --socket PATH.")]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Listens at a path, for its owner alone (mode 0600). A socket that a killed process has left there is replaced; one that
/// is another user's is not even spoken to.
///
/// # Errors
/// Somebody else is there or could put something there, or the system refuses.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let refused = |source| SocketError::Refused { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new(""));
    PrivateDirectory::make(parent, Others::Sticky)?;
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(there) if !is_trusted(&there) && !is_owners(parent, &there) => {
            return Err(PrivateError::Foreign(path.to_owned()).into());
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::Taken(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(_) => {}
    }
    // Made under another name and then put in its place: nobody finds one that does not answer yet.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    if fs::symlink_metadata(&beside).is_ok_and(|left| is_trusted(&left)) {
        let _ = fs::remove_file(&beside);
    }
    let listener = closed_to_others(&beside).map_err(refused)?;
    if let Err(error) = fs::rename(&beside, path) {
        let _ = fs::remove_file(&beside);
        return Err(refused(error));
    }
    Ok(listener)
}

/// Whether something belongs to whom the directory belongs to: a user that root has given it to.
fn is_owners(directory: &Path, there: &Metadata) -> bool {
    fs::metadata(directory).is_ok_and(|directory| directory.uid() == there.uid())
}

/// Listens at a path where there is nothing. The file is made with the socket's mode (unix(7)), so at no moment can somebody
/// else open it.
fn closed_to_others(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    File::from(socket.as_fd().try_clone_to_owned()?).set_permissions(Permissions::from_mode(0o600))?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    /// A directory of a test's own, which goes at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-socket-{}-{name}", std::process::id()));
            fs::create_dir(&path).expect("nobody else has this number");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("a.sock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn it_is_its_owners_alone_also_in_a_directory_like_tmp() {
        let place = Place::new("sticky", 0o1777);
        let listener = listen(&place.socket()).expect("there is nothing");
        let there = fs::symlink_metadata(place.socket()).expect("it is there");
        assert_eq!(there.mode() & 0o777, 0o600);
        assert!(matches!(listen(&place.socket()), Err(SocketError::Taken(_))));
        drop(listener);
        listen(&place.socket()).expect("what a dead process has left is replaced");
        assert_eq!(fs::read_dir(&place.0).expect("it is ours").count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn a_directory_where_others_can_replace_it_is_refused() {
        let place = Place::new("open", 0o777);
        let refused = listen(&place.socket()).expect_err("anybody can put theirs in its place");
        assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    }

    #[tokio::test]
    async fn a_link_is_not_followed() {
        let place = Place::new("link", 0o755);
        symlink(place.0.join("elsewhere"), place.socket()).expect("it is ours");
        assert!(matches!(listen(&place.socket()), Err(SocketError::NotASocket(_))));
    }

    #[tokio::test]
    async fn another_users_socket_is_not_spoken_to() {
        if std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1") {
            return;
        }
        let place = Place::new("foreign", 0o1777);
        let _theirs = listen(&place.socket()).expect("there is nothing");
        chown(place.socket(), Some(65534), Some(65534)).expect("this test needs root, or EVENKEEL_SKIP_PRIVILEGED=1");
        let refused = listen(&place.socket()).expect_err("it is nobody's");
        assert!(refused.to_string().contains("another user's"), "{refused}");
    }
}
