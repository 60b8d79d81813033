//! What the control side asks of a plane.

use crate::config::{BackendId, Protocol, ServiceId};
use crate::sizes::Sizes;
use evenkeel_core::backend::{Link, Ports};
use evenkeel_core::flow::{Bucket, Entry, FlowKey, Meta, Now, Peer, Record as _, Side, State, Timeouts};
use evenkeel_core::{
    Backend, BackendRef, BackendState, Counters, Features, Kind, Service, ServiceKey, Standing, Traffic, Word,
};
use evenkeel_wire::{IpProtocol, Ipv6Address, Port};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
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

    /// The addresses that packets are accepted for: services and NAT addresses.
    fn set_our_addresses(&mut self, addresses: &[Ipv4Addr]) -> Result<(), Self::Error>;

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

    /// Gives the backend at this place its fixed part: where it listens, and what service its clients know, by its first port
    /// if it has several. The link
    /// must be down while this is called. What the place has carried is counted from zero again.
    fn set_backend(&mut self, index: u16, target: Peer, service: Peer, protocol: IpProtocol)
    -> Result<(), Self::Error>;

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

    /// The flow table, for whoever reads it beside everything else.
    fn flow_walk(&self) -> Arc<dyn FlowWalk>;

    /// Shows every flow that is alive.
    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Self::Error>;

    /// Frees entries whose idle time is long over. They are out of use already, and would make room when it is needed;
    /// but time is kept modulo some hours, and what lies around for longer would look young again.
    fn sweep_flows(&self) -> Result<(), Self::Error>;
}

/// A flow table that another thread walks through, in pieces, while the plane is changed and packets fly.
///
/// It may be exchanged for a larger one meanwhile: then [`FlowWalk::buckets`] is another number, and who counts begins anew.
pub trait FlowWalk: Send + Sync {
    /// How many buckets it has.
    fn buckets(&self) -> usize;

    /// Shows every flow in these buckets that is alive. Those that it does not have are empty.
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
    pub addresses: Vec<Ipv4Addr>,
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
    pub fn write_backend<W: Word>(backend: &Backend<W>, target: Peer, service: Peer, protocol: IpProtocol) {
        let ends = [(&backend.target, target), (&backend.service, service)];
        for ([high, low], end) in ends {
            let bits = Ipv6Address::mapped(end.address).bits();
            high.store(bits[0]);
            low.store(bits[1]);
        }
        let (known, first) = match (target.port.number(), service.port.number()) {
            (0, 1..) => (Port::default(), service.port),
            _ => (service.port, Port::default()),
        };
        backend.ports.store(Ports::new(target.port, known, first).0);
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
    /// Client, service and protocol.
    pub key: FlowKey,
    /// The connection's backend.
    pub backend: BackendRef,
    /// The NAT address and port that the backend sees.
    pub nat: Peer,
    /// How far it has come.
    pub state: State,
    /// Since when it is in this state, or for how long an established, half-closed or UDP connection has been idle; accurate
    /// to [`evenkeel_core::flow::Timeouts::renew`].
    pub idle: Duration,
}

impl FlowView {
    /// Shows every flow of a table that is alive at this time.
    pub fn visit<W: Word>(table: &[Bucket<W>], timeouts: &Timeouts, now: Now, visit: &mut dyn FnMut(Self)) {
        // Most entries of most tables are free, and half of the others a backend's side: one word tells.
        let is_clients = |entry: &&Entry<W>| {
            let meta = Meta(entry.meta().load());
            meta.is_live() && meta.side() == Side::Client
        };
        let entries = table.iter().flat_map(|bucket| &bucket.0);
        for found in entries.filter(is_clients).filter_map(|entry| entry.read()) {
            if found.meta.side() == Side::Client && !timeouts.expired(found.meta, found.class, now) {
                visit(Self {
                    key: found.key,
                    backend: found.backend,
                    nat: found.peer(),
                    state: found.meta.state(),
                    idle: found.meta.idle(now),
                });
            }
        }
    }
}
