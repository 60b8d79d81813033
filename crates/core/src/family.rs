//! What IPv4 and IPv6 do in different ways. Everything else of a packet's way is written once, for any family.

use crate::backend::BackendRef;
use crate::flow::{Entry, Found, NewEntry, NewWideEntry, Now, Record, WideEntry};
use crate::key::{FlowKey, HopNumber, Key, Peer, Side, WideAddress, WideKey};
use crate::network::{self, Network};
use crate::service::ServiceKey;
use crate::settings::Settings;
use crate::station::Station;
use crate::tables::{FamilyTables, Tables};
use crate::word::Word;
use core::fmt::Debug;
use evenkeel_wire::{IpProtocol, Ipv4Address};

/// A family of addresses, as a type: what a packet is made of is known when its code is compiled, and no packet asks.
pub trait Family: Copy + Debug + PartialEq + 'static {
    /// An address.
    type Address: Copy + Debug + PartialEq;
    /// A 5-tuple.
    type Key: Key<Address = Self::Address>;
    /// An entry of the flow table.
    type Entry<W: Word>: Record<Word = W, Key = Self::Key, New = Self::New>;
    /// What is written into an entry.
    type New: Copy + Debug;
    /// Where it is on the wire.
    type Network: Network<Address = Self::Address>;

    /// [`Station::Follow`] for this family, and so on.
    const FOLLOW: Station;
    /// See [`Station::Open`].
    const OPEN: Station;
    /// See [`Station::Other`].
    const OTHER: Station;
    /// See [`Station::Refuse`].
    const REFUSE: Station;
    /// See [`Station::Expire`].
    const EXPIRE: Station;

    /// Number of buckets of this family's flow table less one; the number is a power of two.
    fn flow_mask(settings: &Settings) -> u32;

    /// Number of this family's NAT addresses.
    fn nat_addresses(settings: &Settings) -> u32;

    /// Reads an address in the two words that a backend's is kept in, see [`crate::Backend::target`]; no more of them than it needs.
    fn address<W: Word>(words: &[W; 2]) -> Self::Address;

    /// Whether a single host of a network may have this address.
    fn is_host(address: Self::Address) -> bool;

    /// What a service is found by.
    fn service_key(service: Peer<Self::Address>, protocol: IpProtocol) -> ServiceKey;

    /// A pseudo-random number of the client's, the same on every node: see [`Settings::pick_secret`].
    fn random_of_client(key: &Self::Key, secret: &[u64; 2]) -> u64;

    /// The same of the connection.
    fn random(key: &Self::Key, secret: &[u64; 2]) -> u64;

    /// A client entry whose backend has to acknowledge the number `proof`.
    fn client_entry(key: &Self::Key, owner: &Owner, nat: (u32, Peer<Self::Address>), proof: u32) -> Self::New;

    /// A reply entry.
    fn reply_entry(key: &Self::Key, owner: &Owner, client: Peer<Self::Address>) -> Self::New;

    /// The hop that answers to this client go by, of the routes: see [`crate::reply::number`]. There are none for IPv6 yet.
    fn reply_hop<'h, W: Word + 'h>(
        hops: impl Fn(HopNumber) -> Option<&'h W>,
        client: Self::Address,
    ) -> Option<HopNumber>;

    /// For a client entry the NAT address and port to send from; for a reply entry the client.
    fn peer<T: FamilyTables<Self> + ?Sized>(
        tables: &T,
        found: &Found<'_, Self::Entry<<T as Tables>::Word>>,
    ) -> Peer<Self::Address>;
}

/// Whose a new entry is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The connection's backend.
    pub backend: BackendRef,
    /// Which set of idle times is the connection's: see [`Record::class`].
    pub idle: u16,
    /// Where the client's packets come from.
    pub hop: HopNumber,
    /// When it is made.
    pub now: Now,
}

/// IPv4, clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4;

impl Family for V4 {
    type Address = Ipv4Address;
    type Key = FlowKey;
    type Entry<W: Word> = Entry<W>;
    type New = NewEntry;
    type Network = network::Four;

    const FOLLOW: Station = Station::Follow;
    const OPEN: Station = Station::Open;
    const OTHER: Station = Station::Other;
    const REFUSE: Station = Station::Refuse;
    const EXPIRE: Station = Station::Expire;

    #[inline(always)]
    fn flow_mask(settings: &Settings) -> u32 {
        settings.flow_mask
    }

    #[inline(always)]
    fn nat_addresses(settings: &Settings) -> u32 {
        settings.nat_addresses
    }

    #[inline(always)]
    fn address<W: Word>([_, low]: &[W; 2]) -> Ipv4Address {
        // The last four bytes of a mapped address.
        Ipv4Address::from_bits((low.load() >> 32) as u32)
    }

    #[inline(always)]
    fn is_host(address: Ipv4Address) -> bool {
        address.is_host()
    }

    #[inline(always)]
    fn service_key(service: Peer, protocol: IpProtocol) -> ServiceKey {
        ServiceKey::ipv4(service.address, service.port, protocol)
    }

    #[inline(always)]
    fn random_of_client(key: &FlowKey, secret: &[u64; 2]) -> u64 {
        crate::hash::siphash13([key.addresses & 0xffff_ffff, 0], secret)
    }

    #[inline(always)]
    fn random(key: &FlowKey, secret: &[u64; 2]) -> u64 {
        crate::hash::siphash13([key.addresses, key.ports], secret)
    }

    #[inline(always)]
    fn client_entry(key: &FlowKey, owner: &Owner, (_, nat): (u32, Peer), proof: u32) -> NewEntry {
        let Owner { backend, idle, hop, now } = *owner;
        NewEntry::new(*key, Side::Client, now, backend, idle, nat, hop).with_proof(proof)
    }

    #[inline(always)]
    fn reply_entry(key: &FlowKey, owner: &Owner, client: Peer) -> NewEntry {
        let Owner { backend, idle, hop, now } = *owner;
        NewEntry::new(*key, Side::Backend, now, backend, idle, client, hop)
    }

    #[inline(always)]
    fn reply_hop<'h, W: Word + 'h>(
        hops: impl Fn(HopNumber) -> Option<&'h W>,
        client: Ipv4Address,
    ) -> Option<HopNumber> {
        crate::reply::number(hops, client)
    }

    #[inline(always)]
    fn peer<T: FamilyTables<Self> + ?Sized>(_: &T, found: &Found<'_, Entry<T::Word>>) -> Peer {
        found.peer()
    }
}

/// IPv6, clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6;

impl Family for V6 {
    type Address = WideAddress;
    type Key = WideKey;
    type Entry<W: Word> = WideEntry<W>;
    type New = NewWideEntry;
    type Network = network::Six;

    const FOLLOW: Station = Station::SixFollow;
    const OPEN: Station = Station::SixOpen;
    const OTHER: Station = Station::SixOther;
    const REFUSE: Station = Station::SixRefuse;
    const EXPIRE: Station = Station::SixExpire;

    #[inline(always)]
    fn flow_mask(settings: &Settings) -> u32 {
        settings.wide_flow_mask
    }

    #[inline(always)]
    fn nat_addresses(settings: &Settings) -> u32 {
        settings.wide_nat_addresses
    }

    #[inline(always)]
    fn address<W: Word>([first, second]: &[W; 2]) -> WideAddress {
        WideAddress(first.load(), second.load())
    }

    #[inline(always)]
    fn is_host(WideAddress(first, _): WideAddress) -> bool {
        // As `Ipv6Address::is_host`, of words.
        let [highest, ..] = first.to_ne_bytes();
        first != 0 && highest != 0xff
    }

    #[inline(always)]
    fn service_key(service: Peer<WideAddress>, protocol: IpProtocol) -> ServiceKey {
        ServiceKey { address: zerocopy::transmute!(service.address.words()), port: service.port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn random_of_client(key: &WideKey, secret: &[u64; 2]) -> u64 {
        crate::hash::siphash13(key.source, secret)
    }

    #[inline(always)]
    fn random(key: &WideKey, secret: &[u64; 2]) -> u64 {
        let ([a, b], [c, d]) = (key.source, key.destination);
        crate::hash::siphash13([a, b, c, d, key.ports], secret)
    }

    #[inline(always)]
    fn client_entry(key: &WideKey, owner: &Owner, (number, nat): (u32, Peer<WideAddress>), proof: u32) -> NewWideEntry {
        let Owner { backend, idle, hop, now } = *owner;
        NewWideEntry::client(*key, now, backend, idle, (number as u16, nat.port), hop).with_proof(proof)
    }

    #[inline(always)]
    fn reply_entry(key: &WideKey, owner: &Owner, client: Peer<WideAddress>) -> NewWideEntry {
        let Owner { backend, idle, hop, now } = *owner;
        NewWideEntry::reply(*key, now, backend, idle, client, hop)
    }

    #[inline(always)]
    fn reply_hop<'h, W: Word + 'h>(_: impl Fn(HopNumber) -> Option<&'h W>, _: WideAddress) -> Option<HopNumber> {
        None
    }

    #[inline(always)]
    fn peer<T: FamilyTables<Self> + ?Sized>(tables: &T, found: &Found<'_, WideEntry<T::Word>>) -> Peer<WideAddress> {
        let port = found.meta.peer_port();
        match found.meta.side() {
            Side::Backend => Peer { address: found.address, port },
            Side::Client => {
                let WideAddress(number, _) = found.address;
                // One that there is not is nobody's: nothing agrees with it, and nothing is sent from it.
                let address = tables.nat_address(number as u32 & 0xffff).unwrap_or_default();
                Peer { address, port }
            }
        }
    }
}
