//! A name for the stations that outlasts this process's mount namespace.
//!
//! `ip netns exec` gives every command a mount namespace with a /sys of its own, and so a BPF file system whose names go with
//! the command. The program that is attached stays, and so do its tables, which it holds; but the kernel empties the array
//! that leads to its stations once nobody in user space holds it. So the array gets one more name, in the BPF file system
//! that the first process sees, the host's or the container's. What a program that is gone has left there, with its network
//! namespace for instance, the next one to look removes.

use crate::bpffs;
use crate::error::XdpError;
use crate::interface::Interface;
use crate::namespace;
use aya::maps::Map;
use aya::programs::loaded_programs;
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What tells such a directory from a set of names: an interface's percent sign is written otherwise.
const MARK: &str = "%held-";

/// A directory with the names of the stations of one interface's programs, each its program's id.
#[derive(Debug)]
pub(crate) struct Foothold {
    /// Keeps the file system within reach, whatever happens to the first process.
    _root: OwnedFd,
    /// What is ours of it, as a path from there.
    home: PathBuf,
    /// The directory.
    directory: PathBuf,
    /// Whether names are needed here at all; what others have left is removed in any case.
    is_needed: bool,
}

impl Foothold {
    /// The place for an interface. Nothing if there is none: names go with our mount namespace, and that of the
    /// first process has no BPF file system.
    pub(crate) fn find(interface: &Interface) -> Option<Self> {
        let (ours, first) = (Path::new("/sys/fs/bpf"), Path::new("/proc/1/root/sys/fs/bpf"));
        let device = |path: &Path| fs::metadata(path).ok().map(|file| file.dev());
        // Who may not look at the first process is an ordinary user in the host's own mount namespace.
        let is_needed = device(first).is_some_and(|theirs| Some(theirs) != device(ours));
        let path = if is_needed { first } else { ours };
        let root = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()?;
        if !bpffs::is_one(&root) {
            return None;
        }
        let [_, network] = namespace::network().ok()?;
        let home = PathBuf::from(format!("/proc/self/fd/{}/evenkeel", root.as_raw_fd()));
        let mut name = bpffs::directory(&interface.name).file_name()?.to_owned();
        name.push(format!("{MARK}{network}-{}", interface.index));
        let foothold = Self { _root: root.into(), directory: home.join(name), home, is_needed };
        foothold.sweep();
        Some(foothold)
    }

    /// Names the stations of a program that is to be attached.
    pub(crate) fn hold(&self, stations: &Map, program: u32) -> Result<(), XdpError> {
        if !self.is_needed {
            return Ok(());
        }
        bpffs::make_directory(&self.home)?;
        bpffs::check(&self.home)?;
        bpffs::make_directory(&self.directory)?;
        bpffs::pin(&self.directory.join(program.to_string()), |path| stations.pin(path))
    }

    /// Takes back the name of a program that was not attached after all.
    pub(crate) fn release(&self, program: u32) {
        let _ = fs::remove_file(self.directory.join(program.to_string()));
        self.remove_if_empty();
    }

    /// Forgets the stations of every program but this one, which is attached by now.
    pub(crate) fn forget_all_but(&self, program: Option<u32>) {
        let kept = program.filter(|_| self.is_needed).map(|program| program.to_string());
        for name in fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.file_name()) {
            if kept.as_deref().is_none_or(|kept| name != *kept) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
        self.remove_if_empty();
    }

    fn remove_if_empty(&self) {
        // Anything else that is there is somebody's.
        let _ = fs::remove_dir(&self.directory);
        let _ = fs::remove_dir(&self.home);
    }

    /// Removes what programs have left that are gone, of whatever interface: nobody else will.
    fn sweep(&self) {
        let loaded: Result<HashSet<_>, _> =
            loaded_programs().map(|program| program.map(|program| program.id())).collect();
        // Who may not ask which programs there are cannot tell.
        let Ok(loaded) = loaded else { return };
        for directory in fs::read_dir(&self.home).into_iter().flatten().flatten() {
            if !directory.file_name().to_string_lossy().contains(MARK) {
                continue;
            }
            for name in fs::read_dir(directory.path()).into_iter().flatten().flatten() {
                let id = name.file_name().to_string_lossy().parse();
                if id.is_ok_and(|id: u32| !loaded.contains(&id)) {
                    let _ = fs::remove_file(name.path());
                }
            }
            let _ = fs::remove_dir(directory.path());
        }
    }
}
