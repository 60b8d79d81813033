//! What the families of addresses in a file have to do with each other.

use super::fault::Faults;
use super::file::Config;
use super::service::{Reply, Service};
use super::spans::ServiceSpans;
use std::net::IpAddr;

/// Adds what a service of one family cannot have.
pub(super) fn check(config: &Config, service: &Service, at: &ServiceSpans, faults: &mut Faults) {
    let family = |address: IpAddr| if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let own = family(service.address);
    if !config.nat.addresses.is_empty() && config.nat.like(service.address).next().is_none() {
        let message = format!(
            "the connections of a service with an {own} address are sent from an {own} address, and [nat] addresses has none"
        );
        faults.add(at.address.clone(), message);
    }
    for (backend, at) in service.backends.iter().zip(&at.backends) {
        let other = family(backend.address);
        if own != other {
            let message = format!(
                "backend {} has an {other} address, and its service an {own} one: they must be of the same family, since packets \
                 are not translated from one to the other yet",
                backend.address
            );
            faults.add(at.address.clone(), message);
        }
    }
    if service.address.is_ipv6() && service.reply == Reply::Route {
        let message = "reply = \"route\" is for services with an IPv4 address only yet: answers of this one go to where packets come \
                       from, as with reply = \"source\"";
        faults.add(at.reply.clone(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[dataplane]
interface = "veth6"
[nat]
addresses = ["10.0.0.10", "2001:db8::10"]
[[service]]
name = "web"
address = "2001:db8::10"
port = 80
protocol = "tcp"
backends = [{ address = "2001:db8::2", port = 80 }, { address = "2001:db8::3", port = 80 }]
[[service]]
name = "old"
address = "10.0.0.10"
port = 80
protocol = "tcp"
backends = [{ address = "10.0.0.2", port = 80 }]
"#;

    #[test]
    fn services_of_either_family_stand_beside_each_other() {
        let config = Config::parse("good.toml", GOOD).expect("it is right");
        assert!(config.has_ipv6());
        let ids: Vec<_> = config.backend_ids().map(|id| format!("{} {id}", id.service)).collect();
        assert_eq!(
            ids,
            [
                "tcp [2001:db8::10]:80 [2001:db8::2]:80",
                "tcp [2001:db8::10]:80 [2001:db8::3]:80",
                "tcp 10.0.0.10:80 10.0.0.2:80"
            ]
        );
        let sizes = crate::Sizes::for_config(&config);
        assert_eq!((sizes.flows, sizes.wide_flows), (1 << 20, 1 << 20));
        assert!(crate::features(&config).include(evenkeel_core::Features::IPV6));
        let mut one = config.clone();
        one.services.remove(0);
        assert_eq!(
            (one.has_ipv6(), crate::Sizes::for_config(&one).wide_buckets()),
            (false, 1),
            "what nobody uses is small"
        );
        assert!(!crate::features(&one).include(evenkeel_core::Features::IPV6));
    }

    #[test]
    fn what_can_never_be_is_refused_with_its_place() {
        let mut wrong_places = Vec::new();
        let service = "address = \"2001:db8::10\"\n";
        for (right, wrong, place, words) in [
            // Addresses that no service, no backend and no [nat] can have.
            (service, "address = \"::\"\n", "7:11: ", ":: cannot be the address of a service: no single host"),
            (service, "address = \"::1\"\n", "7:11: ", "::1 cannot be the address of a service: no single host"),
            (
                service,
                "address = \"ff02::1\"\n",
                "7:11: ",
                "ff02::1 cannot be the address of a service: no single host",
            ),
            (service, "address = \"::10.0.0.1\"\n", "7:11: ", "cannot be the address of a service: no single host"),
            (
                service,
                "address = \"fe80::1\"\n",
                "7:11: ",
                "fe80::1 cannot be the address of a service: it is link-local",
            ),
            (
                service,
                "address = \"::ffff:10.0.0.9\"\n",
                "7:11: ",
                "an IPv4 address in another spelling: write 10.0.0.9",
            ),
            (
                service,
                "address = \"[2001:db8::10]\"\n",
                "7:11: ",
                "neither brackets nor a port here: write \"2001:db8::10\"",
            ),
            (service, "address = \"[2001:db8::10]:80\"\n", "7:11: ", "neither brackets nor a port here"),
            (service, "address = \"fd00::10%eth0\"\n", "7:11: ", "an address has no zone here (%eth0)"),
            (
                service,
                "address = \"2001:db8::10::\"\n",
                "7:11: ",
                "is no address: one is like 192.0.2.10 or 2001:db8::10",
            ),
            (service, "address = \"2001:db8:::10\"\n", "7:11: ", "is no address"),
            (service, "address = \"2001:db8::10000\"\n", "7:11: ", "is no address"),
            ("\"2001:db8::2\"", "\"ff05::2\"", "10:25: ", "ff05::2 cannot be the address of a backend"),
            ("\"2001:db8::2\"", "\"fe80::2\"", "10:25: ", "cannot be the address of a backend: it is link-local"),
            ("\"2001:db8::2\"", "\"::ffff:10.0.0.2\"", "10:25: ", "write 10.0.0.2"),
            ("\"10.0.0.10\", \"2", "\"ff02::1\", \"2", "4:13: ", "ff02::1 cannot be the address of [nat]"),
            ("\"10.0.0.10\", \"2", "\"fe80::1%2\", \"2", "4:14: ", "has no zone here"),
            // The same in other spellings.
            ("\"2001:db8::2\"", "\"2001:0DB8:0:0::3\"", "10:70: ", "backend 2001:db8::3 port 80 is listed twice"),
            ("\"10.0.0.10\", \"2", "\"10.0.0.10\", \"2001:db8:0::10\", \"2", "4:13: ", "2001:db8::10 is listed twice"),
            ("\"2001:db8::2\"", "\"2001:db8:0:0:0:0:0:10\"", "10:25: ", "backend 2001:db8::10 is the balancer itself"),
            (
                "name = \"old\"\naddress = \"10.0.0.10\"",
                "name = \"old\"\naddress = \"2001:DB8::10\"",
                "13:11: ",
                "service \"web\" has the same address, port and protocol",
            ),
            // Families.
            (
                ", \"2001:db8::10\"]",
                "]",
                "7:11: ",
                "a service with an IPv6 address are sent from an IPv6 address, and [nat] addresses has none",
            ),
            ("\"10.0.0.10\", ", "", "13:11: ", "a service with an IPv4 address are sent from an IPv4 address"),
            (
                "\"2001:db8::3\"",
                "\"10.0.0.3\"",
                "10:65: ",
                "backend 10.0.0.3 has an IPv4 address, and its service an IPv6 one: ",
            ),
            (
                "\"10.0.0.2\"",
                "\"2001:db8::2\"",
                "16:25: ",
                "backend 2001:db8::2 has an IPv6 address, and its service an IPv4 one: ",
            ),
            (
                "name = \"web\"",
                "name = \"web\"\nreply = \"route\"",
                "7:9: ",
                "reply = \"route\" is for services with an IPv4 address only",
            ),
            (
                "interface = \"veth6\"",
                "mtu = 1279",
                "2:7: ",
                "mtu must be at least 1280 where a service has an IPv6 address",
            ),
            // Checks.
            (
                "name = \"web\"",
                "name = \"web\"\nhealth = { kind = \"tcp\", source = \"10.0.0.4\" }",
                "11:25: ",
                "cannot be asked from an address of the other family",
            ),
            (
                "name = \"web\"",
                "name = \"web\"\nhealth = { kind = \"tcp\", source = \"fe80::1\" }",
                "7:35: ",
                "source: fe80::1 is link-local",
            ),
            (
                "name = \"web\"",
                "name = \"web\"\nhealth = { kind = \"tcp\", source = \"ff02::1\" }",
                "7:35: ",
                "source: ff02::1 is no single host's",
            ),
            (
                "name = \"web\"",
                "name = \"web\"\nhealth = { kind = \"tcp\", source = \"::\" }",
                "7:35: ",
                "source: :: is no single host's",
            ),
            (
                "name = \"web\"",
                "name = \"web\"\nhealth = { kind = \"tcp\", address = \"::ffff:10.0.0.2\" }",
                "7:36: ",
                "address: ::ffff:10.0.0.2 is an IPv4 address in another spelling",
            ),
        ] {
            assert_eq!(GOOD.matches(right).count(), 1, "{right:?} is one place of the good file");
            let error = Config::parse("bad.toml", &GOOD.replace(right, wrong)).map(|_| ());
            let told = error.map_or_else(|error| error.to_string(), |()| "it is taken".to_owned());
            let first = told.lines().next().unwrap_or_default();
            let said = first.strip_prefix("bad.toml:").unwrap_or_default();
            if !said.starts_with(place) || !said.contains(words) {
                wrong_places.push(format!("{wrong:?}: {told}, and not {place}{words}"));
            }
        }
        assert!(wrong_places.is_empty(), "{}", wrong_places.join("\n"));
    }
}
