//! What a configuration shares with other programs of the host, and what it must not share.

use crate::config::{Config, Nat, Probe, Protocol, Service};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

/// What of a host's network its programs connect from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses.
    pub addresses: HashSet<IpAddr>,
    /// The ports that the kernel gives to whoever asks for any (ip(7), `ip_local_port_range`).
    pub ephemeral: Option<(u16, u16)>,
    /// Those of them that it gives to nobody (`ip_local_reserved_ports`).
    pub reserved: Vec<(u16, u16)>,
}

impl Host {
    /// The host, or the network namespace, that we are in. What cannot be read is taken to be nothing.
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut addresses = addresses(&read("/proc/thread-self/net/fib_trie"));
        addresses.extend(wide_addresses(&read("/proc/thread-self/net/if_inet6")));
        Self {
            addresses,
            ephemeral: pair(&read("/proc/sys/net/ipv4/ip_local_port_range"), char::is_whitespace),
            reserved: ranges(&read("/proc/sys/net/ipv4/ip_local_reserved_ports")),
        }
    }

    /// What there is to say if programs of the host connect from where full NAT sends from: neither knows of the other, and an
    /// answer from a backend is taken for the balancer's client's.
    pub fn collision(&self, nat: &Nat) -> Option<String> {
        let address = nat.addresses.iter().find(|address| self.addresses.contains(address))?;
        let (first, last) = nat.own_ports();
        let (low, high) = self.ephemeral?;
        let is_given = |port: u16| !self.reserved.iter().any(|&(first, last)| (first..=last).contains(&port));
        if !overlap(first..=last, low..=high).any(is_given) {
            return None;
        }
        let below = (first < low).then(|| (first, last.min(low - 1)));
        let above = (last > high).then(|| (first.max(high + 1), last));
        let widest = below.into_iter().chain(above).max_by_key(|(first, last)| last - first);
        let advice = match widest {
            Some((first, last)) => format!("set [nat] ports = \"{first}-{last}\""),
            None => "set sysctl net.ipv4.ip_local_port_range to ports that [nat] has not".to_owned(),
        };
        Some(format!(
            "full NAT sends from {address}, ports {first}-{last}, and this host's own programs connect from the same address \
             and ports {low}-{high}: where both meet at a backend, one of them loses its connection; {advice}."
        ))
    }
}

impl Host {
    /// What there is to say if health checks leave from an address that full NAT sends from: who comes to shut it out because of
    /// checks shuts out every client.
    pub fn shared_origin(&self, config: &Config) -> Option<String> {
        self.shared_origin_by(config, origin)
    }

    fn shared_origin_by(&self, config: &Config, origin: impl Fn(SocketAddr) -> Option<IpAddr>) -> Option<String> {
        let ours: HashSet<_> = config.nat.addresses.iter().filter(|address| self.addresses.contains(address)).collect();
        if ours.is_empty() {
            return None;
        }
        let mut found: Option<(IpAddr, &str)> = None;
        let mut more = 0;
        for service in config.services.iter().filter(|service| service.health.probe.is_some()) {
            let from = service.health.source.or_else(|| origin(service.asked_at(service.backends.first()?)));
            match from {
                Some(from) if ours.contains(&from) && found.is_none() => found = Some((from, &service.name)),
                Some(from) if ours.contains(&from) => more += 1,
                _ => {}
            }
        }
        let (from, name) = found?;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "checks of service \"{name}\"{more} leave from {from}, which full NAT sends from as well: a server that shuts an \
             address out because of checks, as MySQL does, shuts out all clients; give this host another address there and name \
             it in health = {{ source = ... }}."
        ))
    }
}

impl Host {
    /// What there is to say if answers to checks by datagrams come to where a service takes every datagram.
    pub fn swallowed_answers(&self, config: &Config) -> Option<String> {
        self.swallowed_answers_by(config, origin)
    }

    fn swallowed_answers_by(&self, config: &Config, origin: impl Fn(SocketAddr) -> Option<IpAddr>) -> Option<String> {
        let asks_by_datagram = |service: &&Service| match &service.health.probe {
            Some(Probe::Udp(_)) => true,
            Some(Probe::Dns(check)) => check.transport == Protocol::Udp,
            _ => false,
        };
        let (first, last) = config.nat.check_ports();
        let takes_all = |service: &&Service, from: IpAddr| {
            let ports = service.ports();
            let is_every_port = *ports.end() == 0 || *ports.start() <= last && *ports.end() >= first;
            service.protocol == Protocol::Udp && is_every_port && service.address == from
        };
        for asking in config.services.iter().filter(asks_by_datagram) {
            let from = asking.health.source.or_else(|| origin(asking.asked_at(asking.backends.first()?)));
            let Some(from) = from.filter(|from| self.addresses.contains(from)) else { continue };
            if let Some(taking) = config.services.iter().find(|service| takes_all(service, from)) {
                return Some(format!(
                    "checks of service \"{}\" leave from {from}, ports {first}-{last}, where service \"{}\" takes every datagram, \
                     and answers to checks as well: give this host another address there and name it in health = {{ source = \
                     ... }}.",
                    asking.name, taking.name
                ));
            }
        }
        None
    }
}

/// The address that the kernel would have a packet to this place leave from. Nothing is sent.
fn origin(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn overlap(one: RangeInclusive<u16>, other: RangeInclusive<u16>) -> RangeInclusive<u16> {
    *one.start().max(other.start())..=*one.end().min(other.end())
}

/// The local addresses in the kernel's routing table (fib_trie): an address, and then what it is.
fn addresses(table: &str) -> HashSet<IpAddr> {
    let mut found = HashSet::new();
    let mut address: Option<Ipv4Addr> = None;
    for line in table.lines() {
        if let Some((_, word)) = line.split_once("|-- ") {
            address = word.trim().parse().ok();
        } else if line.trim_end().ends_with("/32 host LOCAL") {
            found.extend(address.map(IpAddr::from));
        }
    }
    found
}

/// The IPv6 addresses of interfaces, as the kernel lists them (if_inet6): 32 digits, and then where.
fn wide_addresses(table: &str) -> impl Iterator<Item = IpAddr> {
    let digits = table.lines().filter_map(|line| line.split_whitespace().next());
    digits.filter_map(|digits| Some(Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?).into()))
}

fn ranges(list: &str) -> Vec<(u16, u16)> {
    let parts = list.trim().split(',');
    parts.filter_map(|part| pair(part, |c| c == '-').or_else(|| part.parse().ok().map(|port| (port, port)))).collect()
}

fn pair(text: &str, between: impl Fn(char) -> bool) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once(between)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));

    fn nat(ports: (u16, u16)) -> Nat {
        Nat { addresses: vec![[192, 0, 2, 1].into(), OURS], ports }
    }

    #[test]
    fn ports_that_others_connect_from_are_told_with_what_to_set() {
        let host = Host { addresses: [OURS].into(), ephemeral: Some((32768, 60999)), reserved: Vec::new() };
        for (ports, advice) in [
            ((1024, 65535), Some("set [nat] ports = \"1024-32767\"")),
            ((30000, 65535), Some("set [nat] ports = \"61000-65279\"")),
            ((40000, 50000), Some("set sysctl net.ipv4.ip_local_port_range")),
            ((60999, 60999), Some("set sysctl net.ipv4.ip_local_port_range")),
            ((1024, 32767), None),
            ((61000, 65535), None),
        ] {
            let said = host.collision(&nat(ports));
            assert_eq!(said.is_some(), advice.is_some(), "{ports:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains("10.0.0.10") && advice.is_some_and(|it| said.contains(it))));
        }
        let elsewhere = Host { addresses: [[10, 0, 0, 11].into()].into(), ..host.clone() };
        assert_eq!(elsewhere.collision(&nat((1024, 65535))), None, "nobody else sends from that address");
        let reserved = Host { reserved: vec![(1024, 40000), (40001, 60999)], ..host.clone() };
        assert_eq!(reserved.collision(&nat((1024, 65535))), None, "nobody is given those ports");
        let partly = Host { reserved: vec![(40000, 60999)], ..host };
        assert!(partly.collision(&nat((1024, 65535))).is_some());
    }

    #[test]
    fn checks_that_leave_from_an_address_of_full_nat_are_told() {
        let config = |health: &str| {
            let text = format!(
                "[nat]\naddresses = [\"192.0.2.1\", \"10.0.0.10\"]\n[[service]]\nname = \"db\"\naddress = \"10.0.0.10\"\n\
                 port = 3306\nprotocol = \"tcp\"\n{health}\nbackends = [{{ address = \"10.0.0.2\", port = 3306 }}]\n"
            );
            Config::parse("test", &text).expect("it is right")
        };
        let host = Host { addresses: [OURS, [10, 0, 0, 4].into()].into(), ..Host::default() };
        for (health, chosen, expected) in [
            ("health = { kind = \"tcp\" }", [10, 0, 0, 10], true),
            ("health = { kind = \"tcp\" }", [10, 0, 0, 4], false),
            // Not the host's, so not what a check can leave from.
            ("health = { kind = \"tcp\" }", [192, 0, 2, 1], false),
            ("health = { kind = \"tcp\", source = \"10.0.0.4\" }", [10, 0, 0, 10], false),
            ("health = { kind = \"tcp\", source = \"10.0.0.10\" }", [10, 0, 0, 4], true),
            ("", [10, 0, 0, 10], false),
        ] {
            let said = host.shared_origin_by(&config(health), |_| Some(chosen.into()));
            assert_eq!(said.is_some(), expected, "{health}, {chosen:?}");
            assert!(said.is_none_or(|said| said.contains("\"db\" leave from 10.0.0.10, ")));
        }
    }

    #[test]
    fn answers_that_a_service_would_take_are_told() {
        let config = |ports: &str, health: &str| {
            let text = format!(
                "[nat]\naddresses = [\"192.0.2.1\"]\n[[service]]\nname = \"all\"\naddress = \"10.0.0.10\"\nport = {ports}\n\
                 protocol = \"udp\"\nbackends = [{{ address = \"10.0.0.2\", port = 0 }}]\n[[service]]\nname = \"dns\"\n\
                 address = \"192.0.2.53\"\nport = 53\nprotocol = \"udp\"\nhealth = {{ {health} }}\n\
                 backends = [{{ address = \"10.0.0.3\", port = 53 }}]\n"
            );
            Config::parse("test", &text).expect("it is right")
        };
        let host = Host { addresses: [OURS, [10, 0, 0, 4].into()].into(), ..Host::default() };
        let dns = "kind = \"dns\", name = \".\"";
        for (ports, health, expected) in [
            ("0", dns, true),
            ("\"60000-65535\"", dns, true),
            ("\"60000-65279\"", dns, false),
            ("0", "kind = \"dns\", name = \".\", source = \"10.0.0.4\"", false),
            ("0", "kind = \"tcp\"", false),
        ] {
            let said = host.swallowed_answers_by(&config(ports, health), |_| Some(OURS));
            assert_eq!(said.is_some(), expected, "{ports}, {health}: {said:?}");
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\nLocal:\n     +-- 127.0.0.0/8 2 0 2\n\
                     |-- 127.0.0.0\n           /8 host LOCAL\n           |-- 127.0.0.1\n              /32 host LOCAL\n     |-- \
                     10.0.0.10\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(addresses(table), HashSet::from([Ipv4Addr::LOCALHOST.into(), OURS]));
        assert_eq!(pair("32768\t60999\n", char::is_whitespace), Some((32768, 60999)));
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000010 02 40 00 80    veth6\n";
        let wide: Vec<_> = wide_addresses(table).map(|address| address.to_string()).collect();
        assert_eq!(wide, ["::1", "fd00::10"]);
        assert_eq!(ranges("8080,9000-9010\n"), [(8080, 8080), (9000, 9010)]);
        assert_eq!(ranges("\n"), []);
    }

    #[test]
    fn this_host_has_what_every_host_has() {
        let host = Host::here();
        assert!(host.ephemeral.is_some_and(|(first, last)| first < last), "{host:?}");
    }
}
