//! Which namespace something is of.

use crate::bpffs;
use crate::error::XdpError;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The network namespace that we are in: device and inode of its file (namespaces(7)).
pub(crate) fn network() -> Result<[u64; 2], XdpError> {
    let path = Path::new("/proc/thread-self/ns/net");
    std::fs::metadata(path).map(|file| identity(&file)).map_err(bpffs::failed(path))
}

/// Whether two such files are of one namespace.
pub(crate) fn is_the_same(one: &Metadata, other: &Metadata) -> bool {
    identity(one) == identity(other)
}

fn identity(file: &Metadata) -> [u64; 2] {
    [file.dev(), file.ino()]
}
