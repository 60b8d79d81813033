//! What a configuration shares with other programs of the host, and what it must not share.

use crate::config::Nat;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// What of a host's network its programs connect from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses.
    pub addresses: HashSet<Ipv4Addr>,
    /// The ports that the kernel gives to whoever asks for any (ip(7), `ip_local_port_range`).
    pub ephemeral: Option<(u16, u16)>,
    /// Those of them that it gives to nobody (`ip_local_reserved_ports`).
    pub reserved: Vec<(u16, u16)>,
}

impl Host {
    /// The host, or the network namespace, that we are in. What cannot be read is taken to be nothing.
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            addresses: addresses(&read("/proc/thread-self/net/fib_trie")),
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

fn overlap(one: RangeInclusive<u16>, other: RangeInclusive<u16>) -> RangeInclusive<u16> {
    *one.start().max(other.start())..=*one.end().min(other.end())
}

/// The local addresses in the kernel's routing table (fib_trie): an address, and then what it is.
fn addresses(table: &str) -> HashSet<Ipv4Addr> {
    let mut found = HashSet::new();
    let mut address: Option<Ipv4Addr> = None;
    for line in table.lines() {
        if let Some((_, word)) = line.split_once("|-- ") {
            address = word.trim().parse().ok();
        } else if line.trim_end().ends_with("/32 host LOCAL") {
            found.extend(address);
        }
    }
    found
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

    const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

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
    fn what_the_kernel_writes_is_read() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\nLocal:\n     +-- 127.0.0.0/8 2 0 2\n\
                     |-- 127.0.0.0\n           /8 host LOCAL\n           |-- 127.0.0.1\n              /32 host LOCAL\n     |-- \
                     10.0.0.10\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(addresses(table), HashSet::from([Ipv4Addr::LOCALHOST, OURS]));
        assert_eq!(pair("32768\t60999\n", char::is_whitespace), Some((32768, 60999)));
        assert_eq!(ranges("8080,9000-9010\n"), [(8080, 8080), (9000, 9010)]);
        assert_eq!(ranges("\n"), []);
    }

    #[test]
    fn this_host_has_what_every_host_has() {
        let host = Host::here();
        assert!(host.ephemeral.is_some_and(|(first, last)| first < last), "{host:?}");
    }
}
