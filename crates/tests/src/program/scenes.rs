//! Configurations that the tests share.

use evenkeel_control::Config;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use evenkeel_packets::{Mac, end};

/// A web service: port 80 for clients, 8080 and 8081 on the backends, weights 1, 3 and 1.
pub const WEB: SocketAddr = end([203, 0, 113, 10], 80);
/// A UDP service on the same address, 5353 on the backends.
pub const DNS: SocketAddr = end([203, 0, 113, 10], 53);
/// A service that keeps each client address on one backend.
pub const STICKY: SocketAddr = end([203, 0, 113, 11], 443);
/// An address whose every UDP port is a service; the port is one of many.
pub const ANY: SocketAddr = end([203, 0, 113, 12], 4433);
/// A service without backends.
pub const EMPTY: SocketAddr = end([203, 0, 113, 10], 81);
/// The same, that refuses connections.
pub const REFUSING: SocketAddr = end([203, 0, 113, 10], 83);
/// A service that lets ten newcomers a second in at their first try.
pub const LIMITED: SocketAddr = end([203, 0, 113, 10], 84);
/// A service whose answers follow routes.
pub const ROUTED: SocketAddr = end([203, 0, 113, 10], 85);
/// A service whose one backend has no known Ethernet address.
pub const LOST: SocketAddr = end([203, 0, 113, 10], 82);
/// The backend of [`LOST`].
pub const LOST_BACKEND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
/// The NAT addresses.
pub const NAT: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
/// The address of the walk-through's balancer.
pub const WALKTHROUGH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

/// A backend's Ethernet address.
pub fn backend_mac(backend: impl Into<IpAddr>) -> Mac {
    match backend.into() {
        IpAddr::V4(address) => {
            let [_, b, c, d] = address.octets();
            [0x02, 0, 1, b, c, d]
        }
        IpAddr::V6(address) => {
            let [.., b, c, d] = address.octets();
            [0x02, 0, 6, b, c, d]
        }
    }
}

/// Client number `n`; all have the same source port.
pub fn client(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    end([192, 0, 2 + high, low], 40_000)
}

/// Everything that a configuration can say, in one.
pub fn rich() -> Config {
    let text = r#"
        [nat]
        addresses = ["198.51.100.1", "198.51.100.2"]
        ports = "20000-39999"

        [[service]]
        name = "web"
        address = "203.0.113.10"
        port = 80
        protocol = "tcp"
        backends = [
            { address = "10.1.0.1", port = 8080 },
            { address = "10.1.0.2", port = 8080, weight = 3 },
            { address = "10.1.0.3", port = 8081 },
        ]

        [[service]]
        name = "dns"
        address = "203.0.113.10"
        port = 53
        protocol = "udp"
        backends = [{ address = "10.1.0.1", port = 5353 }, { address = "10.1.0.2", port = 5353 }]

        [[service]]
        name = "sticky"
        address = "203.0.113.11"
        port = 443
        protocol = "tcp"
        affinity = "client-address"
        backends = [
            { address = "10.1.0.1", port = 8443 },
            { address = "10.1.0.2", port = 8443 },
            { address = "10.1.0.3", port = 8443 },
        ]

        [[service]]
        name = "any"
        address = "203.0.113.12"
        port = 0
        protocol = "udp"
        backends = [{ address = "10.1.0.1", port = 0 }, { address = "10.1.0.2", port = 0 }]

        [[service]]
        name = "empty"
        address = "203.0.113.10"
        port = 81
        protocol = "tcp"
        backends = []

        [[service]]
        name = "refusing"
        address = "203.0.113.10"
        port = 83
        protocol = "tcp"
        all-down = "reset"
        backends = []

        [[service]]
        name = "limited"
        address = "203.0.113.10"
        port = 84
        protocol = "tcp"
        newcomers = 10
        backends = [{ address = "10.1.0.1", port = 8084 }]

        [[service]]
        name = "routed"
        address = "203.0.113.10"
        port = 85
        protocol = "tcp"
        reply = "route"
        backends = [{ address = "10.1.0.1", port = 8085 }]

        [[service]]
        name = "lost"
        address = "203.0.113.10"
        port = 82
        protocol = "tcp"
        backends = [{ address = "10.1.0.9", port = 8082 }]
    "#;
    Config::parse("rich", text).expect("the configuration is right")
}

/// The same with few NAT ports: this range on one address.
pub fn few_ports(first: u16, last: u16) -> Config {
    let mut config = rich();
    config.nat.addresses.truncate(1);
    config.nat.ports = (first, last);
    config
}

/// The same without the services that no connection can be opened to, each with its first backend only.
pub fn one_backend(mut config: Config) -> Config {
    config.services.iter_mut().for_each(|service| service.backends.truncate(1));
    config
}
