//! A plane's flow table, looked at and aged through the memory that it shares with us.

use super::ledger::Connection;
use super::plane::PlaneUnderTest;
use super::rig::peer;
use evenkeel_control::config::Protocol;
use evenkeel_core::flow::{
    Bucket, BucketOf, FlowKey, Key as _, Meta, Now, Peer, Record, Side, State, Tick, WideBucket, WideEntry,
};
use evenkeel_core::{BackendRef, hash};
use evenkeel_wire::IpProtocol;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A live entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its bucket.
    pub bucket: usize,
    /// Its place in the bucket.
    pub slot: usize,
    /// Its key.
    pub key: FlowKey,
    /// Its control word.
    pub meta: Meta,
    /// The backend.
    pub backend: BackendRef,
    /// NAT address and port, or client.
    pub peer: Peer,
    /// Which set of idle times is its own.
    pub class: usize,
}

/// Every live entry.
pub fn entries(plane: &PlaneUnderTest) -> Vec<Remembered> {
    let mut found = Vec::new();
    for (bucket, entries) in plane.flow_table().iter().enumerate() {
        for (slot, entry) in entries.0.iter().enumerate() {
            let Some(entry) = entry.read() else { continue };
            let (key, meta, backend, peer, class) = (entry.key, entry.meta, entry.backend, entry.peer(), entry.class);
            found.push(Remembered { bucket, slot, key, meta, backend, peer, class });
        }
    }
    found
}

/// The keys of a connection's client entry and reply entry.
pub fn keys(connection: &Connection) -> [FlowKey; 2] {
    let protocol = match connection.protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
    };
    let key = |from, to| FlowKey::new(peer(from), peer(to), protocol);
    [key(connection.client, connection.service), key(connection.backend, connection.nat)]
}

/// A connection's client entry and reply entry.
pub fn pair(plane: &PlaneUnderTest, connection: &Connection) -> [Option<Remembered>; 2] {
    let entries = entries(plane);
    keys(connection).map(|key| entries.iter().find(|entry| entry.key == key).copied())
}

/// The connection's states in both entries, which must be there.
#[track_caller]
pub fn states(plane: &PlaneUnderTest, connection: &Connection) -> [State; 2] {
    pair(plane, connection).map(|entry| entry.map_or(State::Free, |entry| entry.meta.state()))
}

/// The bucket in which this key is kept.
pub fn bucket<'p>(plane: &'p PlaneUnderTest, key: FlowKey) -> (usize, &'p Bucket<AtomicU64>) {
    let settings = plane.settings();
    let index = hash::bucket(hash::place(key, &settings.flow_secret), settings.flow_mask) as usize;
    (index, &plane.flow_table()[index])
}

/// Makes these entries look as if they had been seen last so many ticks before this time; or as long ago as can be told.
pub fn stamp(plane: &PlaneUnderTest, keys: &[FlowKey], now: Now, ticks: u16) {
    let keys: HashSet<_> = keys.iter().collect();
    for entry in entries(plane).iter().filter(|entry| keys.contains(&entry.key)) {
        let most = if entry.meta.state().is_coarse() { u32::MAX } else { Tick::LONGEST.into() };
        let seen = Now(now.0.wrapping_sub((u32::from(ticks) << 6).min(most)));
        let word = &plane.flow_table()[entry.bucket].0[entry.slot].meta;
        word.store(entry.meta.with_seen(seen).0, Relaxed);
    }
}

/// Makes every entry older by so many ticks, or as old as can be told.
pub fn age<E: Record<Word = AtomicU64>>(table: &[BucketOf<E>], ticks: u16) {
    for word in table.iter().flat_map(|bucket| &bucket.0).map(Record::meta) {
        let meta = Meta(word.load(Relaxed));
        if meta.is_live() {
            let units = if meta.state().is_coarse() { u32::from(ticks) } else { u32::from(ticks) << 6 };
            let seen = meta.seen().0.wrapping_sub(units.min(u32::from(Tick::LONGEST)) as u16);
            word.store(meta.0 & !(0xffff << 16) | u64::from(seen) << 16, Relaxed);
        }
    }
}

/// Empties the tables: every word zero, as when they were made.
pub fn clear(table: &[Bucket<AtomicU64>], wide: &[WideBucket<AtomicU64>]) {
    let wide = wide.iter().flat_map(|bucket| &bucket.0).flat_map(wide_cells);
    wide.for_each(|word| word.store(0, Relaxed));
    for entry in table.iter().flat_map(|bucket| &bucket.0) {
        for word in [&entry.meta, &entry.addresses, &entry.ports, &entry.peer] {
            word.store(0, Relaxed);
        }
    }
}

/// Every word of the table.
pub fn words(table: &[Bucket<AtomicU64>]) -> Vec<[u64; 4]> {
    let entries = table.iter().flat_map(|bucket| &bucket.0);
    entries
        .map(|entry| [&entry.meta, &entry.addresses, &entry.ports, &entry.peer].map(|word| word.load(Relaxed)))
        .collect()
}

/// The same of IPv6.
pub fn wide_words(table: &[WideBucket<AtomicU64>]) -> Vec<[u64; 8]> {
    let entries = table.iter().flat_map(|bucket| &bucket.0);
    entries.map(|entry| wide_cells(entry).map(|word| word.load(Relaxed))).collect()
}

fn wide_cells(entry: &WideEntry<AtomicU64>) -> [&AtomicU64; 8] {
    let WideEntry { meta, source: [s0, s1], destination: [d0, d1], ports, peer: [p0, p1] } = entry;
    [meta, s0, s1, d0, d1, ports, p0, p1]
}

/// What is wrong with a table at rest; nothing, it is hoped.
pub fn violations(plane: &PlaneUnderTest) -> Vec<String> {
    let mut violations = Vec::new();
    // An entry whose time is over is out of use, whatever it says.
    let (timeouts, now) = (&plane.settings().timeouts, plane.now());
    let mut entries = entries(plane);
    entries.retain(|entry| !timeouts.expired(entry.meta, entry.class, now));
    let mut by_key = HashMap::new();
    for entry in &entries {
        if let Some(other) = by_key.insert(entry.key, entry) {
            violations.push(format!("one key twice: {other:?} and {entry:?}"));
        }
        let (right, _) = bucket(plane, entry.key);
        if right != entry.bucket {
            violations.push(format!("in the wrong bucket, not {right}: {entry:?}"));
        }
    }
    for (bucket, entries) in plane.flow_table().iter().enumerate() {
        if entries.0.iter().any(|entry| Meta(entry.meta.load(Relaxed)).state() == State::Claimed) {
            violations.push(format!("bucket {bucket}: a place is claimed, and nobody is there"));
        }
    }
    let mut ports = HashMap::new();
    let is_established = |entry: &&Remembered| entry.meta.state() == State::Established;
    for client in entries.iter().filter(|entry| entry.meta.side() == Side::Client) {
        let reply = entries.iter().find(|reply| {
            let names_each_other = (reply.key.destination(), reply.peer) == (client.peer, client.key.source());
            reply.meta.side() == Side::Backend && reply.backend == client.backend && names_each_other
        });
        if is_established(&client) && reply.is_none_or(|reply| !is_established(&reply)) {
            violations.push(format!("established without its reply entry: {client:?}, {reply:?}"));
        }
        // One whose reply entry was evicted counts no more: no packet is sent for it.
        if let Some(reply) = reply
            && let Some(other) = ports.insert(reply.key, client)
        {
            violations.push(format!("one NAT port for two: {other:?} and {client:?}"));
        }
    }
    for reply in entries.iter().filter(|entry| entry.meta.side() == Side::Backend).filter(is_established) {
        let client = entries.iter().find(|client| {
            let names_each_other = (client.peer, client.key.source()) == (reply.key.destination(), reply.peer);
            client.meta.side() == Side::Client && client.backend == reply.backend && names_each_other
        });
        if client.is_none() {
            violations.push(format!("established without its client entry: {reply:?}"));
        }
    }
    violations
}
