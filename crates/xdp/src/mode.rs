//! Where a program can run.

/// `XDP_FLAGS_*` (linux/if_link.h).
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

/// Where in the interface's path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In front of the network stack.
    Generic,
}

impl Mode {
    pub(crate) fn flag(self) -> u32 {
        match self {
            Self::Native => DRV_MODE,
            Self::Generic => SKB_MODE,
        }
    }

    /// The word that `ip link set dev IFACE ... off` wants.
    pub fn ip_link_word(self) -> &'static str {
        match self {
            Self::Native => "xdpdrv",
            Self::Generic => "xdpgeneric",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
