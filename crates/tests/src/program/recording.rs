//! Sessions of real programs, as tcpdump wrote them down in front of a balancer, to be replayed through other ones.
//!
//! Another balancer has other secrets, and so chooses other backends and NAT ports. What a backend sent is kept with the
//! connection that it belonged to, and is sent again from where, and to where, that connection leads now.

use super::twins::{Difference, Twins};
use evenkeel_core::{Reason, Verdict};
use evenkeel_packets::{Change, Mac, Network, Packet, Transport};
use pcap_parser::PcapCapture;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

/// What came to a balancer, in order, and what it sent to clients.
#[derive(Debug, Default)]
pub struct Recording {
    arrivals: Vec<Arrival>,
    to_clients: Vec<Vec<u8>>,
}

/// IP protocol, and who speaks to whom.
type Ends = (u8, SocketAddr, SocketAddr);

#[derive(Debug)]
enum Arrival {
    /// From a client, or nothing that is balanced.
    AsItCame(Vec<u8>),
    /// From the backend of the connection of this client to this service.
    Answer(Ends, Box<Packet>),
}

impl Recording {
    /// Reads a capture that tcpdump made on the cable of a balancer with this Ethernet address.
    pub fn read(path: &Path, balancer: Mac) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let capture = PcapCapture::from_file(&bytes).expect("tcpdump writes captures");
        let mut reader = Reader::default();
        for frame in &capture.blocks {
            assert_eq!(frame.caplen, frame.origlen, "tcpdump has cut a packet");
            // The kernel speaks IPv6 of its own accord, on either side.
            let parsed = Packet::of(frame.data).filter(|packet| matches!(packet.network, Network::V4(_)));
            match parsed {
                Some(packet) if packet.ethernet.source == balancer => reader.departs(packet, frame.data),
                None if frame.data[6..12] == balancer => {}
                packet => reader.arrives(packet, frame.data),
            }
        }
        reader.recording.to_clients.sort();
        reader.recording
    }

    /// How many frames carry this mark in a capture that may still be going on.
    pub fn marked(path: &Path, mark: &[u8]) -> usize {
        let bytes = std::fs::read(path).unwrap_or_default();
        // What is half written is no capture, or lacks its last frame.
        let Ok(capture) = PcapCapture::from_file(&bytes) else { return 0 };
        let is_marked = |data: &[u8]| data.windows(mark.len()).any(|window| window == mark);
        capture.blocks.iter().filter(|frame| is_marked(frame.data)).count()
    }

    /// Sends everything that came through both planes, and gives the reason that each packet got.
    ///
    /// # Errors
    /// The planes are not alike, or clients do not get what they got in the recording.
    pub fn replay(&self, twins: &mut Twins) -> Result<Vec<Reason>, Difference> {
        let mut ways = HashMap::new();
        let mut reasons = Vec::new();
        let mut to_clients = Vec::new();
        for arrival in &self.arrivals {
            let packet = match arrival {
                Arrival::AsItCame(bytes) => bytes.clone(),
                Arrival::Answer(connection, packet) => {
                    let &(nat, backend) = ways.get(connection).ok_or("an answer, and its question was not sent on")?;
                    packet.clone().changed(&redirected(packet, backend, nat)).bytes()
                }
            };
            let outcome = twins.send(&packet)?;
            reasons.push(outcome.reason);
            if outcome.reason == Reason::ToBackend {
                let [packet, sent] = [&packet, &outcome.sent].map(|bytes| Packet::of(bytes).expect("it was sent"));
                ways.insert(ends(&packet).expect("it was balanced"), (sent.source(), sent.destination()));
            } else if outcome.reason.verdict() == Verdict::Transmit {
                to_clients.push(outcome.sent);
            }
        }
        // In any order, since packets may overtake one another on several CPUs; and some may have been lost behind the
        // balancer, as far as the cable takes no more.
        let mut before = self.to_clients.iter().peekable();
        to_clients.sort();
        for sent in &to_clients {
            before.next_if_eq(&sent);
        }
        if let Some(missing) = before.next() {
            return Err(format!("clients got {missing:02x?} in the recording"));
        }
        Ok(reasons)
    }
}

/// Nothing but the addresses and ports.
fn redirected(packet: &Packet, source: SocketAddr, destination: SocketAddr) -> Change {
    Change {
        destination_mac: packet.ethernet.destination,
        source_mac: packet.ethernet.source,
        source,
        destination,
        ttl: packet.network.hop_limit(),
    }
}

/// What is known of a recording while it is read.
#[derive(Debug, Default)]
struct Reader {
    recording: Recording,
    clients: HashSet<Ends>,
    /// The connection of each NAT port, by backend and NAT address.
    connections: HashMap<Ends, Ends>,
    /// Packets of clients that have not been seen leaving.
    on_the_way: Vec<Packet>,
}

impl Reader {
    fn arrives(&mut self, packet: Option<Packet>, bytes: &[u8]) {
        let arrival = match packet.and_then(|packet| Some((ends(&packet)?, packet))) {
            Some((ends, packet)) => match self.connections.get(&ends) {
                Some(&connection) => Arrival::Answer(connection, Box::new(packet)),
                None => {
                    self.clients.insert(ends);
                    self.on_the_way.push(packet);
                    Arrival::AsItCame(bytes.to_vec())
                }
            },
            None => Arrival::AsItCame(bytes.to_vec()),
        };
        self.recording.arrivals.push(arrival);
    }

    fn departs(&mut self, packet: Packet, bytes: &[u8]) {
        let Some((protocol, source, destination)) = ends(&packet) else {
            self.recording.to_clients.push(bytes.to_vec());
            return;
        };
        let back = (protocol, destination, source);
        if self.clients.contains(&back) {
            self.recording.to_clients.push(bytes.to_vec());
        } else {
            let arrival = self.on_the_way.iter().position(|arrival| is_the_same(arrival, &packet));
            let arrival = self.on_the_way.remove(arrival.expect("a packet leaves after it has come"));
            self.connections.insert(back, ends(&arrival).expect("it has ports"));
        }
    }
}

/// Where a TCP segment or UDP datagram comes from and goes.
fn ends(packet: &Packet) -> Option<Ends> {
    matches!(packet.transport, Transport::Tcp(_) | Transport::Udp(_)).then(|| {
        let protocol = packet.network.protocol().0;
        (protocol, packet.source(), packet.destination())
    })
}

/// Whether this is one packet before and after the balancer, which leaves numbers and payload as they are.
fn is_the_same(before: &Packet, after: &Packet) -> bool {
    let numbers = |packet: &Packet| match &packet.transport {
        Transport::Tcp(tcp) => (tcp.sequence_number, tcp.acknowledgment_number),
        _ => (0, 0),
    };
    let identification = |packet: &Packet| match &packet.network {
        Network::V4(header) => header.identification,
        Network::V6(..) => 0,
    };
    let identity = |packet: &Packet| (packet.network.protocol(), identification(packet), numbers(packet));
    identity(before) == identity(after) && before.payload == after.payload
}
