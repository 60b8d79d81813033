//! The flow table beside DPDK's hash on the same work: the same keys, in bursts, in random order.

use super::Effort;
use super::environment::Environment;
use super::rte_hash::{Concurrency, Heap, RteHash};
use super::talker::Talker;
use crate::deployment::{Connected, Deployment, connect};
use crate::error::BenchError;
use crate::shuffle::shuffled;
use crate::spread::Spread;
use evenkeel_core::flow::{self, FlowKey, Peer, WAYS};
use evenkeel_core::{FamilyTables, Tables as _, V4, hash};
use evenkeel_dpdk::{BURST, DpdkPlane, Eal, Tables, View, coarse_now};
use evenkeel_wire::IpProtocol;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// What this program is called with to be the process that does it.
pub(crate) const ROLE: &str = "lookups";

/// Bursts that one table gets before it is the next one's turn.
const CHUNK: usize = 64;
/// Turns of a round, and those before the first that counts. A million keys are gone through in five hundred.
const TURNS: usize = 2000;
const WARM_UP: usize = 600;

/// The contestants: ours, DPDK's alone, DPDK's with a writer beside it.
pub(crate) const TABLES: usize = 3;

/// What was measured with so many entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) entries: u32,
    /// Entries that each table has room for.
    pub(crate) places: u32,
    /// Bytes of each table.
    pub(crate) bytes: [f64; TABLES],
    /// Nanoseconds a look-up, by round.
    pub(crate) nanoseconds: Vec<[f64; TABLES]>,
    /// Of ours to each, by round.
    pub(crate) ratios: Vec<[f64; TABLES]>,
}

impl Comparison {
    pub(crate) fn nanoseconds(&self, table: usize) -> Spread {
        Spread::of(self.nanoseconds.iter().map(|round| round[table]).collect())
    }

    pub(crate) fn ratio(&self, table: usize) -> Spread {
        Spread::of(self.ratios.iter().map(|round| round[table]).collect())
    }
}

/// Has a process of its own compare them.
pub(crate) fn compare(environment: &Environment, entries: u32, effort: Effort) -> Result<Comparison, BenchError> {
    let mut command = environment.ourselves();
    command.arg(ROLE).arg(entries.to_string()).arg(effort.rounds.to_string());
    command.args(environment.eal("lookups", 0, false));
    let mut talker = Talker::start("the process that looks flows up", command)?;
    let mut hear = || {
        let line = talker.hear()?;
        let figures: Option<Vec<f64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        figures.ok_or_else(|| BenchError::Broken(line.trim().to_owned()))
    };
    let broken = |_| BenchError::Broken("the process that looks flows up does not say what it should.".to_owned());
    let first = hear()?;
    let (places, bytes) = first.split_first().map_or((0, &[][..]), |(places, bytes)| (*places as u32, bytes));
    let mut comparison = Comparison { entries, places, bytes: bytes.try_into().map_err(broken)?, ..Default::default() };
    for _ in 0..effort.rounds {
        let round = hear()?;
        let (nanoseconds, ratios) = round.split_at(TABLES.min(round.len()));
        comparison.nanoseconds.push(nanoseconds.try_into().map_err(broken)?);
        comparison.ratios.push(ratios.try_into().map_err(broken)?);
    }
    Ok(comparison)
}

/// Is the process.
pub(crate) fn serve(entries: u32, rounds: u32, arguments: &[String]) -> Result<(), BenchError> {
    let connections = entries.div_ceil(2);
    let deployment = Deployment::new(connections, None)?;
    let tables = Arc::new(Tables::new(deployment.sizes, deployment.settings, deployment.nat(), 1)?);
    deployment.balance(DpdkPlane::new(Arc::clone(&tables)))?;
    let now = coarse_now();
    let Connected { forth, back, .. } = tables.view(0, now, |view| connect(view, connections))?;
    let keys = forth.iter().chain(&back).map(|tuple| FlowKey {
        addresses: tuple.addresses,
        ports: u64::from(tuple.ports) | u64::from(IpProtocol::TCP.0) << 32,
    });
    let keys: Vec<_> = keys.take(entries as usize).collect();

    let eal = Eal::start("evenkeel-bench", arguments).0?;
    let places = (tables.flow_table().len() * WAYS) as u32;
    // Generous: twice what a table takes, for two tables.
    let heap = Heap::new(&eal, places as usize * 256 + (16 << 20))?;
    let mut bytes = [tables.flow_memory().1, 0, 0];
    let table = |concurrency, bytes: &mut usize| {
        let before = heap.used();
        let mut table = RteHash::new(&heap, places, concurrency)?;
        *bytes = heap.used() - before;
        keys.iter().try_for_each(|key| table.insert(key))?;
        Ok::<_, BenchError>(table)
    };
    let [_, plain_bytes, lock_free_bytes] = &mut bytes;
    let plain = table(Concurrency::None, plain_bytes)?;
    let lock_free = table(Concurrency::LockFree, lock_free_bytes)?;
    println!("{places} {}", bytes.map(|bytes| bytes.to_string()).join(" "));

    let stream = Stream::of(&keys);
    tables.view(0, now, |view| {
        let contestants: [LookUp<'_>; TABLES] = [
            &|bursts| bursts.iter().map(|burst| look_up(view, burst)).sum(),
            &|bursts| bursts.iter().map(|burst| plain.look_up(burst)).sum(),
            &|bursts| bursts.iter().map(|burst| lock_free.look_up(burst)).sum(),
        ];
        (0..rounds).try_for_each(|_| round(&contestants, &stream))
    })
}

/// Looks bursts of keys up in one of the tables; says how many were found.
type LookUp<'t> = &'t dyn Fn(&[[FlowKey; BURST]]) -> usize;

/// Keys in random order, in chunks of bursts.
struct Stream(Vec<[FlowKey; BURST]>);

impl Stream {
    /// Every key equally often, and so often that the chunks come out even.
    fn of(keys: &[FlowKey]) -> Self {
        let order = shuffled(keys.len());
        let length = order.len().max(BURST * CHUNK * TABLES).next_multiple_of(BURST * CHUNK);
        let endless: Vec<_> = order.iter().cycle().take(length).map(|&at| keys[at]).collect();
        Self(endless.as_chunks().0.to_vec())
    }

    fn chunk(&self, number: usize) -> &[[FlowKey; BURST]] {
        let first = number % (self.0.len() / CHUNK) * CHUNK;
        &self.0[first..first + CHUNK]
    }
}

/// One round: everybody's chunks in turn, each a third of the stream ahead of the next, so that no table finds keys in
/// the cache that another one has just read. Says nanoseconds and ratios, medians over the turns.
fn round(contestants: &[LookUp<'_>; TABLES], stream: &Stream) -> Result<(), BenchError> {
    let chunks = stream.0.len() / CHUNK;
    let mut nanoseconds: [Vec<f64>; TABLES] = Default::default();
    let mut ratios: [Vec<f64>; TABLES] = Default::default();
    for turn in 0..WARM_UP + TURNS {
        let mut took = [0.0; TABLES];
        for (place, contestant) in contestants.iter().enumerate() {
            let chunk = stream.chunk(turn + place * chunks / TABLES);
            let start = Instant::now();
            let found = contestant(chunk);
            took[place] = start.elapsed().as_secs_f64() * 1e9 / (CHUNK * BURST) as f64;
            if found != CHUNK * BURST {
                return Err(BenchError::Broken(format!("table {place} has found {found} of {} keys.", CHUNK * BURST)));
            }
        }
        if turn >= WARM_UP {
            for place in 0..TABLES {
                nanoseconds[place].push(took[place]);
                ratios[place].push(took[0] / took[place]);
            }
        }
    }
    let medians: Vec<_> =
        nanoseconds.into_iter().chain(ratios).map(|values| Spread::of(values).median.to_string()).collect();
    println!("{}", medians.join(" "));
    Ok(())
}

/// As an lcore does it: places first, then requests for their memory, then the look-ups.
#[inline(always)]
fn look_up(view: &View<'_>, keys: &[FlowKey; BURST]) -> usize {
    let settings = view.settings();
    let places = keys.map(|key| hash::place(key, &settings.flow_secret));
    places.iter().for_each(|&place| view.prefetch(place));
    // The answer as well, not only that there is one.
    keys.iter().zip(places).filter_map(|(&key, place)| find(view, key, place).map(black_box)).count()
}

/// What the flow table says about a key, whose place is known.
#[inline(always)]
pub(crate) fn find(view: &View<'_>, key: FlowKey, place: u64) -> Option<Peer> {
    let bucket = FamilyTables::<V4>::flows(view, hash::bucket(place, view.settings().flow_mask))?;
    flow::find(bucket, key, hash::start(place)).map(|found| found.peer())
}
