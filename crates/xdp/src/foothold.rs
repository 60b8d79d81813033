//! A name for the stations that outlasts this process's mount namespace.
//!
//! `ip netns exec` gives every command a mount namespace with a /sys of its own, and so a BPF file system whose names go with
//! the command. The program that is attached stays, and so do its tables, which it holds; but the kernel empties the array
//! that leads to its stations once nobody in user space holds it. So the array gets one more name, in the BPF file system of
//! whoever started us, which is the host's.

use crate::bpffs;
use crate::error::XdpError;
use crate::interface::Interface;
use crate::namespace;
use aya::maps::Map;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A directory with the names of the stations of one interface's programs, each its program's id.
#[derive(Debug)]
pub(crate) struct Foothold {
    /// Keeps the file system within reach: the process that started us may end before us.
    _root: OwnedFd,
    /// What is ours of it, as a path from there.
    home: PathBuf,
    /// The directory.
    directory: PathBuf,
    /// Whether names are needed here at all; what others have left is removed in any case.
    is_needed: bool,
}

impl Foothold {
    /// The place for an interface. Nothing if there is none: names go with our mount namespace, and that of whoever started
    /// us has no BPF file system or cannot be seen.
    pub(crate) fn find(interface: &Interface) -> Option<Self> {
        let outside = PathBuf::from(format!("/proc/{}", std::os::unix::process::parent_id()));
        let ours = fs::metadata("/proc/self/ns/mnt").ok()?;
        let theirs = fs::metadata(outside.join("ns/mnt")).ok();
        let is_needed = theirs.is_some_and(|theirs| !namespace::is_the_same(&ours, &theirs));
        let path = if is_needed { outside.join("root/sys/fs/bpf") } else { PathBuf::from("/sys/fs/bpf") };
        let root = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()?;
        if !bpffs::is_one(&root) {
            return None;
        }
        let [_, network] = namespace::network().ok()?;
        let home = PathBuf::from(format!("/proc/self/fd/{}/evenkeel", root.as_raw_fd()));
        let mut name = bpffs::directory(&interface.name).file_name()?.to_owned();
        name.push(format!("%held-{network}-{}", interface.index));
        Some(Self { _root: root.into(), directory: home.join(name), home, is_needed })
    }

    /// Names the stations of a program that is to be attached.
    pub(crate) fn hold(&self, stations: &Map, program: u32) -> Result<(), XdpError> {
        if !self.is_needed {
            return Ok(());
        }
        bpffs::make_directory(&self.home)?;
        bpffs::check(&self.home)?;
        bpffs::make_directory(&self.directory)?;
        let path = self.directory.join(program.to_string());
        // Of a program that had the number before a boot of ours, or whose attachment failed.
        let _ = fs::remove_file(&path);
        bpffs::pin(&path, |path| stations.pin(path))
    }

    /// Forgets the stations of every program but this one, which is attached by now.
    pub(crate) fn forget_all_but(&self, program: Option<u32>) {
        let kept = program.filter(|_| self.is_needed).map(|program| program.to_string());
        for name in fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.file_name()) {
            if kept.as_deref().is_none_or(|kept| name != *kept) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
        // Only what is empty goes, which is all there is to do.
        if fs::remove_dir(&self.directory).is_ok() {
            let _ = fs::remove_dir(&self.home);
        }
    }
}
