//! What this is a build of, and where it would run.

use crate::library::library;
use evenkeel_core::LAYOUT;
use serde::Serialize;
use std::fmt;

/// Everything that a report of a fault should name.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    version: &'static str,
    /// `unknown` if it was built outside of a checkout.
    commit: &'static str,
    /// The planes of this build.
    planes: Vec<&'static str>,
    /// Of the tables that processes hand on to each other.
    layout: u32,
    /// The release of the kernel that this runs on.
    kernel: String,
}

impl Version {
    /// This build's, here. `object` is the XDP program.
    pub(crate) fn here(object: &[u8]) -> Self {
        let has_dpdk = std::env::current_exe().is_ok_and(|program| library(&program).is_some());
        let planes = [("xdp", !object.is_empty()), ("dpdk", has_dpdk)];
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("EVENKEEL_COMMIT"),
            planes: planes.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect(),
            layout: LAYOUT,
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit, planes, layout, kernel } = self;
        writeln!(out, "evenkeel {version}")?;
        writeln!(out, "commit: {commit}")?;
        writeln!(out, "planes: {}", if planes.is_empty() { "none".to_owned() } else { planes.join(", ") })?;
        writeln!(out, "table layout: {layout}")?;
        writeln!(out, "kernel: Linux {kernel}")
    }
}
