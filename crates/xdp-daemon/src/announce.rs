//! What there is to say about XDP and next hops in the kernel.

use evenkeel_daemon::Announcer;
use evenkeel_xdp::{Attachment, Interface, Mode, Resolution};
use std::net::Ipv4Addr;

/// What native mode on a veth needs and may not have.
pub(crate) fn veth_traps(announcer: Announcer, interface: &Interface, mode: Mode) {
    if mode != Mode::Native || !interface.is_veth {
        return;
    }
    let name = &interface.name;
    match interface.native_transmit_arrives() {
            Some(true) => {}
            Some(false) => announcer.say(&format!(
                "warning: frames sent from {name} will be lost or late: load an XDP program at the other end of the \
                 veth pair, if only one that passes everything, or use generic mode."
            )),
            None => announcer.say(&format!(
                "note: the other end of {name} is out of sight; frames arrive there only if it has an XDP program, if only one that \
                 passes everything."
            )),
        }
    announcer.say(
        "note: hosts on this veth must compute their own checksums (ethtool -K DEV tx off), or theirs arrive broken.",
    );
}

pub(crate) fn next_hop(announcer: Announcer, role: &str, backend: Ipv4Addr, resolution: Resolution) {
    match resolution {
        Resolution::Known(mac) => announcer.say(&format!("{role} {backend} is at {mac}")),
        Resolution::Asking if role == "router" => announcer.say(&format!(
            "warning: router {backend} does not answer ARP; answers go on to where it was, or to where packets come from."
        )),
        Resolution::Asking => {
            announcer.say(&format!(
                "warning: backend {backend} does not answer ARP; its connections are dropped until it does."
            ));
        }
        Resolution::Elsewhere => announcer.say(&format!(
            "warning: the route to {role} {backend} leaves by another interface; nothing is sent to it. \
                 Balance on that interface, or change the route."
        )),
        Resolution::NoRoute => {
            announcer.say(&format!(
                "warning: there is no route to {role} {backend}; nothing is sent to it. Add one with `ip route add`."
            ));
        }
    }
}

/// So many routes to clients are not gone by.
pub(crate) fn many_routes(announcer: Announcer, left_out: usize) {
    announcer.say(&format!(
        "warning: {left_out} of the host's routes to clients are more than answers can go by; those clients are answered by way of \
         a shorter prefix."
    ));
}

/// So many next hops of so many backends' did not fit into the kernel's neighbour table.
pub(crate) fn full_table(announcer: Announcer, backends: usize, refused: usize) {
    const LIMIT: &str = "net.ipv4.neigh.default.gc_thresh3";
    // Not to be seen in every network namespace, and the same for all of them.
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3").unwrap_or_default();
    let limit = if limit.is_empty() { String::new() } else { format!(" ({})", limit.trim()) };
    announcer.say(&format!(
        "warning: the kernel's neighbour table is full: {refused} next hops of {backends} backends were refused; nothing is sent \
         to those. Raise {LIMIT}{limit}: `sysctl -w {LIMIT}={}`.",
        (4 * backends).next_power_of_two()
    ));
}

pub(crate) fn ready(announcer: Announcer, attachment: &Attachment, inherited: bool) {
    let Interface { name, mac, .. } = attachment.interface();
    let mode = attachment.mode();
    if inherited {
        announcer.say("took over from the evenkeel that was here before; its connections go on.");
    } else if attachment.took_over() {
        announcer.say("replaced the program that a killed evenkeel had left; its connections are forgotten.");
    }
    if !attachment.lasts() {
        announcer.say(
            "note: if this process is killed, the program takes no new connections until it is started again: names of \
             BPF maps go with this mount namespace, and outside of it /sys/fs/bpf is no BPF file system.",
        );
    }
    announcer.say("ICMP echo to these addresses is answered here.");
    announcer.say(&format!(
        "ready on {name} ({mac}), {mode} XDP; stop with Ctrl-C or `ip link set dev {name} {} off`",
        mode.ip_link_word()
    ));
}
