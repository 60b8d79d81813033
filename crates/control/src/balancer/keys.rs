//! What services and backends are known by, as the tables hold it.

use crate::config::{Protocol, ServiceId};
use evenkeel_core::ServiceKey;
use evenkeel_core::flow::Peer;
use evenkeel_wire::Port;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn service_key(service: ServiceId) -> ServiceKey {
    let address = match service.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let (port, protocol) = (Port::from_number(service.port), service.protocol.on_the_wire());
    ServiceKey { address: address.octets(), port, protocol, reserved: 0 }
}

/// The inverse of [`service_key`]; nothing if no service can have the protocol.
pub(super) fn service_id(key: &ServiceKey) -> Option<ServiceId> {
    let address = IpAddr::from(key.address).to_canonical();
    Some(ServiceId { address, port: key.port.number(), protocol: Protocol::from_wire(key.protocol)? })
}

pub(super) fn peer(address: Ipv4Addr, port: u16) -> Peer {
    Peer { address: address.into(), port: Port::from_number(port) }
}

/// An address as the tables of backends, addresses and flows hold it, where they can.
pub(super) fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
