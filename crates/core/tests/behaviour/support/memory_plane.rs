//! The smallest plane that there can be: everything in plain memory, and a clock that tests turn.

use evenkeel_core::backend::{Link, Ports};
use evenkeel_core::flow::{
    Bucket, BucketOf, Entry, FlowKey, HopNumber, IdleTimes, Meta, Now, Peer, Side, Timeouts, WideAddress, WideBucket,
    WideEntry,
};
use evenkeel_core::reply::KEPT;
use evenkeel_core::{
    Asked, Backend, BackendRef, BackendState, Event, FamilyTables, Features, Frame, Ours, Reason, Service, ServiceKey,
    Settings, Tables, V4, V6, Verdict, Word, hash, process,
};
use evenkeel_packets::{Draft, OUR_MAC, View};
use evenkeel_wire::{Header, IpProtocol, Ipv4Address, Ipv6Address, MacAddress, Port};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub(crate) struct MemoryPlane<W = AtomicU64> {
    pub(crate) settings: Settings,
    pub(crate) addresses: Vec<Ipv4Address>,
    /// What is known of each of them: the host has it as well, unless a test says otherwise.
    pub(crate) ours: Ours,
    pub(crate) features: Features,
    /// How many packets may be answered unasked.
    pub(crate) allowance: W,
    /// How many newcomers there may be, by Maglev table.
    pub(crate) newcomers: [W; 4],
    pub(crate) asked: Vec<Asked<W>>,
    pub(crate) nat_addresses: Vec<Ipv4Address>,
    pub(crate) services: HashMap<ServiceKey, Service>,
    /// Per table, the backends that its slots name in turn.
    pub(crate) maglev: RwLock<Vec<Vec<BackendRef>>>,
    pub(crate) backends: Vec<Backend<W>>,
    pub(crate) buckets: Vec<Bucket<W>>,
    pub(crate) wide_addresses: Vec<WideAddress>,
    pub(crate) wide_nat_addresses: Vec<WideAddress>,
    pub(crate) wide_buckets: Vec<WideBucket<W>>,
    /// A power of two of them; numbers beyond are taken modulo.
    pub(crate) hops: Vec<W>,
    /// Those of the control side.
    pub(crate) kept: Vec<W>,
    clock: AtomicU32,
    verdicts: [AtomicU64; 64],
    events: [AtomicU64; 16],
    /// Packets and bytes by backend and side.
    traffic: [[(AtomicU64, AtomicU64); 2]; 8],
}

/// A packet with room in front of it.
struct Roomy<'a>(&'a mut Vec<u8>);

impl Frame for Roomy<'_> {
    fn holds(&self, bytes: usize) -> bool {
        self.0.len() >= bytes
    }

    fn header<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        T::mut_from_prefix(self.0.get_mut(offset..)?).ok().map(|(header, _)| header)
    }

    fn grow_front(&mut self, bytes: usize) -> bool {
        self.0.splice(..0, vec![0x5a; bytes]);
        true
    }

    fn trim(&mut self, length: usize) -> bool {
        let is_shorter = length <= self.0.len();
        self.0.truncate(length);
        is_shorter
    }
}

/// A live entry, for tests that look into the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    pub(crate) meta: Meta,
    pub(crate) key: FlowKey,
    pub(crate) backend: BackendRef,
    pub(crate) peer: Peer,
}

impl<W: Word + From<u64>> MemoryPlane<W> {
    /// A plane with no service, no backend and this many buckets, a power of two.
    pub(crate) fn empty(buckets: u32) -> Self {
        let wide_entry = || WideEntry {
            meta: W::from(0),
            source: [0, 0].map(W::from),
            destination: [0, 0].map(W::from),
            ports: W::from(0),
            peer: [0, 0].map(W::from),
        };
        let flow_secret = [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d];
        let entry = || Entry { meta: W::from(0), addresses: W::from(0), ports: W::from(0), peer: W::from(0) };
        Self {
            settings: Settings {
                pick_secret: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
                flow_secret,
                wide_secret: hash::wide_secret(&flow_secret),
                flow_mask: buckets - 1,
                wide_flow_mask: buckets - 1,
                nat_port_first: 10_000,
                nat_port_last: 19_999,
                mac: MacAddress(OUR_MAC),
                timeouts: Timeouts::uniform(IdleTimes::DEFAULT),
                ..Settings::EMPTY
            },
            addresses: Vec::new(),
            ours: Ours::HOSTS,
            features: Features::ALL,
            allowance: W::from(0),
            newcomers: std::array::from_fn(|_| W::from(0)),
            asked: (0..buckets.div_ceil(2)).map(|_| Asked([W::from(0), W::from(0)])).collect(),
            nat_addresses: Vec::new(),
            services: HashMap::new(),
            maglev: RwLock::default(),
            backends: Vec::new(),
            buckets: (0..buckets).map(|_| BucketOf(std::array::from_fn(|_| entry()))).collect(),
            wide_addresses: Vec::new(),
            wide_nat_addresses: Vec::new(),
            wide_buckets: (0..buckets).map(|_| BucketOf(std::array::from_fn(|_| wide_entry()))).collect(),
            hops: (0..64).map(|_| W::from(0)).collect(),
            kept: (0..KEPT).map(|_| W::from(0)).collect(),
            // Not zero: an entry that nobody has written must not look fresh by accident.
            clock: AtomicU32::new(40_000 << 6),
            verdicts: std::array::from_fn(|_| AtomicU64::new(0)),
            events: Default::default(),
            traffic: Default::default(),
        }
    }

    pub(crate) fn add_nat_address(&mut self, address: IpAddr) {
        self.add_address(address);
        match address {
            IpAddr::V4(address) => {
                self.nat_addresses.push(address.into());
                self.settings.nat_addresses += 1;
            }
            IpAddr::V6(address) => {
                self.wide_nat_addresses.push(Ipv6Address::from(address).into());
                self.settings.wide_nat_addresses += 1;
            }
        }
    }

    pub(crate) fn add_service(&mut self, address: IpAddr, port: u16, protocol: IpProtocol, service: Service) {
        let key =
            ServiceKey { address: Ipv6Address::from(address).0, port: Port::from_number(port), protocol, reserved: 0 };
        self.services.insert(key, service);
        self.add_address(address);
    }

    fn add_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.addresses.push(address.into()),
            IpAddr::V6(address) => self.wide_addresses.push(Ipv6Address::from(address).into()),
        }
    }

    /// A backend at the next place, up, in the first use of that place.
    pub(crate) fn add_backend(&mut self, target: SocketAddr, service: SocketAddr, mac: [u8; 6]) -> BackendRef {
        let port = |end: SocketAddr| Port::from_number(end.port());
        let address = |end: SocketAddr| Ipv6Address::from(end.ip()).bits().map(W::from);
        let backend = BackendRef { index: self.backends.len() as u16, generation: 1 };
        let link = Link::new(MacAddress(mac), backend.generation, BackendState::Up);
        self.backends.push(Backend {
            link: W::from(link.0),
            kind: W::from(0),
            ports: W::from(Ports::new(port(target), port(service), Port::default()).0),
            reserved: W::from(0),
            target: address(target),
            service: address(service),
        });
        backend
    }

    pub(crate) fn set_maglev(&self, table: usize, backends: &[BackendRef]) {
        let mut tables = self.maglev.write().expect("no test panics while it holds this");
        if tables.len() <= table {
            tables.resize(table + 1, Vec::new());
        }
        tables[table] = backends.to_vec();
    }

    pub(crate) fn set_link(&self, index: u16, link: impl Fn(Link) -> Link) {
        let word = &self.backends[usize::from(index)].link;
        word.store(link(Link(word.load())).0);
    }

    pub(crate) fn set_state(&self, backend: BackendRef, state: BackendState) {
        self.set_link(backend.index, |link| Link::new(link.mac(), link.generation(), state));
    }

    /// Moves the clock on.
    pub(crate) fn wait(&self, ticks: u16) {
        self.clock.fetch_add(u32::from(ticks) << 6, Relaxed);
    }

    /// Moves the clock on by units of [`Now`], 16.8 ms each.
    pub(crate) fn pass(&self, units: u32) {
        self.clock.fetch_add(units, Relaxed);
    }

    /// Frees the entries whose place may be given away.
    pub(crate) fn sweep(&self) {
        let (timeouts, now) = (&self.settings.timeouts, self.time());
        self.buckets.iter().for_each(|bucket| bucket.sweep(timeouts, now));
        self.wide_buckets.iter().for_each(|bucket| bucket.sweep(timeouts, now));
    }

    /// Now.
    pub(crate) fn time(&self) -> Now {
        Now(self.clock.load(Relaxed))
    }

    pub(crate) fn counted(&self, reason: Reason) -> u64 {
        self.verdicts[reason as usize].load(Relaxed)
    }

    pub(crate) fn happened(&self, event: Event) -> u64 {
        self.events[event as usize].load(Relaxed)
    }

    /// Packets and bytes from this side of the backend's connections.
    pub(crate) fn traffic(&self, backend: BackendRef, from: Side) -> (u64, u64) {
        let (packets, bytes) = &self.traffic[usize::from(backend.index)][from as usize];
        (packets.load(Relaxed), bytes.load(Relaxed))
    }

    /// Every live entry.
    pub(crate) fn remembered(&self) -> Vec<Remembered> {
        let entries = self.buckets.iter().flat_map(|bucket| &bucket.0);
        entries
            .map(|entry| {
                let ports = entry.ports.load();
                Remembered {
                    meta: Meta(entry.meta.load()),
                    key: FlowKey { addresses: entry.addresses.load(), ports: ports & ((1 << 37) - 1) },
                    backend: BackendRef::from_bits((ports >> 40) as u32),
                    peer: Peer {
                        address: Ipv4Address::from_bits(entry.peer.load() as u32),
                        port: Meta(entry.meta.load()).peer_port(),
                    },
                }
            })
            .filter(|entry| entry.meta.is_live())
            .collect()
    }

    /// What becomes of these bytes. A packet that is not sent must be left as it came.
    pub(crate) fn process(&self, bytes: &mut Vec<u8>) -> Reason {
        let before = bytes.clone();
        let reason = process(&mut Roomy(bytes), self);
        assert!(reason.verdict() == Verdict::Transmit || *bytes == before, "{reason:?} changed the packet");
        reason
    }

    /// The verdict on a packet, and what was sent if anything was.
    pub(crate) fn send(&self, draft: &Draft) -> (Reason, Option<View>) {
        let mut bytes = draft.bytes();
        let reason = self.process(&mut bytes);
        (reason, (reason.verdict() == Verdict::Transmit).then(|| View::of(&bytes)))
    }

    pub(crate) fn verdict(&self, draft: &Draft) -> Reason {
        self.send(draft).0
    }

    /// A packet that must reach a backend, as the backend gets it.
    #[track_caller]
    pub(crate) fn to_backend(&self, draft: &Draft) -> View {
        match self.send(draft) {
            (Reason::ToBackend, Some(view)) => view,
            (other, _) => panic!("to-backend expected, not {}: {draft:?}", other.name()),
        }
    }

    /// A packet that must reach a client, as the client gets it.
    #[track_caller]
    pub(crate) fn to_client(&self, draft: &Draft) -> View {
        match self.send(draft) {
            (Reason::ToClient, Some(view)) => view,
            (other, _) => panic!("to-client expected, not {}: {draft:?}", other.name()),
        }
    }
}

impl<W: Word> Tables for MemoryPlane<W> {
    type Word = W;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> Now {
        Now(self.clock.load(Relaxed))
    }

    fn allowance(&self, number: u32) -> Option<&W> {
        match number.checked_sub(1) {
            None => Some(&self.allowance),
            Some(table) => self.newcomers.get(table as usize),
        }
    }

    fn asked(&self, index: u32) -> Option<&Asked<W>> {
        self.asked.get(index as usize)
    }

    fn features(&self) -> Features {
        self.features
    }

    fn hop(&self, number: HopNumber) -> Option<&W> {
        self.kept.get(usize::from(number.0)).or_else(|| self.hops.get(usize::from(number.0) % self.hops.len()))
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef> {
        let tables = self.maglev.read().expect("no test panics while it holds this");
        let backends = tables.get(table as usize)?;
        backends.get(slot as usize % backends.len().max(1)).copied()
    }

    fn backend(&self, index: u16) -> Option<&Backend<W>> {
        self.backends.get(usize::from(index))
    }

    fn count(&self, reason: Reason) {
        self.verdicts[reason as usize].fetch_add(1, Relaxed);
    }

    fn count_events(&self, event: Event, times: u32) {
        self.events[event as usize].fetch_add(times.into(), Relaxed);
    }

    fn count_traffic(&self, backend: u16, from: Side, bytes: u32) {
        let (packets, total) = &self.traffic[usize::from(backend)][from as usize];
        packets.fetch_add(1, Relaxed);
        total.fetch_add(u64::from(bytes), Relaxed);
    }
}

impl<W: Word> FamilyTables<V4> for MemoryPlane<W> {
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        // Half of all addresses pass for ours, so that wrong guesses are tried as much as right ones.
        FamilyTables::<V4>::is_ours(self, address) || address.0[3].is_multiple_of(2)
    }

    fn ours(&self, address: Ipv4Address) -> Option<Ours> {
        self.addresses.contains(&address).then_some(self.ours)
    }

    fn flows(&self, index: u32) -> Option<&Bucket<W>> {
        self.buckets.get(index as usize)
    }

    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        self.nat_addresses.get(index as usize).copied()
    }
}

impl<W: Word> FamilyTables<V6> for MemoryPlane<W> {
    fn may_be_ours(&self, address: WideAddress) -> bool {
        FamilyTables::<V6>::is_ours(self, address) || address.1.to_ne_bytes()[7].is_multiple_of(2)
    }

    fn ours(&self, address: WideAddress) -> Option<Ours> {
        self.wide_addresses.contains(&address).then_some(self.ours)
    }

    fn flows(&self, index: u32) -> Option<&WideBucket<W>> {
        self.wide_buckets.get(index as usize)
    }

    fn nat_address(&self, index: u32) -> Option<WideAddress> {
        self.wide_nat_addresses.get(index as usize).copied()
    }
}
