//! The scene that the tests share: one service address, one NAT address, two backends.

use super::memory_plane::MemoryPlane;
use evenkeel_core::flow::{Key as _, Peer, State};
use evenkeel_core::{BackendRef, Service, Word};
use evenkeel_packets::{ACK, Draft, FIN, Mac, RST, SYN, View, end, tcp, udp};
use evenkeel_wire::{IpProtocol, Port};
use std::net::{IpAddr, SocketAddr};

/// A TCP service.
pub(crate) const WEB: SocketAddr = end([10, 0, 0, 10], 80);
/// A UDP service, by the same backends.
pub(crate) const DNS: SocketAddr = end([10, 0, 0, 10], 80);
pub(crate) const NAT: IpAddr = end([10, 0, 0, 12], 0).ip();
pub(crate) const SECOND_NAT: IpAddr = end([10, 0, 0, 13], 0).ip();
/// Where the first backend listens: not on the service's port.
pub(crate) const H2: SocketAddr = end([10, 0, 1, 2], 8080);
pub(crate) const H3: SocketAddr = end([10, 0, 1, 3], 8080);
/// [`H2`]'s and [`H3`]'s places in the table of backends.
pub(crate) const FIRST: BackendRef = BackendRef { index: 0, generation: 1 };
pub(crate) const SECOND: BackendRef = BackendRef { index: 1, generation: 1 };
/// The Maglev table of both services.
pub(crate) const TABLE: usize = 0;

pub(crate) fn address(end: SocketAddr) -> Peer {
    let IpAddr::V4(address) = end.ip() else { panic!("{end} is not IPv4") };
    Peer { address: address.into(), port: Port::from_number(end.port()) }
}

pub(crate) fn backend_mac(backend: SocketAddr) -> Mac {
    let last = match backend.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    [0x02, 0, 0, 0, 1, last]
}

/// Client number `n`, from 192.0.2.0 upwards.
pub(crate) fn client(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    end([192, 0, 2 + high, low], 40_000)
}

/// The scene in a table of this many buckets; all new connections go to both backends in turn.
pub(crate) fn scene<W: Word + From<u64>>(buckets: u32) -> MemoryPlane<W> {
    let mut plane = MemoryPlane::empty(buckets);
    let service = Service { table: TABLE as u32, flags: Service::PLAIN, idle: 0, newcomers: 0 };
    plane.add_service(WEB.ip(), WEB.port(), IpProtocol::TCP, service);
    plane.add_service(DNS.ip(), DNS.port(), IpProtocol::UDP, service);
    plane.add_nat_address(NAT);
    for backend in [H2, H3] {
        plane.add_backend(backend, WEB, backend_mac(backend));
    }
    plane.set_maglev(TABLE, &[FIRST, SECOND]);
    plane
}

/// One connection, and the packets that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddr,
    /// The NAT address and port that its backend sees.
    pub(crate) nat: SocketAddr,
    pub(crate) backend: SocketAddr,
}

impl Connection {
    /// The client's segment.
    pub(crate) fn says(&self, flags: u8) -> Draft {
        tcp(self.client, WEB, flags)
    }

    /// The backend's segment.
    pub(crate) fn answers(&self, flags: u8) -> Draft {
        tcp(self.backend, self.nat, flags).source_mac(backend_mac(self.backend))
    }

    /// The client's segment that carries nothing.
    pub(crate) fn acknowledges(&self) -> Draft {
        self.says(ACK).payload(b"")
    }

    /// The backend's segment that carries nothing.
    pub(crate) fn is_acknowledged(&self) -> Draft {
        self.answers(ACK).payload(b"")
    }

    pub(crate) fn asks_by_udp(&self) -> Draft {
        udp(self.client, DNS)
    }

    pub(crate) fn answers_by_udp(&self) -> Draft {
        udp(self.backend, self.nat).source_mac(backend_mac(self.backend))
    }

    /// Whether a packet that came out of the plane is this connection's, on its way to the backend.
    pub(crate) fn is_at_backend(&self, view: &View) -> bool {
        (view.from, view.to, view.destination_mac) == (self.nat, self.backend, backend_mac(self.backend))
    }
}

impl<W: Word + From<u64>> MemoryPlane<W> {
    /// The client's SYN, and what it opened.
    #[track_caller]
    pub(crate) fn open(&self, client: SocketAddr) -> Connection {
        let view = self.to_backend(&tcp(client, WEB, SYN));
        Connection { client, nat: view.from, backend: view.to }
    }

    /// A connection after its handshake.
    #[track_caller]
    pub(crate) fn establish(&self, client: SocketAddr) -> Connection {
        let connection = self.open(client);
        self.to_client(&connection.answers(SYN | ACK));
        self.to_backend(&connection.says(ACK));
        connection
    }

    /// The client's datagram, and what it opened.
    #[track_caller]
    pub(crate) fn open_udp(&self, client: SocketAddr) -> Connection {
        let view = self.to_backend(&udp(client, DNS));
        Connection { client, nat: view.from, backend: view.to }
    }

    /// A datagram there and one back.
    #[track_caller]
    pub(crate) fn answered_udp(&self, client: SocketAddr) -> Connection {
        let flow = self.open_udp(client);
        self.to_client(&flow.answers_by_udp());
        flow
    }

    /// Datagrams that go on for longer than a question and its answer.
    #[track_caller]
    pub(crate) fn stream(&self, client: SocketAddr) -> Connection {
        let flow = self.answered_udp(client);
        self.wait(2);
        self.to_backend(&flow.asks_by_udp());
        flow
    }

    /// FIN from both sides.
    #[track_caller]
    pub(crate) fn close(&self, connection: &Connection) {
        self.to_backend(&connection.says(FIN | ACK));
        self.to_client(&connection.answers(FIN | ACK));
    }

    #[track_caller]
    pub(crate) fn reset(&self, connection: &Connection) {
        self.to_client(&connection.answers(RST));
    }

    /// Both directions carry a segment with data, each to where it belongs.
    #[track_caller]
    pub(crate) fn assert_works(&self, connection: &Connection) {
        self.assert_carries(connection, &connection.says(ACK));
        self.assert_carries(connection, &connection.answers(ACK));
    }

    /// Both directions carry an acknowledgement of what was sent before.
    #[track_caller]
    pub(crate) fn assert_acknowledges(&self, connection: &Connection) {
        self.assert_carries(connection, &connection.acknowledges());
        self.assert_carries(connection, &connection.is_acknowledged());
    }

    /// The connection's segment goes to where it belongs.
    #[track_caller]
    pub(crate) fn assert_carries(&self, connection: &Connection, segment: &Draft) {
        if segment.from == connection.client {
            let view = self.to_backend(segment);
            assert!(connection.is_at_backend(&view), "{connection:?}: {view:?}");
        } else {
            let view = self.to_client(segment);
            assert_eq!((view.from, view.to), (WEB, connection.client), "{connection:?}: {view:?}");
        }
    }
}

impl<W: Word + From<u64>> MemoryPlane<W> {
    /// The states of the client entry and the reply entry.
    pub(crate) fn states(&self, connection: &Connection) -> (State, State) {
        let state = |from: SocketAddr, to: SocketAddr| {
            let key = (address(from), address(to));
            let entries = self.remembered();
            let mut found = entries.iter().filter(|entry| (entry.key.source(), entry.key.destination()) == key);
            let state = found.next().map_or(State::Free, |entry| entry.meta.state());
            assert!(found.next().is_none(), "{from:?} to {to:?} is in the table twice");
            state
        };
        (state(connection.client, WEB), state(connection.backend, connection.nat))
    }

    /// Both entries are in this state.
    #[track_caller]
    pub(crate) fn assert_state(&self, connection: &Connection, state: State) {
        assert_eq!(self.states(connection), (state, state), "{connection:?}");
    }
}
