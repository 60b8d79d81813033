//! What EAL says while it starts. It writes to standard output and standard error, hundreds of lines of usage among them;
//! here it is kept, so that one sentence can be made of it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Does something, and returns what it wrote to standard output and standard error meanwhile.
///
/// # Errors
/// The system has no descriptors left.
pub fn captured<T>(work: impl FnOnce() -> T) -> io::Result<(T, String)> {
    // SAFETY: a name and no flags; the descriptor that comes back is nobody else's.
    let file = unsafe {
        let fd = libc::memfd_create(c"evenkeel-eal".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    let result = {
        let _output = Diverted::to(libc::STDOUT_FILENO, &file)?;
        let _errors = Diverted::to(libc::STDERR_FILENO, &file)?;
        work()
    };
    let mut bytes = Vec::new();
    let mut file = file;
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok((result, String::from_utf8_lossy(&bytes).into_owned()))
}

/// A descriptor that leads elsewhere as long as this lives.
struct Diverted {
    fd: i32,
    original: OwnedFd,
}

impl Diverted {
    fn to(fd: i32, file: &File) -> io::Result<Self> {
        // SAFETY: what C's buffers hold belongs to the old place. The calls take descriptors and no memory.
        unsafe {
            libc::fflush(std::ptr::null_mut());
            let original = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
            if original < 0 || libc::dup2(file.as_raw_fd(), fd) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd, original: OwnedFd::from_raw_fd(original) })
        }
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        // SAFETY: as above; both descriptors are open.
        unsafe {
            libc::fflush(std::ptr::null_mut());
            libc::dup2(self.original.as_raw_fd(), self.fd);
        }
    }
}
