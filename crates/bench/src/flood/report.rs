//! What is printed, in Markdown: docs/floods.md has it.

use super::{NAT_ADDRESSES, RATES, ROUND_TRIPS, Row};

/// What the table is about, and what it is not.
const CONDITIONS: &str = "\
The real core, over the tables that the DPDK plane has in memory, and a clock that is a number. Two backends, every default
(`max-flows` 1,048,576; ports 1024-65535), SYNs from random addresses without a pause. Backends answer every SYN within 0.1 ms, as
Linux does with SYN cookies; nothing is lost on the way, and no packet waits for the CPU: how many SYNs a second a machine can
look at is another question. A client is counted if its first SYN, its ACK after a round trip, its request and the answer come
through, to and from the backend that it began with. 2,000 clients for each figure, after the flood has lasted for 120 seconds or
has gone through the flow table twice.";

pub(super) fn print(rows: &[Row]) {
    println!("{CONDITIONS}\n");
    let titles = NAT_ADDRESSES.iter().flat_map(|addresses| {
        ROUND_TRIPS.iter().map(move |round_trip| format!(" {round_trip} ms, {} |", nat(*addresses)))
    });
    println!("| SYNs a second |{}", titles.collect::<String>());
    println!("|---:|{}", "---:|".repeat(NAT_ADDRESSES.len() * ROUND_TRIPS.len()));
    for rate in RATES {
        let these = rows.iter().filter(|row| row.rate == rate);
        let cells =
            these.flat_map(|row| row.outcome.clients.iter().map(|clients| format!(" {:.3} |", clients.share())));
        println!("| {} |{}", grouped(rate), cells.collect::<String>());
    }
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    println!(
        "\nOf the clients that were connected {} were cut off later; {} packets came out to another client than theirs.\n",
        sum(|row| row.outcome.lost),
        sum(|row| row.outcome.astray)
    );
    println!("What happened in the tables, for each SYN:\n");
    for Row { rate, nat_addresses, outcome } in rows {
        let events = outcome.events.iter().filter(|(_, share)| *share >= 0.0005);
        let events: Vec<_> = events.map(|(name, share)| format!("{name} {share:.3}")).collect();
        let (rate, seconds) = (grouped(*rate), outcome.warm_up);
        println!("- {rate} a second, {}, after {seconds:.0} s: {}", nat(*nat_addresses), events.join(", "));
    }
}

fn nat(addresses: u8) -> String {
    if addresses == 1 { "1 NAT address".to_owned() } else { format!("{addresses} NAT addresses") }
}

/// With a space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(" ")
}
