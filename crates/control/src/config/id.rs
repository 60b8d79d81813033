//! What services and backends are known by, in every table of the control side.

use super::protocol::Protocol;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A service: what clients connect to. No two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0: any.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A backend of a service. A host that serves two services is two backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// Whose it is.
    pub service: ServiceId,
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0: the one that the client asked for.
    pub port: u16,
}

impl BackendId {
    /// Where it listens.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Such as `tcp 192.0.2.10:80`.
impl fmt::Display for ServiceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.protocol, SocketAddr::new(self.address, self.port))
    }
}

/// Such as `10.0.0.2:8080`: its service is named beside it wherever that is not plain.
impl fmt::Display for BackendId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_people_write_them() {
        let service = |address: &str| {
            let address = address.parse().expect("an address");
            ServiceId { address, port: 80, protocol: Protocol::Tcp }
        };
        let backend = |address: &str| BackendId {
            service: service("192.0.2.10"),
            address: address.parse().expect("an address"),
            port: 0,
        };
        assert_eq!(service("192.0.2.10").to_string(), "tcp 192.0.2.10:80");
        assert_eq!(service("2001:db8::10").to_string(), "tcp [2001:db8::10]:80");
        assert_eq!(backend("10.0.0.2").to_string(), "10.0.0.2:0");
        assert_eq!(backend("2001:db8::2").to_string(), "[2001:db8::2]:0");
    }
}
