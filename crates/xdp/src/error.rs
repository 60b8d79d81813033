//! What can go wrong between us and the kernel.

/// Why the XDP plane could not do what was asked. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The kernel refused for want of privileges.
    #[error("loading BPF programs needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run this with sudo.")]
    Privileges,
    /// No BPF system call.
    #[error("this kernel has no BPF (CONFIG_BPF_SYSCALL): use a kernel that has it; every Debian kernel does.")]
    NoBpf,
    /// No BTF.
    #[error(
        "this kernel does not describe its types (no /sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF=y."
    )]
    NoBtf,
    /// The object was not built into this program.
    #[error("this program was built without the BPF object: build it with `make`.")]
    NoObject,
    /// The verifier, or the loader before it, refused the object.
    #[error("the kernel refused the BPF program: {0}")]
    Load(String),
    /// A map is missing or of another kind: object and program are of different versions.
    #[error("the BPF object does not fit this program ({0}): build both again with `make clean && make`.")]
    Object(String),
    /// A map operation failed.
    #[error("BPF map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The clock program did not run.
    #[error("cannot read the program's clock: {0}")]
    Clock(std::io::Error),
    /// More entries than the map was made for.
    #[error("no room for {what}: the plane was started for at most {most}.")]
    Full {
        /// What does not fit.
        what: &'static str,
        /// How many do.
        most: u32,
    },
    /// No such interface.
    #[error("there is no network interface called {0:?} here: `ip link` lists those that there are.")]
    NoInterface(String),
    /// The interface has no Ethernet address.
    #[error("{0} is not an Ethernet interface, and a balancer needs one.")]
    NotEthernet(String),
    /// The kernel sends by what the interface is a port of, and never by the interface.
    #[error(
        "{interface} is a port of the {kind} {master}: the kernel's routes leave by {master}, so no backend would be reached \
         through {interface}; balance on {master}, or take {interface} out of it with `ip link set dev {interface} nomaster`."
    )]
    Port {
        /// The interface.
        interface: String,
        /// What it is a port of.
        master: String,
        /// `bridge`, `bond` or `team`.
        kind: String,
    },
    /// Tables cannot have names.
    #[error(
        "connections cannot outlive this process: there is no BPF file system at /sys/fs/bpf and it cannot be mounted \
         ({source}); mount it with `mount -t bpf -o mode=0700 bpf /sys/fs/bpf`."
    )]
    NoBpffs {
        /// Why it cannot be mounted.
        source: std::io::Error,
    },
    /// Somebody else can have put there what we would trust.
    #[error(
        "connections cannot outlive this process: others can have made {path}, or can change what is in it; see who they are \
         with `ls -ld {path}`, remove it, and close the BPF file system with `chmod 0700 /sys/fs/bpf`.",
        path = path.display()
    )]
    ForeignHome {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// A table's name cannot be made or removed.
    #[error("cannot work with {} ({source}): see to it that this user may change what is there.", path.display())]
    Pin {
        /// The name.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What has to have a name has lost it.
    #[error(
        "{} is gone: this change needs another program over the same tables, which are found by their names; \
         start again.",
        path.display()
    )]
    Names {
        /// The name.
        path: std::path::PathBuf,
    },
    /// The program was loaded without what a configuration needs.
    #[error("the program at work was loaded without what this configuration needs: start again.")]
    Features,
    /// There are tables of an interface that is called the same, in another network namespace.
    #[error(
        "{} has the tables of an interface in another network namespace: remove it if that is gone, or give each \
         namespace a /sys/fs/bpf of its own, as `ip netns exec` does.",
        path.display()
    )]
    ForeignPins {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// The tables that would be taken over are laid out otherwise.
    #[error(
        "the program on {interface} has tables of layout {layout} and this version has layout {ours}, so it is left at work \
         as it is: use the version that started it, or start with --fresh, which forgets its connections."
    )]
    Layout {
        /// The interface.
        interface: String,
        /// What is there, in words.
        layout: String,
        /// What we know.
        ours: u32,
    },
    /// The tables that would be taken over were made for something else.
    #[error(
        "the program on {interface} was started with another value of {what} ({old}, now {new}) and is left at work as it \
         is: go back to that value, or start with --fresh, which forgets its connections."
    )]
    Differs {
        /// The interface.
        interface: String,
        /// What is different.
        what: &'static str,
        /// As it was.
        old: String,
        /// As it is wanted.
        new: String,
    },
    /// Another program holds the hook.
    #[error(
        "{interface} already has an XDP program (id {id}{name}): detach it first, e.g. with `ip link set dev {interface} {off} off`."
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The other program's id.
        id: u32,
        /// Its name, if it can be told.
        name: String,
        /// The word that `ip link` wants.
        off: &'static str,
    },
    /// The same program is already at work here, or it cannot be told.
    #[error(transparent)]
    Claim(#[from] evenkeel_control::ClaimError),
    /// The driver cannot run XDP programs.
    #[error("{interface} cannot run XDP in native mode ({reason}): use generic mode.")]
    NoNative {
        /// The interface.
        interface: String,
        /// Why.
        reason: String,
    },
    /// Attaching or detaching failed in another way.
    #[error("cannot change the XDP program of {interface}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why.
        reason: String,
    },
    /// Netlink failed.
    #[error("cannot ask the kernel about {what}: {reason}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// Why.
        reason: String,
    },
}
