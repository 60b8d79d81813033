//! What a file can say, in the order of its sections.

use super::dataplane::{Dataplane, Kind};
use super::fault::ConfigError;
use super::id::BackendId;
use super::service::{Reply, Service};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dataplane]`
    pub dataplane: Dataplane,
    /// `[nat]`
    pub nat: Nat,
    /// `[[service]]`
    pub services: Vec<Service>,
    /// `[metrics]`
    pub metrics: Metrics,
}

/// `[metrics]`: what monitoring may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where Prometheus finds `/metrics`; without it, nowhere.
    pub listen: Option<SocketAddr>,
}

/// `[nat]`: what full NAT sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Source addresses, of either family: each for backends of its own.
    pub addresses: Vec<IpAddr>,
    /// First and last source port.
    pub ports: (u16, u16),
}

/// The ports that health checks leave from, wherever `[nat]` has others as well: the last ones, which nothing else asks for.
const CHECK_PORTS: (u16, u16) = (65280, 65535);

impl Nat {
    /// First and last source port of health checks, which full NAT leaves to them: 65280-65535, or if `ports` has nothing below
    /// those, the 256 ports below `ports`.
    pub fn check_ports(&self) -> (u16, u16) {
        let (first, _) = self.ports;
        if first >= CHECK_PORTS.0 { (first - 256, first - 1) } else { CHECK_PORTS }
    }

    /// First and last source port of full NAT: `ports` without those of health checks.
    pub fn own_ports(&self) -> (u16, u16) {
        let (first, last) = self.ports;
        if first >= CHECK_PORTS.0 { self.ports } else { (first, last.min(CHECK_PORTS.0 - 1)) }
    }

    /// The addresses of this one's family.
    pub fn like(&self, address: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied().filter(move |own| own.is_ipv6() == address.is_ipv6())
    }

    /// IPv4 addresses, in their order.
    pub fn ipv4(&self) -> Vec<Ipv4Addr> {
        let ipv4 = |address: &IpAddr| if let IpAddr::V4(address) = address { Some(*address) } else { None };
        self.addresses.iter().filter_map(ipv4).collect()
    }

    /// IPv6 addresses, in their order.
    pub fn ipv6(&self) -> Vec<Ipv6Addr> {
        let ipv6 = |address: &IpAddr| if let IpAddr::V6(address) = address { Some(*address) } else { None };
        self.addresses.iter().filter_map(ipv6).collect()
    }

    /// How many connections full NAT can have to one place at this address where a backend listens: ports of all addresses of
    /// its family.
    pub fn room(&self, backend: IpAddr) -> u64 {
        let (first, last) = self.own_ports();
        (u64::from(last) - u64::from(first) + 1) * self.like(backend).count() as u64
    }
}

impl Config {
    /// Whether answers of some service follow the host's routes.
    pub fn follows_routes(&self) -> bool {
        self.services.iter().any(|service| service.reply == Reply::Route)
    }

    /// What the backends of all services are known by.
    pub fn backend_ids(&self) -> impl Iterator<Item = BackendId> {
        self.services.iter().flat_map(Service::backend_ids)
    }

    /// Whether some service has an IPv6 address.
    pub fn has_ipv6(&self) -> bool {
        self.services.iter().any(|service| service.address.is_ipv6())
    }

    /// How many ports services have; any counts as one.
    pub fn service_keys(&self) -> usize {
        self.services.iter().map(|service| service.ports().len()).sum()
    }

    /// Whether this file is for another plane.
    ///
    /// # Errors
    /// It is; `name` is what the message calls it.
    pub fn check_kind(&self, name: &str, kind: Kind) -> Result<(), ConfigError> {
        let (is, program) = match self.dataplane.kind {
            Some(Kind::Xdp) if kind != Kind::Xdp => ("xdp", "evenkeel run"),
            Some(Kind::Dpdk) if kind != Kind::Dpdk => ("dpdk", "evenkeel-dpdk"),
            _ => return Ok(()),
        };
        Err(ConfigError::OtherPlane { path: name.to_owned(), is, program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_full_nat_share_no_port() {
        for (ports, own, checks) in [
            ((1024, 65535), (1024, 65279), (65280, 65535)),
            ((1024, 32767), (1024, 32767), (65280, 65535)),
            ((65000, 65300), (65000, 65279), (65280, 65535)),
            ((65280, 65535), (65280, 65535), (65024, 65279)),
            ((65500, 65500), (65500, 65500), (65244, 65499)),
        ] {
            let wide = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            let nat = Nat { addresses: vec![[192, 0, 2, 1].into(), wide.into(), [192, 0, 2, 2].into()], ports };
            assert_eq!((nat.own_ports(), nat.check_ports()), (own, checks), "{ports:?}");
            let room = u64::from(own.1 - own.0) + 1;
            assert_eq!(
                (nat.room([10, 0, 0, 2].into()), nat.room(wide.into())),
                (2 * room, room),
                "each family by itself"
            );
            assert_eq!((nat.ipv4().len(), nat.ipv6()), (2, vec![wide]));
        }
    }
}
