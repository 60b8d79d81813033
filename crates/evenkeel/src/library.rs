//! Where the DPDK plane is, which is a library that is loaded and not linked.

use std::path::{Path, PathBuf};

/// `crates/dpdk-daemon`, as it is built and installed: beside the program, or where packages put libraries.
pub(crate) const LIBRARY: &str = "libevenkeel_dpdk_daemon.so";

/// Its place, seen from a program's; nothing if this build has no DPDK plane.
pub(crate) fn library(program: &Path) -> Option<PathBuf> {
    let directory = program.parent()?;
    [directory.join(LIBRARY), directory.join("../lib/evenkeel").join(LIBRARY)].into_iter().find(|path| path.exists())
}
