//! What a foreground program says: what it does, what may be wrong, what it has done. All on standard error.

use evenkeel_control::config::{Config, Protocol};
use evenkeel_core::{Counters, Event, Reason};
use evenkeel_xdp::{Attachment, Interface, Mode, Resolution};
use std::io::Write as _;
use std::net::Ipv4Addr;

/// Says things under a program's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcer(pub(crate) &'static str);

impl Announcer {
    pub(crate) fn say(self, text: &str) {
        // Nobody may be reading any more; that is no reason to stop balancing.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.0);
    }

    pub(crate) fn services(self, config: &Config) {
        for service in &config.services {
            let protocol = match service.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            let port = if service.port == 0 { "any port".to_owned() } else { format!("port {}", service.port) };
            let backends: Vec<_> = service
                .backends
                .iter()
                .map(|backend| match backend.port {
                    0 => backend.address.to_string(),
                    port => format!("{}:{port}", backend.address),
                })
                .collect();
            self.say(&format!("{} {protocol} {port} -> {} (full NAT)", service.address, backends.join(", ")));
        }
    }

    /// What native mode on a veth needs and may not have.
    pub(crate) fn veth_traps(self, interface: &Interface, mode: Mode) {
        if mode != Mode::Native || !interface.is_veth {
            return;
        }
        let name = &interface.name;
        match interface.native_transmit_arrives() {
            Some(true) => {}
            Some(false) => self.say(&format!(
                "warning: frames sent from {name} will be lost or late: load an XDP program at the other end of the \
                 veth pair, if only one that passes everything, or use generic mode."
            )),
            None => self.say(&format!(
                "note: the other end of {name} is out of sight; frames arrive there only if it has an XDP program, if only one that \
                 passes everything."
            )),
        }
        self.say("note: hosts on this veth must compute their own checksums (ethtool -K DEV tx off), or theirs arrive broken.");
    }

    pub(crate) fn next_hop(self, backend: Ipv4Addr, resolution: Resolution) {
        match resolution {
            Resolution::Known(mac) => self.say(&format!("backend {backend} is at {mac}")),
            Resolution::Asking => {
                self.say(&format!(
                    "warning: backend {backend} does not answer ARP; its connections are dropped until it does."
                ));
            }
            Resolution::Elsewhere => self.say(&format!(
                "warning: the route to backend {backend} leaves by another interface; nothing is sent to it. \
                 Balance on that interface, or change the route."
            )),
            Resolution::NoRoute => {
                self.say(&format!("warning: there is no route to backend {backend}; nothing is sent to it. Add one with `ip route add`."));
            }
        }
    }

    pub(crate) fn ready(self, attachment: &Attachment) {
        let Interface { name, mac, .. } = attachment.interface();
        let mode = attachment.mode();
        if attachment.took_over() {
            self.say("replaced the program that a killed evenkeel had left; its connections are forgotten.");
        }
        self.say("ICMP echo to these addresses is answered here.");
        self.say(&format!(
            "ready on {name} ({mac}), {mode} XDP; stop with Ctrl-C or `ip link set dev {name} {} off`",
            mode.ip_link_word()
        ));
    }

    /// What was counted; reasons that never occurred are left out.
    pub(crate) fn totals(self, counters: &Counters) {
        for (reason, count) in Reason::ALL.iter().zip(counters.verdicts).filter(|(_, count)| *count > 0) {
            self.say(&format!("{count:>12} {} {}", reason.verdict().name(), reason.name()));
        }
        for (event, count) in Event::ALL.iter().zip(counters.events).filter(|(_, count)| *count > 0) {
            self.say(&format!("{count:>12} event {}", event.name()));
        }
    }
}
