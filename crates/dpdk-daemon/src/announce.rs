//! What there is to say about a port and about the host.

use evenkeel_daemon::{Announcer, Services};
use evenkeel_dpdk::host::{News, Resolution};
use evenkeel_dpdk::{Backing, DpdkError, Eal, IdlePolicy, PortInfo, Rest, Tables};
use std::net::IpAddr;
use std::path::Path;

pub(crate) fn ready(announcer: Announcer, port: &PortInfo, lcores: usize, tables: &Tables) {
    let (backing, bytes) = tables.flow_memory();
    let backing = match backing {
        Backing::HugePages => "huge pages",
        Backing::Ordinary => "ordinary memory",
    };
    announcer.say(&format!("flow table: {} MB in {backing}", bytes.div_ceil(1 << 20)));
    announcer.say("ARP and ICMP echo to these addresses are answered here.");
    let queues = if lcores == 1 { "one lcore".to_owned() } else { format!("{lcores} lcores, a queue each") };
    announcer.say(&format!(
        "ready on {} ({}, {}), {queues}, {}; stop with Ctrl-C",
        port.name,
        port.driver,
        port.mac(),
        Eal::version()
    ));
}

/// What lcores do that find nothing.
pub(crate) fn idle(announcer: Announcer, policy: IdlePolicy, rest: Rest) {
    let how = match (policy, rest) {
        (IdlePolicy::Poll, _) => "lcores poll without a pause.".to_owned(),
        (IdlePolicy::Sleep, Rest::Interrupt) => "lcores with nothing to do wait for receive interrupts.".to_owned(),
        (IdlePolicy::Sleep, Rest::Sleep(longest)) => {
            let longest = longest.as_micros();
            format!("lcores with nothing to do sleep for up to {longest} us; this port has no receive interrupts.")
        }
    };
    announcer.say(&how);
}

/// Lcores that the port has no queues for.
pub(crate) fn idle_lcores(announcer: Announcer, port: &PortInfo, named: usize, used: usize) {
    if used < named {
        announcer.say(&format!("note: {} has {used} queues for {named} lcores; the others do nothing.", port.name));
    }
}

/// Several queues, over which nobody spreads packets.
pub(crate) fn not_spread(announcer: Announcer, port: &PortInfo, queues: usize) {
    if queues > 1 && !port.spreads {
        announcer.say(&format!(
            "note: {} ({}) does not spread packets over its {queues} queues by their addresses (RSS): all may come by one, \
             and one lcore has all the work.",
            port.name, port.driver
        ));
    }
}

/// A TAP device that leads nowhere, which is what it does at the start; returns whether that was said.
pub(crate) fn unconnected(announcer: Announcer, port: &PortInfo) -> bool {
    match unconnected_tap(port) {
        Some(name) => {
            announcer.say(&format!(
                "{name} is connected to nothing yet: scripts/link-dpdk.sh connects it to the testbed's bridge."
            ));
            true
        }
        None => false,
    }
}

/// Answers of some service shall follow routes, and there are none.
pub(crate) fn no_routes(announcer: Announcer) {
    announcer.say(
        "warning: reply = \"route\" goes by [dataplane] address and gateway, and the file does not name both: answers go to where \
         packets come from.",
    );
}

/// The port does not receive what is sent to groups.
pub(crate) fn deaf(announcer: Announcer, error: &DpdkError) {
    announcer.say(&format!("warning: {error}; others may not find our IPv6 addresses."));
}

/// What neighbours are asked in.
fn language(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "ARP" } else { "neighbour solicitations" }
}

pub(crate) fn news(
    announcer: Announcer,
    port: &PortInfo,
    role: impl Fn(IpAddr) -> &'static str,
    news: &News,
    services: &Services<'_>,
) {
    let language = match news {
        News::Backend(address, _) | News::Conflict(address, _) => language(address),
    };
    match news {
        News::Backend(backend, Resolution::Known(mac)) => {
            announcer.say(&format!("{} {backend} is at {mac}", role(*backend)));
        }
        News::Backend(router, Resolution::Silent) if role(*router) == "router" => announcer.say(&format!(
            "warning: router {router} does not answer {language}; answers go to where packets come from until it does."
        )),
        News::Backend(router, Resolution::Lost) if role(*router) == "router" => announcer
            .say(&format!("warning: router {router} does not answer {language} any more; answers still go to where it was.")),
        News::Backend(backend, Resolution::Silent) => {
            let hint = unconnected_tap(port).map_or_else(String::new, |name| {
                format!(" Nothing can: {name} is connected to nothing (scripts/link-dpdk.sh).")
            });
            announcer.say(&format!(
                "warning: backend {backend} does not answer {language}; it gets no connections until it does{}.{hint}",
                services.behind(*backend)
            ));
        }
        News::Backend(backend, Resolution::Lost) => announcer.say(&format!(
            "warning: backend {backend} does not answer {language} any more; its connections still go to where it was{}.",
            services.behind(*backend)
        )),
        News::Backend(backend, Resolution::NoRoute) => announcer.say(&format!(
            "warning: backend {backend} is not in our network, and there is no gateway; it gets no connections{}. \
             Name one in the file's [dataplane] section.",
            services.behind(*backend)
        )),
        News::Conflict(address, mac) => {
            announcer.say(&format!("warning: {mac} says that it has {address}, too; clients may reach either."));
        }
    }
}

/// The name of the port's TAP device if it is neither in a bridge or bond nor has an address: the kernel has nothing to
/// send into it.
pub(crate) fn unconnected_tap(port: &PortInfo) -> Option<String> {
    let name = port.interface().filter(|_| port.is_tap())?;
    let is_member = Path::new("/sys/class/net").join(&name).join("master").exists();
    (!is_member).then_some(name)
}
