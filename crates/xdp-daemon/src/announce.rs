//! What there is to say about XDP and next hops in the kernel.

use evenkeel_control::operator::{Way, question};
use evenkeel_daemon::{Announcer, Services};
use evenkeel_wire::MacAddress;
use evenkeel_xdp::{Attachment, Interface, Mode};
use std::net::IpAddr;

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

/// The way to a backend, or to a router that answers go through, as its role says; `services` is whom a backend serves, as
/// [`evenkeel_daemon::Services`] tells it.
pub(crate) fn next_hop(
    announcer: Announcer,
    role: &str,
    address: IpAddr,
    way: &Way,
    mac: Option<MacAddress>,
    services: &str,
) {
    let without = if role == "router" { "nothing is sent to it" } else { "it gets no connections" };
    let asked = question(address);
    let text = match way {
        // Of a host, and as often as not it is one of thousands.
        Way::Known => format!("{role} {address} is at {}", mac.unwrap_or_default()),
        Way::Silent | Way::Lost if role == "router" => format!(
            "warning: router {address} does not answer {asked}; answers go on to where it was, or to where packets come from."
        ),
        Way::Silent => {
            format!(
                "warning: backend {address} does not answer {asked}; it gets no connections until it does{services}."
            )
        }
        Way::Lost => format!(
            "warning: backend {address} does not answer {asked} any more; its connections still go to where it was{services}."
        ),
        Way::Elsewhere(interface) => format!(
            "warning: the route to {role} {address} leaves by another interface, {interface}; {without}{services}. \
             Balance on that interface, or change the route."
        ),
        Way::Here => format!(
            "warning: {role} {address} is an address of this host, and what is sent by XDP does not come back to it; \
             {without}{services}."
        ),
        Way::NoRoute => {
            format!("warning: there is no route to {role} {address}; {without}{services}. Add one with `ip route add`.")
        }
    };
    announcer.say(&text);
}

/// Addresses that nobody on this host answers ARP or neighbour solicitations for.
pub(crate) fn unanswered(announcer: Announcer, addresses: &[IpAddr], interface: &str, services: &Services<'_>) {
    // What is true of one is most often true of all.
    const TOLD: usize = 10;
    for address in addresses.iter().take(TOLD) {
        announcer.say(&format!(
            "warning: this host does not answer {} for {address}{}: give it the address with `ip address add {address}/{} dev \
             {interface}`, unless routers send its packets here.",
            question(*address),
            services.at(*address),
            if address.is_ipv6() { 128 } else { 32 },
        ));
    }
    if let Some(more @ 1..) = addresses.len().checked_sub(TOLD) {
        announcer.say(&format!("warning: nor for {more} more."));
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
pub(crate) fn full_table(announcer: Announcer, backends: usize, refused: usize, refused_ipv6: usize) {
    // Each family has a table of its own.
    let family = if 2 * refused_ipv6 > refused { "ipv6" } else { "ipv4" };
    let name = format!("net.{family}.neigh.default.gc_thresh3");
    // Not to be seen in every network namespace, and the same for all of them.
    let limit = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap_or_default();
    let limit = if limit.is_empty() { String::new() } else { format!(" ({})", limit.trim()) };
    announcer.say(&format!(
        "warning: the kernel's neighbour table is full: {refused} next hops of {backends} backends were refused; nothing is sent \
         to those. Raise {name}{limit}: `sysctl -w {name}={}`.",
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
            "note: if this process is killed, the program takes no new connections, and none of IPv6 goes on, until it is started again: names of \
             BPF maps go with this mount namespace, and outside of it /sys/fs/bpf is no BPF file system.",
        );
    }
    if let Some(why) = attachment.fallback() {
        announcer.say(&format!("note: generic XDP, which is slower than native: {why}."));
    }
    announcer.say("ICMP echo to these addresses is answered here.");
    announcer.say(&format!(
        "ready on {name} ({mac}), {mode} XDP; stop with Ctrl-C or `ip link set dev {name} {} off`",
        mode.ip_link_word()
    ));
}
