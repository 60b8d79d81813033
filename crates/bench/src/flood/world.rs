//! Strangers, honest clients and backends around a balancer, in the order of virtual time.

use super::ROUND_TRIPS;
use crate::deployment::end;
use crate::error::BenchError;
use crate::packet::{ACK, Head, OUR_MAC, SYN, THEIR_MAC};
use crate::segment::{SEQUENCE, segment};
use evenkeel_control::config::Config;
use evenkeel_control::{Balancer, NextHop, Plane as _, Secrets, Sizes};
use evenkeel_core::flow::{IdleTimes, Now, Peer, WAYS};
use evenkeel_core::{Event as TableEvent, Reason, SliceFrame, process};
use evenkeel_dpdk::{DpdkPlane, Tables, View};
use evenkeel_wire::{Ipv4Address, Port};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::sync::Arc;

/// All times are in nanoseconds.
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// From the balancer to a backend and back, the backend's own time included.
const BACKEND_DELAY: u64 = MILLISECOND / 10;
/// How long a flood lasts before anything is measured, unless it is so fast that [`TURNOVERS`] is over before.
const WARM_UP: u64 = 120 * SECOND;
/// SYNs for each entry of the flow table after which it holds what it will always hold: every place that a flood can take has
/// been taken several times over.
const TURNOVERS: u64 = 2;
/// How long new honest clients come, and how many of each round-trip time in that time.
const MEASURED: u64 = 2 * SECOND;
const CLIENTS: u64 = 2000;
/// When an established connection speaks again.
const PAUSE: u64 = SECOND / 2;
/// How often the control side goes through the flow table.
const SWEEP: u64 = 60 * SECOND;
/// As the core's clock has it: packets within one unit are at the same time.
const UNIT: u32 = 24;

/// The default of `max-flows`.
const MAX_FLOWS: u32 = 1 << 20;
const BACKENDS: [[u8; 4]; 2] = [[10, 0, 1, 2], [10, 0, 1, 3]];
const SERVICE: Peer = Peer { address: Ipv4Address([10, 0, 0, 10]), port: Port(80_u16.to_be_bytes()) };

/// What became of honest clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// By round-trip time, as in [`ROUND_TRIPS`].
    pub(crate) clients: [Clients; ROUND_TRIPS.len()],
    /// Established connections over which later packets did not come through.
    pub(crate) lost: u64,
    /// Packets of backends that came out to another client than the connection's.
    pub(crate) astray: u64,
    /// Seconds that the flood had lasted before.
    pub(crate) warm_up: f64,
    /// What the table's events were, for each SYN of the flood.
    pub(crate) events: Vec<(&'static str, f64)>,
}

/// Clients with one round-trip time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clients {
    pub(crate) tried: u64,
    pub(crate) succeeded: u64,
}

impl Clients {
    /// The share of them that were connected at their first SYN.
    pub(crate) fn share(self) -> f64 {
        self.succeeded as f64 / self.tried as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A stranger sends a SYN.
    Stranger,
    /// The next honest client of this round-trip time sends its SYN.
    Client(usize),
    /// A backend's SYN-ACK arrives, from here to there.
    Answer { backend: u64, nat: u64, number: u32, acknowledged: u32 },
    /// The client's ACK of it arrives, and a request right behind it.
    Confirm(usize),
    /// The backend's answer to the client's request arrives.
    Reply(usize),
    /// The client speaks again.
    Again(usize),
}

/// What is known of an honest client.
#[derive(Clone, Copy, Debug)]
struct Client {
    class: usize,
    /// Where its SYN came out, and where it went.
    nat: Peer,
    backend: Peer,
    /// The number of the backend's SYN-ACK.
    number: u32,
    is_established: bool,
}

/// The heads of all packets.
struct Heads {
    syn: Head,
    answer: Head,
    ack: Head,
    data: Head,
}

/// A balancer, and all who speak with it.
pub(crate) struct World {
    rate: u64,
    tables: Arc<Tables>,
    balancer: Balancer<DpdkPlane>,
    heads: Heads,
    random: fastrand::Rng,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
    now: u64,
    /// When there are no more strangers, and no more new clients.
    end_of_flood: u64,
    end_of_clients: u64,
    clients: Vec<Client>,
    strangers: u64,
    outcome: Outcome,
}

impl World {
    /// With a flood of so many SYNs a second.
    pub(crate) fn new(rate: u64, nat_addresses: u8) -> Result<Self, BenchError> {
        let config = config(nat_addresses)?;
        let secrets = Secrets { pick: [0x1234, 0x5678], flow: [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d] };
        let sizes = Sizes::for_config(&config);
        let settings = sizes.settings(&config, &secrets, OUR_MAC, IdleTimes::DEFAULT);
        let tables = Arc::new(Tables::new(sizes, settings, &config.nat.addresses, 1)?);
        let mut balancer = Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &secrets);
        for backend in BACKENDS {
            balancer.set_next_hop(NextHop { address: backend.into(), mac: THEIR_MAC })?;
        }
        balancer.apply(&config)?;
        let entries = tables.flow_table().len() as u64 * WAYS as u64;
        let warm_up = WARM_UP.min((TURNOVERS * entries).saturating_mul(SECOND) / rate);
        // Not at the beginning of time: what nobody has written must not look fresh by accident.
        let now = 50_000 * SECOND;
        let end_of_clients = now + warm_up + MEASURED;
        let longest = ROUND_TRIPS.iter().max().copied().unwrap_or(0) * MILLISECOND;
        let mut world = Self {
            rate,
            tables,
            balancer,
            heads: Heads {
                syn: Head::without_data(SYN),
                answer: Head::without_data(SYN | ACK),
                ack: Head::without_data(ACK),
                data: Head::tcp(ACK),
            },
            random: fastrand::Rng::with_seed(rate + u64::from(nat_addresses)),
            queue: BinaryHeap::new(),
            queued: 0,
            now,
            end_of_flood: end_of_clients + 2 * longest + 2 * PAUSE,
            end_of_clients,
            clients: Vec::new(),
            strangers: 0,
            outcome: Outcome { warm_up: warm_up as f64 / SECOND as f64, ..Outcome::default() },
        };
        world.after(0, Event::Stranger);
        for class in 0..ROUND_TRIPS.len() {
            world.after(warm_up, Event::Client(class));
        }
        Ok(world)
    }

    /// Lets all of it happen.
    pub(crate) fn run(mut self) -> Result<Outcome, BenchError> {
        let tables = Arc::clone(&self.tables);
        let mut swept = self.now;
        while let Some(&Reverse((time, ..))) = self.queue.peek() {
            let unit = time >> UNIT;
            let now = Now::from_nanoseconds(time);
            if time - swept >= SWEEP {
                tables.flow_table().iter().for_each(|bucket| bucket.sweep(&tables.settings().timeouts, now));
                swept = time;
            }
            tables.view(0, now, |view| {
                while let Some(&Reverse((time, _, event))) = self.queue.peek()
                    && time >> UNIT == unit
                {
                    self.queue.pop();
                    self.now = time;
                    self.happen(view, event);
                }
            });
        }
        let counters = self.balancer.plane().counters()?;
        let per_stranger = |event: TableEvent| counters.events[event as usize] as f64 / self.strangers as f64;
        self.outcome.events = TableEvent::ALL.iter().map(|&event| (event.name(), per_stranger(event))).collect();
        Ok(self.outcome)
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((self.now + delay, self.queued, event)));
    }

    fn happen(&mut self, view: &View<'_>, event: Event) {
        match event {
            Event::Stranger => self.stranger(view),
            Event::Client(class) => self.client(view, class),
            Event::Answer { backend, nat, number, acknowledged } => {
                self.answer(view, unpacked(backend), unpacked(nat), number, acknowledged);
            }
            Event::Confirm(number) => self.confirm(view, number),
            Event::Reply(number) => self.reply(view, number),
            Event::Again(number) => {
                let came_through =
                    self.reaches_its_backend(view, number, &self.heads.data) && self.reaches_its_client(view, number);
                self.outcome.lost += u64::from(!came_through);
            }
        }
    }

    /// From any address and port; never honest ones'.
    fn stranger(&mut self, view: &View<'_>) {
        let [_, b, c, d] = self.random.u32(..).to_be_bytes();
        let source = Peer {
            address: Ipv4Address([self.random.u8(20..100), b, c, d]),
            port: Port(self.random.u16(1024..).to_be_bytes()),
        };
        let frame = segment(&self.heads.syn, source, SERVICE, self.random.u32(..), 0);
        self.strangers += 1;
        self.towards_backend(view, frame);
        if self.now < self.end_of_flood {
            // In turns of a second, so that rates that do not divide a second keep their pace.
            let (sent, rate) = (self.strangers % self.rate, self.rate);
            let next = SECOND * (sent + 1) / rate - SECOND * sent / rate;
            self.after(next, Event::Stranger);
        }
    }

    /// A SYN; returns the NAT address and port and the backend that it came out with, and the number that this backend will
    /// answer with.
    fn towards_backend(&mut self, view: &View<'_>, mut frame: [u8; crate::layout::FRAME]) -> Option<(Peer, Peer, u32)> {
        if process(&mut SliceFrame(&mut frame), view) != Reason::ToBackend {
            return None;
        }
        let sequence = u32::from_be_bytes(std::array::from_fn(|byte| frame[SEQUENCE + byte]));
        let acknowledged = sequence.wrapping_add(1);
        let (nat, backend, number) = (end(&frame, 26, 34), end(&frame, 30, 36), self.random.u32(..));
        self.after(BACKEND_DELAY, Event::Answer { backend: packed(backend), nat: packed(nat), number, acknowledged });
        Some((nat, backend, number))
    }

    fn client(&mut self, view: &View<'_>, class: usize) {
        let number = self.clients.len();
        self.outcome.clients[class].tried += 1;
        let frame = segment(&self.heads.syn, address(number), SERVICE, self.random.u32(..), 0);
        let nobody = Peer::default();
        let (nat, backend, syn_ack) = self.towards_backend(view, frame).unwrap_or((nobody, nobody, 0));
        self.clients.push(Client { class, nat, backend, number: syn_ack, is_established: false });
        if self.now < self.end_of_clients {
            // Not in step with the flood.
            let mean = MEASURED / CLIENTS;
            let next = self.random.u64(mean / 2..mean * 3 / 2);
            self.after(next, Event::Client(class));
        }
    }

    fn answer(&mut self, view: &View<'_>, backend: Peer, nat: Peer, number: u32, acknowledged: u32) {
        let mut frame = segment(&self.heads.answer, backend, nat, number, acknowledged);
        if process(&mut SliceFrame(&mut frame), view) != Reason::ToClient {
            return;
        }
        let Some(honest) = number_of(end(&frame, 30, 36)) else { return };
        let Some(client) = self.clients.get(honest) else { return };
        if (client.nat, client.backend, client.number) == (nat, backend, number) {
            self.after(ROUND_TRIPS[client.class] * MILLISECOND, Event::Confirm(honest));
        } else {
            self.outcome.astray += 1;
        }
    }

    fn confirm(&mut self, view: &View<'_>, number: usize) {
        if self.reaches_its_backend(view, number, &self.heads.ack)
            && self.reaches_its_backend(view, number, &self.heads.data)
        {
            self.after(BACKEND_DELAY, Event::Reply(number));
        }
    }

    fn reply(&mut self, view: &View<'_>, number: usize) {
        if self.reaches_its_client(view, number) {
            let client = &mut self.clients[number];
            client.is_established = true;
            self.outcome.clients[client.class].succeeded += 1;
            self.after(PAUSE, Event::Again(number));
        }
    }

    fn reaches_its_backend(&self, view: &View<'_>, number: usize, head: &Head) -> bool {
        let client = &self.clients[number];
        let mut frame = segment(head, address(number), SERVICE, 1, client.number.wrapping_add(1));
        process(&mut SliceFrame(&mut frame), view) == Reason::ToBackend
            && (end(&frame, 26, 34), end(&frame, 30, 36)) == (client.nat, client.backend)
    }

    fn reaches_its_client(&self, view: &View<'_>, number: usize) -> bool {
        let client = &self.clients[number];
        let sequence = client.number.wrapping_add(1);
        let mut frame = segment(&self.heads.data, client.backend, client.nat, sequence, 1);
        process(&mut SliceFrame(&mut frame), view) == Reason::ToClient && end(&frame, 30, 36) == address(number)
    }
}

/// Honest client number so many, from addresses that no stranger has.
fn address(number: usize) -> Peer {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    Peer { address: Ipv4Address([198, 18 + high, middle, low]), port: Port(40_000_u16.to_be_bytes()) }
}

/// The inverse.
fn number_of(client: Peer) -> Option<usize> {
    let Ipv4Address([first, high, middle, low]) = client.address;
    (first == 198).then(|| u32::from_be_bytes([0, high - 18, middle, low]) as usize)
}

/// Every default, and two backends.
fn config(nat_addresses: u8) -> Result<Config, BenchError> {
    let nat: Vec<_> = (1..=nat_addresses).map(|last| format!("\"10.0.2.{last}\"")).collect();
    let mut text = format!(
        "[dataplane]\nmax-flows = {MAX_FLOWS}\n[nat]\naddresses = [{}]\n[[service]]\nname = \"web\"\naddress = \"10.0.0.10\"\n\
         port = 80\nprotocol = \"tcp\"\nbackends = [",
        nat.join(", ")
    );
    for [a, b, c, d] in BACKENDS {
        let _ = write!(text, "{{ address = \"{a}.{b}.{c}.{d}\", port = 8080 }}, ");
    }
    text.push_str("]\n");
    Config::parse("flood", &text).map_err(|error| BenchError::Broken(format!("{error}")))
}

/// An address and a port as a number, which events are ordered by.
fn packed(peer: Peer) -> u64 {
    u64::from(peer.address.bits()) | u64::from(peer.port.bits()) << 32
}

/// The inverse of [`packed`].
fn unpacked(bits: u64) -> Peer {
    Peer { address: Ipv4Address::from_bits(bits as u32), port: Port::from_bits((bits >> 32) as u16) }
}
