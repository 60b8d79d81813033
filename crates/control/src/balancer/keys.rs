//! What services and backends are known by, as the tables hold it.

use crate::config::{Protocol, ServiceId};
use evenkeel_core::{Service, ServiceKey};
use evenkeel_wire::Port;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// The key of a service; IPv4 addresses are mapped (RFC 4291, section 2.5.5.2), so that every service has one.
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

/// What a plane finds services by, as far as services can have it.
pub(super) fn keys(found: &[(ServiceKey, Service)]) -> BTreeMap<ServiceId, Service> {
    found.iter().filter_map(|(key, service)| Some((service_id(key)?, *service))).collect()
}

/// The services that a plane finds, each by its first port: no two have the same Maglev table.
pub(super) fn by_service(found: &[(ServiceKey, Service)]) -> Vec<(ServiceId, Service)> {
    let mut tables = HashSet::new();
    keys(found).into_iter().filter(|(_, service)| tables.insert(service.table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_wire::IpProtocol;
    use std::net::Ipv4Addr;

    fn service(address: &str) -> ServiceId {
        ServiceId { address: address.parse().expect("an address"), port: 80, protocol: Protocol::Udp }
    }

    #[test]
    fn keys_lead_back_to_the_services_that_they_were_made_of() {
        for address in ["192.0.2.10", "2001:db8::10"] {
            assert_eq!(service_id(&service_key(service(address))), Some(service(address)));
        }
        let port = Port::from_number(80);
        let expected = ServiceKey::ipv4(Ipv4Addr::new(192, 0, 2, 10).into(), port, IpProtocol::UDP);
        assert_eq!(service_key(service("192.0.2.10")), expected);
        assert_eq!(service_id(&ServiceKey { protocol: IpProtocol(1), ..expected }), None);
    }
}
