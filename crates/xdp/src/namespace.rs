//! Which namespace something is of.

use crate::bpffs;
use crate::error::XdpError;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The network namespace that we are in: device and inode of its file (namespaces(7)).
pub(crate) fn network() -> Result<[u64; 2], XdpError> {
    let path = Path::new("/proc/thread-self/ns/net");
    std::fs::metadata(path).map(|file| [file.dev(), file.ino()]).map_err(bpffs::failed(path))
}
