//! The packets, as the port driver reads them: a file in memory that is gone when nobody has it open.

use crate::error::BenchError;
use crate::layout::FRAME;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

/// A file for packets.
#[derive(Debug)]
pub(crate) struct Capture(File);

impl Capture {
    pub(crate) fn new() -> Result<Self, BenchError> {
        // SAFETY: a name and no flags; the descriptor that comes back is nobody else's.
        let fd = unsafe { libc::memfd_create(c"evenkeel-bench".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(BenchError::Capture(io::Error::last_os_error()));
        }
        // SAFETY: as above.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The name by which other processes open it (proc_pid_fd(5)).
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

/// Writes packets in the format of libpcap (pcap-savefile(5)), which the driver reads.
pub(crate) fn write(path: &Path, frames: impl Iterator<Item = [u8; FRAME]>) -> Result<(), BenchError> {
    let file = File::create(path).map_err(BenchError::Capture)?;
    let mut file = BufWriter::new(file);
    let mut put = |words: &[u32], bytes: &[u8]| -> io::Result<()> {
        words.iter().try_for_each(|word| file.write_all(&word.to_ne_bytes()))?;
        file.write_all(bytes)
    };
    let length = FRAME as u32;
    // Magic number, version 2.4, two words of nothing, the longest packet, and Ethernet (LINKTYPE_ETHERNET).
    let version = if cfg!(target_endian = "little") { 0x0004_0002 } else { 0x0002_0004 };
    put(&[0xa1b2_c3d4, version, 0, 0, length, 1], &[]).map_err(BenchError::Capture)?;
    for frame in frames {
        // Seconds, microseconds, length in the file, length on the wire.
        put(&[0, 0, length, length], &frame).map_err(BenchError::Capture)?;
    }
    file.flush().map_err(BenchError::Capture)
}
