//! A plane, its control side, and packets through it.

use super::family::v4;
use super::ledger::{Connection, Ledger};
use super::outcome::Outcome;
use super::plane::PlaneUnderTest;
use super::scenes::backend_mac;
use super::setup::{SECRETS, Setup};
use super::{dpdk, xdp};
use evenkeel_control::config::Protocol;
use evenkeel_control::{Balancer, Config, NextHop, Plane};
use evenkeel_core::flow::{Now, Peer};
use evenkeel_core::{Counters, Event, Reason, Verdict};
use evenkeel_dpdk::Eal;
use evenkeel_packets::scapy::{self, Translation};
use evenkeel_packets::{ACK, Draft, FIN, Mac, Packet, SYN, Transport, tcp, udp};
use evenkeel_wire::{MacAddress, Port};
use std::net::{IpAddr, SocketAddr};

/// Which plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum On {
    Xdp,
    Dpdk,
}

/// Runs a test on a plane, then asks scapy about everything that was sent.
pub fn trial(on: On, setup: Setup, test: impl FnOnce(&mut Rig)) {
    match on {
        On::Xdp => {
            if let Some(plane) = xdp::load(&setup) {
                try_out(PlaneUnderTest::Xdp(plane), setup, test);
            }
        }
        On::Dpdk => trial_on_dpdk(dpdk::eal(), setup, test),
    }
}

/// The same on DPDK, with an EAL of the test's own.
pub fn trial_on_dpdk(eal: &Eal, setup: Setup, test: impl FnOnce(&mut Rig)) {
    let with = setup.clone();
    dpdk::with_port(eal, &with, |dpdk| try_out(PlaneUnderTest::Dpdk(dpdk), setup, test));
}

fn try_out(plane: PlaneUnderTest, setup: Setup, test: impl FnOnce(&mut Rig)) {
    let mut rig = Rig {
        balancer: Balancer::new(plane, &SECRETS),
        config: setup.config.clone(),
        unresolved: setup.unresolved,
        ledger: Ledger::default(),
        translations: Vec::new(),
        answers: Vec::new(),
    };
    rig.apply(&setup.config);
    test(&mut rig);
    scapy::judge(&rig.translations);
    scapy::read(&rig.answers);
}

/// A plane and everything that was seen of it.
#[expect(missing_debug_implementations, reason = "the plane has none")]
pub struct Rig<'a, 'p> {
    balancer: Balancer<PlaneUnderTest<'a, 'p>>,
    config: Config,
    unresolved: Vec<IpAddr>,
    ledger: Ledger,
    translations: Vec<Translation>,
    /// What was sent that is no packet of a connection.
    answers: Vec<Vec<u8>>,
}

impl<'a, 'p> Rig<'a, 'p> {
    /// The plane.
    pub fn plane(&self) -> &PlaneUnderTest<'a, 'p> {
        self.balancer.plane()
    }

    /// The control side.
    pub fn balancer(&mut self) -> &mut Balancer<PlaneUnderTest<'a, 'p>> {
        &mut self.balancer
    }

    /// The configuration that was applied last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Forgets every connection, as a fresh plane would.
    pub fn forget(&mut self) {
        self.plane().forget();
        self.ledger.clear();
    }

    /// Makes the tables what this configuration wants, and every backend's Ethernet address known.
    pub fn apply(&mut self, config: &Config) {
        self.balancer.apply(config).expect("the tables are large enough");
        self.config = config.clone();
        for address in self.balancer.backend_addresses() {
            if !self.unresolved.contains(&address) {
                self.set_next_hop(address, backend_mac(address));
            }
        }
    }

    /// Tells where packets for this backend must be sent.
    pub fn set_next_hop(&mut self, address: impl Into<IpAddr>, mac: Mac) {
        let address = address.into();
        self.balancer.set_next_hop(NextHop { address, mac: MacAddress(mac) }).expect("the backend has a place");
    }

    /// Now, by the plane's clock.
    pub fn now(&self) -> Now {
        self.plane().now()
    }

    /// Verdicts and events so far.
    pub fn counters(&self) -> Counters {
        self.plane().counters().expect("the counters can be read")
    }

    /// Sends a packet through the plane, and holds what came of it against everything that must be true of any
    /// packet: one reason was counted, and it is the verdict's; what is not sent is as it came; what is sent is what
    /// etherparse makes of the same packet with the addresses that the connection has.
    #[track_caller]
    pub fn send(&mut self, packet: &[u8]) -> Outcome {
        let outcome = self.send_any(packet);
        if outcome.reason.verdict() == Verdict::Transmit {
            let input = Packet::of(packet).expect("etherparse reads what is sent");
            let output = Packet::of(&outcome.sent).expect("etherparse reads what was sent");
            if let Some(answer) = answer(outcome.reason, &input) {
                assert_eq!(outcome.sent, answer.bytes(), "etherparse would have answered otherwise (right)");
                self.answers.push(outcome.sent.clone());
                return outcome;
            }
            let opened = outcome.happened(Event::FlowOpened) > 0;
            let change = self.ledger.expect(&self.config, outcome.reason, opened, &input, &output);
            let expected = input.changed(&change).bytes();
            assert_eq!(outcome.sent, expected, "etherparse would have sent other bytes (right): {change:?}");
            self.translations.push(Translation { input: packet.to_vec(), change, output: outcome.sent.clone() });
        }
        outcome
    }

    /// The same for a packet that no oracle reads.
    #[track_caller]
    pub fn send_any(&self, packet: &[u8]) -> Outcome {
        Outcome::of(self.plane(), packet)
    }

    /// The reason that a packet gets.
    #[track_caller]
    pub fn reason(&mut self, draft: &Draft) -> Reason {
        self.send(&draft.bytes()).reason
    }

    /// A packet that must get this reason.
    #[track_caller]
    pub fn expect(&mut self, draft: &Draft, reason: Reason) -> Outcome {
        let outcome = self.send(&draft.bytes());
        assert_eq!(outcome.reason, reason, "{draft:?}");
        outcome
    }

    /// The client's first packet, and the connection that it opened.
    #[track_caller]
    pub fn open(&mut self, protocol: Protocol, client: SocketAddr, service: SocketAddr) -> Connection {
        let first = match protocol {
            Protocol::Tcp => tcp(client, service, SYN),
            Protocol::Udp => udp(client, service),
        };
        let outcome = self.expect(&first, Reason::ToBackend);
        assert_eq!(outcome.happened(Event::FlowOpened), 1, "{first:?} is not the connection's first");
        self.known(protocol, client, service)
    }

    /// The connection that this client has to this service.
    #[track_caller]
    pub fn known(&self, protocol: Protocol, client: SocketAddr, service: SocketAddr) -> Connection {
        self.ledger.connection((protocol, client, service)).expect("it was opened")
    }

    /// A connection after its handshake: both sides have spoken, and the client again after that.
    #[track_caller]
    pub fn establish(&mut self, protocol: Protocol, client: SocketAddr, service: SocketAddr) -> Connection {
        let connection = self.open(protocol, client, service);
        self.expect(&connection.answers(SYN | ACK), Reason::ToClient);
        self.expect(&connection.says(ACK), Reason::ToBackend);
        connection
    }

    /// Both sides of the connection carry a packet, each to where it belongs, and nothing is opened for it.
    #[track_caller]
    pub fn assert_works(&mut self, connection: &Connection) {
        let outcome = self.expect(&connection.says(ACK), Reason::ToBackend);
        assert_eq!(outcome.happened(Event::FlowOpened), 0, "{connection:?} was opened again");
        self.expect(&connection.answers(ACK), Reason::ToClient);
        let Connection { protocol, client, service, .. } = *connection;
        let now = self.known(protocol, client, service);
        assert_eq!((now.nat, now.backend), (connection.nat, connection.backend), "the connection has moved");
    }

    /// FIN from both sides.
    #[track_caller]
    pub fn close(&mut self, connection: &Connection) {
        self.expect(&connection.says(FIN | ACK), Reason::ToBackend);
        self.expect(&connection.answers(FIN | ACK), Reason::ToClient);
    }
}

impl Connection {
    /// The client's packet; the control bits mean something for TCP only.
    pub fn says(&self, flags: u8) -> Draft {
        let draft = match self.protocol {
            Protocol::Tcp => tcp(self.client, self.service, flags),
            Protocol::Udp => udp(self.client, self.service),
        };
        draft.source_mac(self.client_mac)
    }

    /// The backend's packet.
    pub fn answers(&self, flags: u8) -> Draft {
        let draft = match self.protocol {
            Protocol::Tcp => tcp(self.backend, self.nat, flags),
            Protocol::Udp => udp(self.backend, self.nat),
        };
        draft.source_mac(backend_mac(self.backend.ip()))
    }
}

/// What a packet is answered by, if this is why it was sent.
fn answer(reason: Reason, packet: &Packet) -> Option<Packet> {
    let packet = packet.clone();
    match (reason, &packet.transport) {
        (Reason::Refused | Reason::ResetMissing | Reason::ResetDown | Reason::ResetStale, _) => Some(packet.reset()),
        (Reason::UnservedRefused, Transport::Tcp(_)) => Some(packet.reset()),
        (Reason::UnservedRefused, _) => Some(packet.unreachable()),
        (Reason::TimeExceeded, _) => Some(packet.time_exceeded()),
        _ => None,
    }
}

/// An end as the core has it.
pub(crate) fn peer(end: SocketAddr) -> Peer {
    Peer { address: v4(end.ip()).into(), port: Port::from_number(end.port()) }
}
