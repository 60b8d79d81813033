//! Connections over a restart: what the tables hold is written to a file when the process ends, and read by the next one.
//!
//! The file holds the flow table's secret, so it is its owner's alone; it is meant for a file system in memory. Each file is
//! taken once: connections that are a while old have gone on without us.

use crate::tables::{Directory, Tables};
use evenkeel_control::carry::{Carried, Placement};
use evenkeel_control::config::Nat;
use evenkeel_control::private::{Others, PrivateDirectory, PrivateError, create_private, read_private};
use evenkeel_control::{MOST_FLOWS, Secrets, Sizes};
use evenkeel_core::flow::{BucketOf, WAYS};
use evenkeel_core::hop::HOPS;
use evenkeel_core::{Backend, LAYOUT, Service, ServiceKey, Word};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What every file begins with.
const MAGIC: [u8; 8] = *b"evenkeel";
/// A file is of no use after so long: stamps of flows are told apart for nine hours, and no client waits for one.
const OLDEST: Duration = Duration::from_secs(600);

/// Why the connections of the process before are not taken over. None of it keeps a balancer from starting.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody else can have written it, or can write there.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// It is no file of ours, or half of one.
    #[error("{0} is damaged, or not evenkeel's")]
    Damaged(String),
    /// It is of a version whose tables are laid out otherwise.
    #[error("{0} was written by a version whose tables are laid out otherwise")]
    Layout(String),
    /// It is from before a boot, or from long ago.
    #[error("{0} is too old")]
    Old(String),
    /// What connections depend on has changed.
    #[error("[nat] is not what it was, or there is no room for the backends that there were")]
    Changed,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    layout: u32,
    flow_mask: u32,
    /// Tells one boot of the machine from another: the clock begins anew.
    boot: [u8; 16],
    /// When it was written, in seconds of that clock.
    written: u64,
    pick_secret: [u64; 2],
    flow_secret: [u32; 4],
    ports: [u16; 2],
    addresses: u32,
    wide_flow_mask: u32,
    /// How many NAT addresses of IPv6 there are.
    wide_addresses: u32,
    backends: u64,
    hops: u64,
    entries: u64,
    wide_entries: u64,
    services: u64,
}

/// The place of an entry. In the file its words follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Place {
    bucket: u32,
    slot: u32,
}

/// A service: which idle times its connections live by.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct KnownService {
    key: ServiceKey,
    service: Service,
}

/// A hop towards clients and its number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct NumberedHop {
    number: u64,
    word: u64,
}

/// What the process before has left.
#[derive(Debug)]
pub struct Handover {
    secrets: Secrets,
    flow_mask: u32,
    wide_flow_mask: u32,
    /// Those of IPv4 first.
    addresses: Vec<IpAddr>,
    /// First and last port that full NAT uses.
    ports: (u16, u16),
    services: Vec<KnownService>,
    /// Link, target, service, kind, from the first place on.
    backends: Vec<[u64; 8]>,
    hops: Vec<NumberedHop>,
    /// Each with its place within its bucket.
    entries: Vec<(u32, [u64; 4])>,
    wide_entries: Vec<(u32, [u64; 8])>,
}

impl Handover {
    /// Writes down what the tables hold, whole or not at all. No lcore may be at work.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(tables: &Tables, path: &Path) -> Result<(), HandoverError> {
        let failed = failed(path);
        let beside = beside(path);
        let file = create_private(&beside)?;
        let written = write(tables, BufWriter::new(file)).and_then(|()| fs::rename(&beside, path));
        written.map_err(|error| {
            let _ = fs::remove_file(&beside);
            failed(error)
        })
    }

    /// Sees to it that a file can be written there when the time has come: makes its directory, and tries.
    ///
    /// # Errors
    /// It cannot.
    pub fn prepare(path: &Path) -> Result<(), HandoverError> {
        let failed = failed(path);
        match PrivateDirectory::make(path.parent().unwrap_or(Path::new("")), Others::Sticky) {
            Err(PrivateError::Io { source, .. }) => return Err(failed(source)),
            made => made?,
        };
        let beside = beside(path);
        create_private(&beside)?;
        fs::remove_file(&beside).map_err(failed)
    }

    /// Reads what the process before has left; nothing if it has left nothing. What somebody else may have written is not
    /// looked into.
    ///
    /// # Errors
    /// There is a file, and it is of no use.
    pub fn read(path: &Path) -> Result<Option<Self>, HandoverError> {
        read_private(path)?.map(|file| read(&file, path)).transpose()
    }

    /// Takes the file away, if there is one: each is for one process, and once that is at work, what it says grows old.
    ///
    /// # Errors
    /// It stays.
    pub fn discard(path: &Path) -> Result<(), HandoverError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
            _ => Ok(()),
        }
    }

    /// The secrets that flows were placed and backends picked by: the tables must be made with them.
    pub fn secrets(&self) -> Secrets {
        self.secrets
    }

    /// How large tables must be that have these sizes and room for what there is. The flow tables are never smaller than they were:
    /// connections might have no place.
    pub fn grown(&self, sizes: Sizes) -> Sizes {
        let buckets = |mask: u32| mask.saturating_add(1);
        // As many as have so many buckets.
        let flows = |mask| buckets(mask).saturating_mul(WAYS as u32 / 4);
        let mut grown = sizes;
        if buckets(self.flow_mask) > sizes.buckets() {
            grown.flows = flows(self.flow_mask);
        }
        if buckets(self.wide_flow_mask) > sizes.wide_buckets() {
            grown.wide_flows = flows(self.wide_flow_mask);
        }
        grown
    }

    /// Whether connections can go on with tables of these sizes, or larger ones, and this NAT.
    ///
    /// # Errors
    /// They cannot.
    pub fn check(&self, sizes: &Sizes, nat: &Nat) -> Result<(), HandoverError> {
        let old = Nat { addresses: self.addresses.clone(), ports: nat.ports };
        let is_same_nat = (old.ipv4(), old.ipv6(), self.ports) == (nat.ipv4(), nat.ipv6(), nat.own_ports());
        let fits = is_same_nat
            && self.backends.len() <= sizes.backends as usize
            && self.services.len() <= sizes.services as usize;
        if fits { Ok(()) } else { Err(HandoverError::Changed) }
    }

    /// Puts connections, backends and services where they were, into tables that are new and were made with [`Handover::secrets`],
    /// as large as [`Handover::grown`] says.
    /// Returns how many connections there are.
    pub fn restore(&self, tables: &Tables) -> usize {
        for (backend, words) in tables.backends.iter().zip(&self.backends) {
            for (word, value) in backend_words(backend).into_iter().zip(words) {
                Word::store(word, *value);
            }
        }
        let mut directory = Directory::clone(&tables.directory.load());
        directory.services.extend(self.services.iter().map(|known| (known.key, known.service)));
        tables.directory.store(Arc::new(directory));
        for hop in &self.hops {
            if let Some(word) = tables.hops.get(hop.number as usize) {
                Word::store(word, hop.word);
            }
        }
        let placement = Placement::new(tables.settings.flow_secret);
        let (table, wide) = (tables.flow_table(), tables.wide_flow_table());
        let restored =
            self.entries.iter().filter(|(slot, words)| placement.put(&table, *slot as usize, *words)).count();
        let wide_entries = self.wide_entries.iter();
        restored / 2 + wide_entries.filter(|(slot, words)| placement.put(&wide, *slot as usize, *words)).count() / 2
    }
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.new", std::process::id()))
}

fn write(tables: &Tables, mut file: BufWriter<File>) -> io::Result<()> {
    let settings = &tables.settings;
    let directory = tables.directory.load();
    let used = tables.backends.iter().rposition(|backend| Word::load(&backend.link) != 0).map_or(0, |last| last + 1);
    let (entries, wide_entries) = (|| living(&directory.flows), || living(&directory.wide));
    let hops = || {
        let numbered = (0..).zip(&tables.hops).map(|(number, word)| NumberedHop { number, word: Word::load(word) });
        numbered.filter(|hop| hop.word != 0)
    };
    let head = Head {
        magic: MAGIC,
        layout: LAYOUT,
        flow_mask: directory.settings.flow_mask,
        wide_flow_mask: directory.settings.wide_flow_mask,
        wide_addresses: tables.wide_nat.len() as u32,
        boot: boot()?,
        written: now().as_secs(),
        pick_secret: settings.pick_secret,
        flow_secret: settings.flow_secret,
        ports: [settings.nat_port_first, settings.nat_port_last],
        addresses: tables.nat.len() as u32,
        backends: used as u64,
        hops: hops().count() as u64,
        entries: entries().count() as u64,
        wide_entries: wide_entries().count() as u64,
        services: directory.services.len() as u64,
    };
    file.write_all(head.as_bytes())?;
    for address in &tables.nat {
        file.write_all(&address.0)?;
    }
    for address in &tables.wide_nat {
        file.write_all(&address.0)?;
    }
    for backend in tables.backends.iter().take(used) {
        file.write_all(backend_words(backend).map(Word::load).as_bytes())?;
    }
    for hop in hops() {
        file.write_all(hop.as_bytes())?;
    }
    for (place, words) in entries() {
        file.write_all(place.as_bytes())?;
        file.write_all(words.as_bytes())?;
    }
    for (place, words) in wide_entries() {
        file.write_all(place.as_bytes())?;
        file.write_all(words.as_bytes())?;
    }
    for (&key, &service) in &directory.services {
        file.write_all(KnownService { key, service }.as_bytes())?;
    }
    file.flush()
}

fn read(file: &File, path: &Path) -> Result<Handover, HandoverError> {
    let name = || path.display().to_string();
    let failed = failed(path);
    let damaged = |_| HandoverError::Damaged(name());
    let length = file.metadata().map_err(&failed)?.len();
    let mut file = BufReader::new(file);
    let mut head = Head::new_zeroed();
    file.read_exact(head.as_mut_bytes()).map_err(damaged)?;
    if head.magic != MAGIC {
        return Err(HandoverError::Damaged(name()));
    }
    if head.layout != LAYOUT {
        return Err(HandoverError::Layout(name()));
    }
    let is_mask = |mask: u32| mask.wrapping_add(1).is_power_of_two() && mask < MOST_FLOWS;
    if !is_mask(head.flow_mask) || !is_mask(head.wide_flow_mask) {
        return Err(HandoverError::Damaged(name()));
    }
    let age = now().as_secs().checked_sub(head.written);
    if head.boot != boot().map_err(failed)? || age.is_none_or(|age| age > OLDEST.as_secs()) {
        return Err(HandoverError::Old(name()));
    }
    // Told by the file, so held against its length before any memory is taken for it.
    let said = [
        (1, size_of::<Head>()),
        (u64::from(head.addresses), 4),
        (u64::from(head.wide_addresses), 16),
        (head.backends, 64),
        (head.hops, size_of::<NumberedHop>()),
        (head.entries, size_of::<Place>() + size_of::<[u64; 4]>()),
        (head.wide_entries, size_of::<Place>() + size_of::<[u64; 8]>()),
        (head.services, size_of::<KnownService>()),
    ];
    let wanted = said.iter().try_fold(0_u64, |sum, (count, size)| sum.checked_add(count.checked_mul(*size as u64)?));
    if wanted != Some(length) {
        return Err(HandoverError::Damaged(name()));
    }
    let mut addresses = Vec::new();
    for _ in 0..head.addresses {
        let mut address = [0_u8; 4];
        file.read_exact(&mut address).map_err(damaged)?;
        addresses.push(IpAddr::from(address));
    }
    for _ in 0..head.wide_addresses {
        let mut address = [0_u8; 16];
        file.read_exact(&mut address).map_err(damaged)?;
        addresses.push(IpAddr::from(address));
    }
    let mut backends = Vec::new();
    for _ in 0..head.backends {
        let mut words = [0_u64; 8];
        file.read_exact(words.as_mut_bytes()).map_err(damaged)?;
        backends.push(words);
    }
    let mut hops = Vec::new();
    for _ in 0..head.hops {
        let mut hop = NumberedHop::new_zeroed();
        file.read_exact(hop.as_mut_bytes()).map_err(damaged)?;
        if hop.number >= u64::from(HOPS) {
            return Err(HandoverError::Damaged(name()));
        }
        hops.push(hop);
    }
    let is_damaged = || HandoverError::Damaged(name());
    let entries = read_entries(&mut file, head.entries, head.flow_mask).ok_or_else(is_damaged)?;
    let wide_entries = read_entries(&mut file, head.wide_entries, head.wide_flow_mask).ok_or_else(is_damaged)?;
    let mut services = Vec::new();
    for _ in 0..head.services {
        let mut known = KnownService::new_zeroed();
        file.read_exact(known.as_mut_bytes()).map_err(damaged)?;
        services.push(known);
    }
    Ok(Handover {
        secrets: Secrets { pick: head.pick_secret, flow: head.flow_secret },
        flow_mask: head.flow_mask,
        wide_flow_mask: head.wide_flow_mask,
        addresses,
        ports: head.ports.into(),
        services,
        backends,
        hops,
        entries,
        wide_entries,
    })
}

/// Every entry of a table that stands for a connection, and its place.
fn living<E: Carried>(table: &[BucketOf<E>]) -> impl Iterator<Item = (Place, E::Words)> {
    let places = table.iter().zip(0_u32..).flat_map(|(bucket, at)| {
        bucket.0.iter().zip(0_u32..).map(move |(entry, slot)| (Place { bucket: at, slot }, entry.load()))
    });
    places.filter(|(_, words)| E::meta_of_words(words).is_live())
}

/// So many entries of a table with this mask, each with its place within its bucket; nothing if they are not all there, or one
/// cannot have been in that table.
fn read_entries<Words>(file: &mut impl Read, count: u64, mask: u32) -> Option<Vec<(u32, Words)>>
where
    Words: FromBytes + IntoBytes,
{
    let mut entries = Vec::new();
    for _ in 0..count {
        let (mut place, mut words) = (Place::new_zeroed(), Words::new_zeroed());
        file.read_exact(place.as_mut_bytes()).ok()?;
        file.read_exact(words.as_mut_bytes()).ok()?;
        if place.bucket > mask || place.slot >= WAYS as u32 {
            return None;
        }
        entries.push((place.slot, words));
    }
    Some(entries)
}

fn backend_words(backend: &Backend<AtomicU64>) -> [&AtomicU64; 8] {
    let Backend { link, kind, ports, reserved, target: [t0, t1], service: [s0, s1] } = backend;
    [link, kind, ports, reserved, t0, t1, s0, s1]
}

/// The kernel's random name of this boot (random(4)).
fn boot() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut boot = [0; 16];
    for (byte, pair) in boot.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    }
    Ok(boot)
}

/// The clock that flows are stamped by.
fn now() -> Duration {
    crate::clock::monotonic()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> HandoverError {
    let path = path.display().to_string();
    move |source| HandoverError::Io { path: path.clone(), source }
}
