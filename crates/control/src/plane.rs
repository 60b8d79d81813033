//! What the control side asks of a plane.

use crate::config::{BackendId, Protocol, ServiceId};
use crate::sizes::Sizes;
use evenkeel_core::backend::{Link, Ports};
use evenkeel_core::flow::{
    Bucket, BucketOf, Found, Key, Meta, Now, Peer, Record, Side, State, Timeouts, WideAddress, WideBucket, read,
};
use evenkeel_core::{
    Backend, BackendRef, BackendState, Counters, Features, Kind, Service, ServiceKey, Standing, Traffic, Word,
};
use evenkeel_wire::{IpProtocol, Ipv4Address, Ipv6Address, Port};
use std::error::Error;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The tables of a plane, from the side that fills them.
///
/// Every call takes effect at once for every CPU, whole or not at all: a packet sees the table as it was before or as
/// it is after. The order of calls is the caller's care: what is referred to is written first.
pub trait Plane {
    /// Why a table could not be changed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The addresses that packets are accepted for: services and NAT addresses, of either family.
    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Self::Error>;

    /// Whether packets for the balancer's own address come here and nowhere else: no kernel is behind the plane.
    fn is_the_host(&self) -> bool {
        false
    }

    /// How much there is room for.
    fn sizes(&self) -> Sizes;

    /// How much room [`Plane::provide`] can make.
    fn limits(&self) -> Sizes {
        self.sizes()
    }

    /// What the tables hold, for a process that takes them over from another.
    fn contents(&self) -> Result<Contents, Self::Error>;

    /// Gives the backend at this place its fixed part: where it listens (port 0: where the client asked), and what service its
    /// clients know (port 0: any), by its first port if it has several. The link must be down while this is called. What the
    /// place has carried is counted from zero again.
    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), Self::Error>;

    /// Sets the changing part of the backend at this place: next hop, generation, state.
    fn set_link(&mut self, index: u16, link: Link) -> Result<(), Self::Error>;

    /// Leaves word of the backend at this place for a process that takes the tables over.
    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), Self::Error>;

    /// Replaces Maglev tables, each of them whole: their numbers, and their slots as [`BackendRef`] bits, zero for none.
    /// Many in one call cost a plane that has to wait for its CPUs one time to wait. After a failure it is not known which
    /// of them were replaced.
    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), Self::Error>;

    /// Adds or replaces a service.
    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), Self::Error>;

    /// Adds or replaces a service that is found by all of these keys. A packet may find it by one of them before it is found by
    /// the next. After a failure it is not known by which it is found.
    fn set_services(&mut self, keys: &[ServiceKey], service: Service) -> Result<(), Self::Error> {
        keys.iter().try_for_each(|key| self.set_service(*key, service))
    }

    /// Removes a service. Its connections stay.
    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Self::Error>;

    /// The same for all of these keys.
    fn remove_services(&mut self, keys: &[ServiceKey]) -> Result<(), Self::Error> {
        keys.iter().try_for_each(|key| self.remove_service(*key))
    }

    /// Makes the plane ready for packets that need these features, beside those that it is ready for, and puts these idle
    /// times in force; and makes room for so much, where there is less. Nothing else changes, and no connection is lost.
    fn provide(&mut self, features: Features, timeouts: &Timeouts, room: Sizes) -> Result<(), Self::Error>;

    /// Verdicts and events since the plane started, over all CPUs.
    fn counters(&self) -> Result<Counters, Self::Error>;

    /// What the backend at this place has carried, over all CPUs.
    fn traffic(&self, index: u16) -> Result<Traffic, Self::Error>;

    /// The words of the hop table that packets leave to the control side: see [`evenkeel_core::reply`]. None where a plane has no
    /// answers that follow routes.
    fn kept_hops(&self) -> &[AtomicU64] {
        &[]
    }

    /// The flow tables, for whoever reads them beside everything else.
    fn flow_walk(&self) -> Arc<dyn FlowWalk>;

    /// Shows every flow that is alive.
    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Self::Error>;

    /// Frees entries whose idle time is long over. They are out of use already, and would make room when it is needed;
    /// but time is kept modulo some hours, and what lies around for longer would look young again.
    fn sweep_flows(&self) -> Result<(), Self::Error>;
}

/// The flow tables that another thread walks through, in pieces, while the plane is changed and packets fly: the buckets of the
/// one of IPv4 connections are counted first, and then those of the one of IPv6 connections.
///
/// They may be exchanged for larger ones meanwhile: then [`FlowWalk::buckets`] is another number, and who counts begins anew.
pub trait FlowWalk: Send + Sync {
    /// How many buckets they have together.
    fn buckets(&self) -> usize;

    /// Shows every flow in these buckets that is alive. Those that they do not have are empty.
    ///
    /// # Errors
    /// The clock that flows are stamped with cannot be read.
    fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError>;

    /// What [`Plane::sweep_flows`] does, for these buckets.
    ///
    /// # Errors
    /// The clock that flows are stamped with cannot be read.
    fn sweep(&self, buckets: Range<usize>) -> Result<(), WalkError>;

    /// The rest of what [`Plane::sweep_flows`] does, which is little.
    ///
    /// # Errors
    /// The clock that flows are stamped with cannot be read.
    fn sweep_hops(&self) -> Result<(), WalkError>;
}

/// Why a flow table could not be walked through.
pub type WalkError = Box<dyn Error + Send + Sync>;

/// What a plane's tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Every place that was ever used.
    pub places: Vec<PlaceContents>,
    /// Services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
}

/// What a table of backends says about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceContents {
    /// Which place.
    pub index: u16,
    /// Next hop, generation and state of its last owner.
    pub link: Link,
    /// Its owner, if it has one: nobody, or a backend that is down because its checks failed, gets no packets either.
    pub owner: Option<BackendId>,
    /// What was known of the owner.
    pub standing: Standing,
}

impl Contents {
    /// The places in a table of backends.
    pub fn read_places<W: Word>(backends: &[Backend<W>]) -> Vec<PlaceContents> {
        let places = (0..).zip(backends).filter_map(|(index, backend)| {
            let link = Link(backend.link.load());
            let kind = Kind(backend.kind.load());
            let standing = kind.standing();
            let protocol = match kind.protocol() {
                IpProtocol::TCP => Some(Protocol::Tcp),
                IpProtocol::UDP => Some(Protocol::Udp),
                _ => None,
            };
            let address = |[high, low]: &[W; 2]| IpAddr::from(Ipv6Address::from_bits([high.load(), low.load()]));
            let ports = Ports(backend.ports.load());
            let port = if ports.first().number() == 0 { ports.service() } else { ports.first() };
            let is_owned = link.state() != BackendState::Down || standing.failed;
            let owner = protocol.filter(|_| is_owned).map(|protocol| {
                let service = ServiceId { address: address(&backend.service), port: port.number(), protocol };
                BackendId { service, address: address(&backend.target), port: ports.target().number() }
            });
            (link.generation() != 0).then_some(PlaceContents { index, link, owner, standing })
        });
        places.collect()
    }

    /// Writes the fixed part of a backend, of whom nothing is known yet. Of a service with several ports clients know the one that
    /// they asked for, which is the backend's; the first, which tells services apart, is written where no packet looks.
    pub fn write_backend<W: Word>(backend: &Backend<W>, target: SocketAddr, service: SocketAddr, protocol: IpProtocol) {
        let ends = [(&backend.target, target), (&backend.service, service)];
        for ([high, low], end) in ends {
            let bits = Ipv6Address::from(end.ip()).bits();
            high.store(bits[0]);
            low.store(bits[1]);
        }
        let (known, first) = match (target.port(), service.port()) {
            (0, first @ 1..) => (0, first),
            (_, known) => (known, 0),
        };
        let [target, known, first] = [target.port(), known, first].map(Port::from_number);
        backend.ports.store(Ports::new(target, known, first).0);
        backend.kind.store(Kind::new(protocol).0);
    }

    /// Writes what is known of a backend.
    pub fn write_standing<W: Word>(backend: &Backend<W>, standing: Standing) {
        backend.kind.store(Kind(backend.kind.load()).with_standing(standing).0);
    }
}

/// One connection, as seen in its client entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Where the client speaks from.
    pub client: SocketAddr,
    /// Where it believes to speak to.
    pub service: SocketAddr,
    /// The connection's backend.
    pub backend: BackendRef,
    /// The NAT address and port that the backend sees.
    pub nat: SocketAddr,
    /// How far it has come.
    pub state: State,
    /// Since when it is in this state, or for how long an established, half-closed or UDP connection has been idle; accurate
    /// to [`evenkeel_core::flow::Timeouts::renew`].
    pub idle: Duration,
}

impl FlowView {
    /// Shows every IPv4 flow of a table that is alive at this time.
    pub fn visit<W: Word>(table: &[Bucket<W>], timeouts: &Timeouts, now: Now, visit: &mut dyn FnMut(Self)) {
        visit_living(table, timeouts, now, |found| found.address.shown(), visit);
    }

    /// The same of IPv6 flows, which are sent from these addresses.
    pub fn visit_wide<W: Word>(
        table: &[WideBucket<W>],
        nat: &[Ipv6Addr],
        timeouts: &Timeouts,
        now: Now,
        visit: &mut dyn FnMut(Self),
    ) {
        let address = |number: u64| nat.get(number as usize & 0xffff).copied().unwrap_or(Ipv6Addr::UNSPECIFIED);
        visit_living(table, timeouts, now, |found| address(found.address.0).into(), visit);
    }
}

/// `nat`: the address that a client entry's connection is sent from.
fn visit_living<E: Record>(
    table: &[BucketOf<E>],
    timeouts: &Timeouts,
    now: Now,
    nat: impl Fn(&Found<'_, E>) -> IpAddr,
    visit: &mut dyn FnMut(FlowView),
) where
    E::Key: Key,
    <E::Key as Key>::Address: Shown,
{
    // Most entries of most tables are free, and half of the others a backend's side: one word tells.
    let is_clients = |entry: &&E| {
        let meta = Meta(entry.meta().load());
        meta.is_live() && meta.side() == Side::Client
    };
    let entries = table.iter().flat_map(|bucket| &bucket.0);
    for found in entries.filter(is_clients).filter_map(|entry| read(entry)) {
        if found.meta.side() == Side::Client && !timeouts.expired(found.meta, found.class, now) {
            visit(FlowView {
                protocol: found.key.protocol(),
                client: end(found.key.source()),
                service: end(found.key.destination()),
                backend: found.backend,
                nat: SocketAddr::new(nat(&found), found.meta.peer_port().number()),
                state: found.meta.state(),
                idle: found.meta.idle(now),
            });
        }
    }
}

fn end<A: Shown>(peer: Peer<A>) -> SocketAddr {
    SocketAddr::new(peer.address.shown(), peer.port.number())
}

/// An address as a flow's key has it.
trait Shown {
    /// The same for people.
    fn shown(self) -> IpAddr;
}

impl Shown for Ipv4Address {
    fn shown(self) -> IpAddr {
        IpAddr::V4(self.into())
    }
}

impl Shown for WideAddress {
    fn shown(self) -> IpAddr {
        IpAddr::V6(Ipv6Address::from_bits(self.words()).into())
    }
}

/// Those of a range of buckets, counted as [`FlowWalk`] does, that are in the table of IPv4 flows, which has so many, and those
/// in the table of IPv6 flows, counted from its beginning.
pub fn by_family(buckets: Range<usize>, narrow: usize) -> (Range<usize>, Range<usize>) {
    let Range { start, end } = buckets;
    let wide = start.saturating_sub(narrow)..end.saturating_sub(narrow);
    (start.min(narrow)..end.min(narrow), wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::flow::{Entry, FlowKey, HopNumber, IdleTimes, NewEntry, NewWideEntry, Tick, WideEntry, WideKey};
    use std::sync::atomic::AtomicU64;

    fn place(text: &str) -> SocketAddr {
        text.parse().expect("a place")
    }

    #[test]
    fn both_families_are_shown_alike() {
        let now = Now::at(Tick(5));
        let backend = BackendRef { index: 7, generation: 3 };
        let (client, service, nat) = ("192.0.2.1:4000", "192.0.2.10:80", "192.0.2.20:1024");
        let peer = |text: &str| match place(text) {
            SocketAddr::V4(end) => Peer { address: Ipv4Address::from(*end.ip()), port: Port::from_number(end.port()) },
            SocketAddr::V6(_) => panic!("not here"),
        };
        let narrow = BucketOf(std::array::from_fn(|_| Entry::<AtomicU64>::default()));
        let key = FlowKey::new(peer(client), peer(service), IpProtocol::TCP);
        let new = NewEntry::new(key, Side::Client, now, backend, 0, peer(nat), HopNumber(1));
        narrow.0[3].write(&new);
        narrow.0[3].meta().publish(Entry::<AtomicU64>::meta_of(&new).0);
        let mut seen = Vec::new();
        let timeouts = Timeouts::uniform(IdleTimes::DEFAULT);
        FlowView::visit(&[narrow], &timeouts, now, &mut |flow| seen.push(flow));

        let (client6, service6, nat6) = ("[2001:db8::1]:4000", "[2001:db8::10]:80", "[2001:db8::20]:1024");
        let wide_peer = |text: &str| {
            let end = place(text);
            Peer { address: WideAddress::from(Ipv6Address::from(end.ip())), port: Port::from_number(end.port()) }
        };
        let wide = BucketOf(std::array::from_fn(|_| WideEntry::<AtomicU64>::default()));
        let key = WideKey::new(wide_peer(client6), wide_peer(service6), IpProtocol::UDP);
        let new = NewWideEntry::client(key, now, backend, 0, (1, Port::from_number(1024)), HopNumber(1)).with_proof(9);
        wide.0[5].write(&new);
        wide.0[5].meta().publish(WideEntry::<AtomicU64>::meta_of(&new).0);
        let other = WideKey::new(wide_peer(service6), wide_peer(nat6), IpProtocol::UDP);
        let reply = NewWideEntry::reply(other, now, backend, 0, wide_peer(client6), HopNumber(1));
        wide.0[6].write(&reply);
        wide.0[6].meta().publish(WideEntry::<AtomicU64>::meta_of(&reply).0);
        let addresses = ["2001:db8::19", "2001:db8::20"].map(|text| text.parse().expect("an address"));
        FlowView::visit_wide(&[wide], &addresses, &timeouts, now, &mut |flow| seen.push(flow));

        let view = |protocol, client, service, nat| {
            let (client, service, nat) = (place(client), place(service), place(nat));
            FlowView { protocol, client, service, backend, nat, state: State::Opening, idle: Duration::ZERO }
        };
        let expected = [view(IpProtocol::TCP, client, service, nat), view(IpProtocol::UDP, client6, service6, nat6)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn buckets_of_both_tables_are_counted_one_after_the_other() {
        for (range, narrow, wide) in
            [(0..4, 0..4, 0..0), (6..12, 6..8, 0..4), (8..9, 8..8, 0..1), (20..30, 8..8, 12..22)]
        {
            assert_eq!(by_family(range.clone(), 8), (narrow, wide), "{range:?}");
        }
    }

    #[test]
    fn a_backend_of_either_family_is_read_as_it_was_written() {
        for (target, service) in [
            ("10.0.0.2:8080", "192.0.2.10:80"),
            ("[fd00::2]:8080", "[fd00::10]:80"),
            ("[fd00::2]:0", "[fd00::10]:20000"),
            ("10.0.0.2:0", "10.0.0.10:0"),
        ] {
            let backend = Backend::<AtomicU64>::default();
            let (target, service) = (place(target), place(service));
            Contents::write_backend(&backend, target, service, IpProtocol::UDP);
            backend.link.publish(Link::new(Default::default(), 1, BackendState::Up).0);
            let places = Contents::read_places(&[backend]);
            let service = ServiceId { address: service.ip(), port: service.port(), protocol: Protocol::Udp };
            assert_eq!(places[0].owner, Some(BackendId { service, address: target.ip(), port: target.port() }));
        }
    }
}
