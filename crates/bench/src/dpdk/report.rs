//! The tables of the DPDK half, as the README has them.

use super::contest::{Round, Rounds};
use super::environment::Environment;
use super::lookups::Comparison;
use crate::spread::{Limit, Spread, aim};

/// How fast our loop shall be, by testpmd's 5tswap, with so many flows.
const AIM: (u32, f64) = (1 << 16, 0.5);

const LOOPS: &str = "
One lcore that forwards 64-byte packets, half of them of each direction, in random order. The port receives from memory
and drops what is sent (net_pcap, infinite_rx), alike for evenkeel and for dpdk-testpmd. Median of the rounds
(least-greatest). EAL's memory is in";

const PARTS: &str = "
Where evenkeel's time goes: nanoseconds a packet, differences between the loop with and without a part. A part that
disturbs what the port does has that counted to it.
";

const LOOKUPS: &str = "
The flow table beside rte_hash, both with room for as many entries and in memory of the same kind. Nanoseconds a look-up
in bursts of 32; ratios of the flow table to rte_hash, turn by turn. Bytes are of each connection that there is room
for: four entries of the flow table by design; two of rte_hash, a key and a pointer each, what they say not counted.
";

impl Rounds {
    fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure).collect())
    }
}

pub(crate) fn loops(contests: &[Rounds], environment: &Environment) {
    println!("{LOOPS} {}.", environment.memory());
    println!("\nMillion packets a second; nanoseconds a packet\n");
    table(
        "flows | evenkeel | testpmd io | testpmd 5tswap | testpmd csum",
        contests.iter().map(|contest| {
            let cell = |figure: fn(&Round) -> f64| {
                let nanoseconds = contest.spread(figure);
                format!("{:.1}; {}", 1e3 / nanoseconds.median, nanoseconds.cell(1))
            };
            let cells = [cell(|round| round.everything), cell(|round| round.io), cell(|round| round.swap)];
            format!("{} | {} | {}", contest.flows, cells.join(" | "), cell(|round| round.checksum))
        }),
    );
    println!("\nSpeed of evenkeel by testpmd's, and nanoseconds a packet net of testpmd io\n");
    table(
        "flows | by io | by 5tswap | by csum | evenkeel, net | 5tswap, net",
        contests.iter().map(|contest| {
            let cell = |figure: fn(&Round) -> f64, digits| contest.spread(figure).cell(digits);
            let cells = [
                contest.flows.to_string(),
                cell(|round| round.io / round.everything, 2),
                cell(|round| round.swap / round.everything, 2),
                cell(|round| round.checksum / round.everything, 2),
                cell(|round| round.everything - round.io, 1),
                cell(|round| round.swap - round.io, 1),
            ];
            cells.join(" | ")
        }),
    );
    println!("{PARTS}");
    table(
        "flows | receive, send | + headers, hash, prefetch | + look-up | + rewriting, counters",
        contests.iter().map(|contest| {
            let cell = |figure: fn(&Round) -> f64| contest.spread(figure).cell(1);
            let cells = [
                contest.flows.to_string(),
                cell(|round| round.port),
                cell(|round| round.glance - round.port),
                cell(|round| round.look_up - round.glance),
                cell(|round| round.everything - round.look_up),
            ];
            cells.join(" | ")
        }),
    );
}

pub(crate) fn lookups(comparisons: &[Comparison]) {
    println!("{LOOKUPS}");
    table(
        "entries, of | flow table | rte_hash | ratio | rte_hash, lock-free | ratio | bytes | rte_hash's bytes",
        comparisons.iter().map(|compared| {
            let Comparison { entries, places, bytes, .. } = compared;
            let [ours, plain, lock_free] = [0, 1, 2].map(|table| compared.nanoseconds(table).cell(1));
            let [by_plain, by_lock_free] = [1, 2].map(|table| compared.ratio(table).cell(2));
            let [our_bytes, their_bytes, _] = bytes.map(|bytes| bytes / f64::from(*places));
            let (our_bytes, their_bytes) = (4.0 * our_bytes, 2.0 * their_bytes);
            format!(
                "{entries}, {places} | {ours} | {plain} | {by_plain} | {lock_free} | {by_lock_free} | {our_bytes:.0} | {their_bytes:.0}"
            )
        }),
    );
}

pub(crate) fn aims(contests: &[Rounds]) {
    println!("\nAims");
    let (flows, least) = AIM;
    for contest in contests.iter().filter(|contest| contest.flows == flows) {
        let speed = contest.spread(|round| round.swap / round.everything).median;
        aim(&format!("one lcore, {flows} flows"), speed, Limit::AtLeast(least), "of 5tswap's speed", 2);
    }
}

/// A table in Markdown.
fn table(head: &str, rows: impl Iterator<Item = String>) {
    println!("| {head} |");
    println!("|{}", "---|".repeat(head.matches('|').count() + 1));
    rows.for_each(|row| println!("| {row} |"));
}
