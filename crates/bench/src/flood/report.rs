//! The table.

use super::{NAT_ADDRESSES, RATES, ROUND_TRIPS, Row};

pub(super) fn print(rows: &[Row]) {
    let titles = NAT_ADDRESSES.iter().flat_map(|addresses| {
        let addresses = if *addresses == 1 { "1 NAT address".to_owned() } else { format!("{addresses} NAT addresses") };
        ROUND_TRIPS.iter().map(move |round_trip| format!(" {round_trip} ms, {addresses} |"))
    });
    println!("| SYNs a second |{}", titles.collect::<String>());
    println!("|---:|{}", "---:|".repeat(NAT_ADDRESSES.len() * ROUND_TRIPS.len()));
    for rate in RATES {
        let these = rows.iter().filter(|row| row.rate == rate);
        let cells =
            these.flat_map(|row| row.outcome.clients.iter().map(|clients| format!(" {:.3} |", clients.share())));
        println!("| {} |{}", grouped(rate), cells.collect::<String>());
    }
    println!();
    for Row { rate, nat_addresses, outcome } in rows {
        let events: Vec<_> = outcome
            .events
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(name, share)| format!("{name} {share:.3}"))
            .collect();
        println!(
            "- {} SYNs a second, {nat_addresses} NAT {}, after {:.0} s: {}; {} established connections lost, {} packets astray",
            grouped(*rate),
            if *nat_addresses == 1 { "address" } else { "addresses" },
            outcome.warm_up,
            events.join(", "),
            outcome.lost,
            outcome.astray,
        );
    }
}

/// With a space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(" ")
}
