//! What the balancer has promised: which connection sends from where, and to whom. Kept from what was seen on the wire
//! and from the configuration alone, so that it can say what must become of the next packet.

use super::scenes::backend_mac;
use evenkeel_control::Config;
use evenkeel_control::config::{Protocol, Service};
use evenkeel_core::Reason;
use evenkeel_packets::{Change, Mac, OUR_MAC, Packet, Transport, at};
use std::collections::HashMap;
use std::net::SocketAddr;

/// The TTL of an answer to an echo request.
const ECHO_TTL: u8 = 64;

/// One connection as the wire shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The protocol.
    pub protocol: Protocol,
    /// Where the client speaks from.
    pub client: SocketAddr,
    /// The Ethernet address that the client's last packet came from.
    pub client_mac: Mac,
    /// Where the client believes to speak to.
    pub service: SocketAddr,
    /// Where the backend believes to be spoken to from.
    pub nat: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
}

type Key = (Protocol, SocketAddr, SocketAddr);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By client and service.
    connections: HashMap<Key, Connection>,
    /// Client and service, by backend and NAT address.
    replies: HashMap<Key, Key>,
}

impl Ledger {
    /// What must have become of a packet that was sent for this reason. `opened`: the balancer says that it opened a
    /// connection for it; where that leads is taken from the packet and held against the configuration.
    pub(crate) fn expect(
        &mut self,
        config: &Config,
        reason: Reason,
        opened: bool,
        packet: &Packet,
        sent: &Packet,
    ) -> Change {
        let (from, to) = (packet.source(), packet.destination());
        let ttl = packet.network.hop_limit().wrapping_sub(1);
        let protocol = match packet.transport {
            Transport::Tcp(_) => Protocol::Tcp,
            Transport::Udp(_) => Protocol::Udp,
            Transport::Icmp(_) | Transport::Icmpv6(_) | Transport::None => {
                assert_eq!(reason, Reason::EchoReply);
                let destination_mac = packet.ethernet.source;
                return Change { destination_mac, source_mac: OUR_MAC, source: to, destination: from, ttl: ECHO_TTL };
            }
        };
        let connection = match reason {
            Reason::ToBackend => {
                let key = (protocol, from, to);
                if opened {
                    let client_mac = packet.ethernet.source;
                    let (nat, backend) = (sent.source(), sent.destination());
                    let connection = Connection { protocol, client: from, client_mac, service: to, nat, backend };
                    assert_is_allowed(config, &connection);
                    if let Some(before) = self.connections.insert(key, connection) {
                        let reply = (protocol, before.backend, before.nat);
                        // Unless somebody else has the port by now.
                        if self.replies.get(&reply) == Some(&key) {
                            self.replies.remove(&reply);
                        }
                    }
                    self.replies.insert((protocol, backend, nat), key);
                }
                let Some(connection) = self.connections.get_mut(&key) else {
                    panic!("{from} to {to}: sent on without a connection")
                };
                connection.client_mac = packet.ethernet.source;
                *connection
            }
            Reason::ToClient => {
                let known = self.replies.get(&(protocol, from, to)).and_then(|key| self.connections.get(key));
                *known.unwrap_or_else(|| panic!("{from} to {to}: sent on without a connection"))
            }
            _ => panic!("{} with TCP or UDP", reason.name()),
        };
        let (destination_mac, source, destination) = match reason {
            Reason::ToBackend => (backend_mac(connection.backend.ip()), connection.nat, connection.backend),
            _ => (connection.client_mac, connection.service, connection.client),
        };
        Change { destination_mac, source_mac: OUR_MAC, source, destination, ttl }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.connections.clear();
        self.replies.clear();
    }

    /// The connection of this client to this service.
    pub(crate) fn connection(&self, key: Key) -> Option<Connection> {
        self.connections.get(&key).copied()
    }
}

/// Fails unless the configuration allows a new connection to go this way.
fn assert_is_allowed(config: &Config, connection: &Connection) {
    let (first, last) = config.nat.own_ports();
    assert!(
        config.nat.addresses.iter().any(|&address| address == connection.nat.ip()),
        "not one of our NAT addresses: {connection:?}"
    );
    assert!((first..=last).contains(&connection.nat.port()), "not one of our NAT ports: {connection:?}");
    let Some(service) = service(config, connection.protocol, connection.service) else {
        panic!("for no service: {connection:?}")
    };
    let allowed = service.backends.iter().any(|backend| {
        let port = if backend.port == 0 { connection.service.port() } else { backend.port };
        connection.backend == at(backend.address, port)
    });
    assert!(allowed, "not to a backend of \"{}\": {connection:?}", service.name);
}

fn service(config: &Config, protocol: Protocol, to: SocketAddr) -> Option<&Service> {
    let mut services =
        config.services.iter().filter(|service| service.protocol == protocol && service.address == to.ip());
    let any = services.clone().find(|service| service.port == 0);
    services.find(|service| service.port == to.port()).or(any)
}
