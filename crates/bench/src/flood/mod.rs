//! What a flood of SYNs does to honest clients, by simulation: the real core over the DPDK plane's tables in memory, and a
//! clock that is a number. So a flood of a million a second can be tried on any machine, and comes out the same every time.

mod report;
mod world;

use crate::error::BenchError;
use world::{Outcome, World};

/// SYNs a second.
const RATES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// NAT addresses.
const NAT_ADDRESSES: [u8; 2] = [1, 4];
/// Milliseconds from a client to the balancer and back.
const ROUND_TRIPS: [u64; 3] = [1, 50, 200];

/// What became of the honest clients of one flood.
struct Row {
    rate: u64,
    nat_addresses: u8,
    outcome: Outcome,
}

/// Simulates every flood and prints what came of it, in Markdown.
pub(crate) fn simulate() -> Result<(), BenchError> {
    let mut rows = Vec::new();
    for rate in RATES {
        for nat_addresses in NAT_ADDRESSES {
            let began = std::time::Instant::now();
            rows.push(Row { rate, nat_addresses, outcome: World::new(rate, nat_addresses)?.run()? });
            eprintln!("[{:3} s] {rate} SYNs a second, {nat_addresses} NAT addresses", began.elapsed().as_secs());
        }
    }
    report::print(&rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The aim: with one NAT address, two backends and the default sizes.
    #[test]
    fn a_flood_of_a_hundred_thousand_a_second_keeps_honest_clients_out_of_nothing() {
        let outcome = World::new(100_000, 1).and_then(World::run).expect("there is memory");
        for (round_trip, clients) in ROUND_TRIPS.iter().zip(&outcome.clients) {
            assert!(clients.share() >= 0.99, "{round_trip} ms: {outcome:?}");
        }
        assert_eq!((outcome.lost, outcome.astray), (0, 0), "{outcome:?}");
    }
}
