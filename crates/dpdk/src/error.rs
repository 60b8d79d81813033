//! What can go wrong between us, DPDK and the machine.

/// Why EAL, a port or memory could not be had. Each message says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpdkError {
    /// An argument that EAL does not have or cannot read.
    #[error("EAL does not understand its arguments: {0}.")]
    Argument(String),
    /// EAL may be started once in a process.
    #[error("EAL has been started in this process already, and it can be only once.")]
    AlreadyStarted,
    /// No huge pages.
    #[error("there are no free huge pages: reserve some with scripts/hugepages.sh, or do without by adding --no-huge.")]
    NoHugePages,
    /// The lock of the runtime directory is taken.
    #[error(
        "another DPDK program runs with the same file prefix: stop it, or give this one its own with --file-prefix=NAME."
    )]
    Running,
    /// The TAP device's name is taken.
    #[error(
        "there is a device {0} already: stop the program that has it or remove it, or choose another name with iface=NAME."
    )]
    TapTaken(String),
    /// Something needs privileges.
    #[error("{0} needs root, or the capabilities CAP_NET_ADMIN and CAP_IPC_LOCK: run this with sudo.")]
    Privileges(String),
    /// No driver for a device named on the command line.
    #[error("no driver of DPDK makes a device called {0}: the name says which, as in --vdev=net_tap0,iface=tapdpdk.")]
    NoDriver(String),
    /// EAL has other reasons.
    #[error("EAL cannot start: {0}.")]
    Eal(String),
    /// No port at all.
    #[error(
        "EAL has found no port{0}: name one, as in --vdev=net_tap0,iface=tapdpdk, or bind a network card to a driver for user space (dpdk-devbind.py)."
    )]
    NoPort(String),
    /// More ports than one.
    #[error("EAL has found {} ports ({}), and one is balanced on: leave the others out (--allow, --vdev, --no-pci).", .0.len(), .0.join(", "))]
    ManyPorts(Vec<String>),
    /// A port refuses.
    #[error("port {port}: {what} failed: {reason}.")]
    Port {
        /// Its name.
        port: String,
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A port that does not carry packets of this length.
    #[error("port {port} does not carry an mtu of {mtu}: {reason}. Choose a smaller mtu, or leave it out.")]
    Mtu {
        /// Its name.
        port: String,
        /// What was asked of it.
        mtu: u16,
        /// Why not.
        reason: String,
    },
    /// No memory of EAL's.
    #[error("EAL has no memory for {what} ({reason}): give it more with -m MEGABYTES, or reserve more huge pages.")]
    Memory {
        /// What for.
        what: String,
        /// EAL's words.
        reason: String,
    },
    /// No memory of the system's.
    #[error("no memory for {bytes} bytes of {what} ({reason}): choose a smaller max-flows.")]
    Map {
        /// What for.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// The system's words.
        reason: String,
    },
}

impl DpdkError {
    /// Whether the command line was wrong, and not the machine.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Argument(_) | Self::NoDriver(_) | Self::NoPort(_) | Self::ManyPorts(_) | Self::Mtu { .. })
    }
}

/// Why a table could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// More entries than the plane was made for.
    #[error("no room for {what}: the plane was started for at most {most}.")]
    Full {
        /// What does not fit.
        what: &'static str,
        /// How many do.
        most: u32,
    },
    /// A Maglev table of another size than the core's.
    #[error("a Maglev table has {0} slots, which is not what the core wants.")]
    Slots(usize),
    /// There is not so much memory.
    #[error(transparent)]
    Memory(DpdkError),
}
