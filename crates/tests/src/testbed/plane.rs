//! Where a balancer runs in the testbed, how it is started there, and when it is at work. What is the same on every plane
//! is said once: a test starts a balancer by [`Testbed::balance`] and does not ask on which plane.

use super::{Running, Testbed, repository, until};
use crate::program::cpus;
use evenkeel_control::config::XdpMode;
use evenkeel_control::{Config, walkthrough};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// The TAP device's name, as in the walk-through.
pub const TAP: &str = "net_tap0,iface=tapdpdk";

/// A plane, and the way into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// XDP in front of the network stack of lb.
    GenericXdp,
    /// XDP in the driver of veth6, in lb.
    NativeXdp,
    /// DPDK on the local machine, with a TAP device on the bridge.
    Dpdk,
}

/// What a balancer is told.
#[derive(Clone, Copy)]
enum Settings<'a> {
    WalkThrough,
    /// A configuration, and more words for the command line.
    File(&'a Path, &'a [&'a str]),
}

impl Plane {
    /// Both ways into XDP.
    pub const XDP: [Self; 2] = [Self::GenericXdp, Self::NativeXdp];

    /// The walk-through's program, and the one that has its settings from a file.
    pub fn programs(self) -> (&'static str, &'static str) {
        if self == Self::Dpdk { ("base-server", "evenkeel-dpdk") } else { ("xdp_lb", "evenkeel") }
    }

    /// How `--xdp-mode` calls it.
    pub fn xdp_mode(self) -> XdpMode {
        if self == Self::NativeXdp { XdpMode::Native } else { XdpMode::Generic }
    }

    /// The namespace that the balancer runs in.
    pub fn namespace(self) -> &'static str {
        if self == Self::Dpdk { "" } else { "lb" }
    }

    fn words(self, bed: &Testbed, settings: Settings<'_>) -> Vec<String> {
        let (for_walkthrough, for_file) = self.programs();
        let mode = self.xdp_mode().to_string();
        let (program, words) = match (self, settings) {
            (Self::Dpdk, Settings::WalkThrough) => (for_walkthrough, bed.eal(TAP)),
            (Self::Dpdk, Settings::File(path, more)) => {
                let path = path.display().to_string();
                let ours = [&["--", "--config", &path], more].concat();
                (for_file, [bed.eal(TAP), ours.into_iter().map(str::to_owned).collect()].concat())
            }
            (_, Settings::WalkThrough) => (for_walkthrough, ["--xdp-mode", &mode, "veth6"].map(str::to_owned).into()),
            (_, Settings::File(path, more)) => {
                let path = path.display().to_string();
                let words = [&["run", "--config", &path, "--interface", "veth6", "--xdp-mode", &mode], more].concat();
                (for_file, words.into_iter().map(str::to_owned).collect())
            }
        };
        let program = repository().join("build").join(program).display().to_string();
        [vec![program], words].concat()
    }

    fn spawn(self, bed: &Testbed, settings: Settings<'_>) -> Running {
        bed.start(self.namespace(), &self.words(bed, settings))
    }

    /// Starts it and waits until packets can reach it.
    fn start(self, bed: &Testbed, settings: Settings<'_>) -> Running {
        let balancer = self.spawn(bed, settings);
        if self == Self::Dpdk {
            balancer.wait_for(": ready on net_tap0");
            if bed.lcores > 1 {
                balancer.wait_for(&format!("{} lcores, a queue each", bed.lcores));
            }
            connect_tap();
        } else {
            balancer.wait_for(": ready on veth6");
        }
        balancer
    }
}

/// Connects DPDK's TAP device to the bridge, as the walk-through does it.
pub fn connect_tap() {
    let ended = Running::start(&mut Command::new(repository().join("scripts/link-dpdk.sh"))).finish();
    assert_eq!(ended.code, Some(0), "link-dpdk.sh: {ended}");
}

/// Waits until the walk-through's balancer knows the way to both backends.
pub fn wait_for_walkthrough_backends(balancer: &Running) {
    wait_for_backends(balancer, &walkthrough());
}

fn wait_for_backends(balancer: &Running, config: &Config) {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    for address in backends.map(|backend| backend.address).collect::<BTreeSet<_>>() {
        balancer.wait_for(&format!("backend {address} is at "));
    }
}

impl Testbed {
    /// Starts the walk-through's program and waits until it balances.
    pub fn balance(&self) -> Running {
        self.balance_on(self.plane)
    }

    /// The same on another plane.
    pub fn balance_on(&self, plane: Plane) -> Running {
        let balancer = plane.start(self, Settings::WalkThrough);
        wait_for_walkthrough_backends(&balancer);
        balancer
    }

    /// Starts the walk-through's program and waits until packets can reach it, whether it has found its backends or not.
    pub fn start_balancer(&self) -> Running {
        self.plane.start(self, Settings::WalkThrough)
    }

    /// Starts a balancer with a configuration and waits until it balances.
    pub fn balance_config(&self, text: &str) -> Running {
        self.balance_config_with(text, &[])
    }

    /// The same, of which the next one takes over what it leaves when it is told to stop.
    pub fn balance_config_and_keep(&self, text: &str) -> Running {
        self.balance_config_with(text, &["--keep"])
    }

    fn balance_config_with(&self, text: &str, more: &[&str]) -> Running {
        let config = Config::parse("evenkeel.toml", text).expect("the configuration is right");
        let balancer = self.plane.start(self, Settings::File(&self.config("evenkeel.toml", text), more));
        wait_for_backends(&balancer, &config);
        balancer
    }

    /// Starts a balancer with a configuration file, whatever may come of it.
    pub fn start_with_file(&self, path: &Path) -> Running {
        self.plane.spawn(self, Settings::File(path, &[]))
    }

    /// Starts the walk-through's program on DPDK with these arguments of EAL's and waits until it is ready.
    pub fn base_server(&self, namespace: &str, eal: &[String]) -> Running {
        let program = repository().join("build/base-server").display().to_string();
        let balancer = self.start(namespace, &[&[program], eal].concat());
        balancer.wait_for("base-server: ready on ");
        balancer
    }

    /// EAL's arguments for a port, so that any number of balancers run side by side: no huge pages, and nothing that EAL
    /// would share with another process. A single lcore's CPU depends on the test, which spreads them.
    pub fn eal(&self, device: &str) -> Vec<String> {
        let mut cpus = cpus();
        let place = self.name.bytes().map(usize::from).sum::<usize>() % cpus.len();
        cpus.rotate_left(place);
        let lcores: Vec<_> = cpus.iter().take(self.lcores).map(usize::to_string).collect();
        let (lcores, prefix) = (lcores.join(","), format!("--file-prefix={}", self.new_name("test")));
        let device = format!("--vdev={device}");
        let alone = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va"];
        [&["-l", &lcores], &alone[..], &[&prefix, &device]].concat().into_iter().map(str::to_owned).collect()
    }

    /// Whether a balancer has taken its place: its XDP program is attached to veth6, or its TAP device is there.
    pub fn is_occupied(&self) -> bool {
        match self.plane {
            Plane::Dpdk => Path::new("/sys/class/net/tapdpdk").exists(),
            _ => self.link("veth6").contains("prog/xdp"),
        }
    }

    /// Waits until nothing is left of a balancer that was killed, so far as it goes with its process: an XDP program
    /// stays.
    pub fn wait_for_the_dead(&self) {
        if self.plane == Plane::Dpdk {
            // The kernel closes what a process had one by one, and its claim on the device may be the last.
            let is_claimed = || {
                let files = std::fs::read_dir("/run/evenkeel").into_iter().flatten().flatten();
                let mut claims = files.filter(|file| file.file_name().to_string_lossy().ends_with("-tapdpdk.lock"));
                claims.any(|file| File::open(file.path()).is_ok_and(|file| file.try_lock().is_err()))
            };
            until("the TAP device is gone", || (!self.is_occupied() && !is_claimed()).then_some(()));
        }
    }
}
