//! The table, and what it says about the aims.

use super::figures::{Row, Scene, What};
use super::memory::Memory;
use crate::spread::{Limit, Spread, aim};

/// The most that a figure may be.
struct Aim {
    what: What,
    /// In the scene of this many flows; everywhere if `None`.
    flows: Option<u32>,
    most: f64,
}

const AIMS: [Aim; 5] = [
    Aim { what: What::Mean, flows: Some(1), most: 1.5 },
    Aim { what: What::Mean, flows: Some(1 << 16), most: 0.8 },
    Aim { what: What::Mean, flows: Some(1_000_000), most: 0.6 },
    Aim { what: What::Flood, flows: None, most: 1.0 },
    Aim { what: What::NotOurs, flows: None, most: 1.0 },
];

/// Bytes that a connection may take.
const MEMORY_AIM: f64 = 128.0;

pub(crate) fn table(rows: &[Row]) {
    println!("Nanoseconds a packet, net of an empty program; ratios are of evenkeel to the yardstick, turn by turn.");
    println!("The yardstick: parse, one LRU_HASH lookup that hits (16-byte key), swap the Ethernet addresses.");
    println!("Each: median of the rounds (least to greatest).");
    let mut last = None;
    for row in rows {
        if last != Some(row.scene) {
            let Scene { flows, room } = row.scene;
            let title = format!("{flows} flows, in tables for {room}");
            let beside = if row.beside.is_some() { ["the other version", "ratio to it"] } else { ["", ""] };
            let titles = ["evenkeel", "yardstick", "ratio"].iter().chain(&beside).map(|title| format!("{title:21}"));
            println!("\n{title:38}{}", titles.collect::<String>().trim_end());
            last = Some(row.scene);
        }
        let beside = row.beside.map_or_else(String::new, |(beside, ratio)| cell(beside, 0) + &cell(ratio, 3));
        let cells = [cell(row.subject, 0), cell(row.yardstick, 0), cell(row.ratio, 2)].concat();
        println!("  {:32}{cells}{beside}", row.what.name());
    }
}

fn cell(spread: Spread, digits: usize) -> String {
    format!("{:>20} ", spread.cell(digits))
}

pub(crate) fn memory(memory: &Memory, room: u32) {
    println!("\nMemory of tables for {room} connections");
    println!("  {:28}{:>8.1} bytes a connection", "flow table", memory.flow_table as f64 / f64::from(room));
    println!("  {:28}{:>8.1} bytes a connection", "all maps", memory.total() as f64 / f64::from(room));
    let large: Vec<_> = memory
        .maps
        .iter()
        .filter(|(_, bytes)| *bytes >= 100_000)
        .map(|(name, bytes)| format!("{name} {:.1}", *bytes as f64 / 1e6))
        .collect();
    println!(
        "  {:.1} MB in all: {}; and {:.2} MB for each service's Maglev table",
        memory.total() as f64 / 1e6,
        large.join(", "),
        memory.maglev as f64 / 1e6
    );
}

pub(crate) fn verdicts(rows: &[Row], used: &Memory, room: u32) {
    println!("\nAims");
    for wanted in &AIMS {
        let meant = |row: &&Row| {
            row.what == wanted.what && row.scene.is_full() && wanted.flows.is_none_or(|flows| flows == row.scene.flows)
        };
        for row in rows.iter().filter(meant) {
            let what = format!("{}, {} flows", wanted.what.name(), row.scene.flows);
            aim(&what, row.ratio.median, Limit::AtMost(wanted.most), "of the yardstick", 2);
        }
    }
    aim("memory", used.flow_table as f64 / f64::from(room), Limit::AtMost(MEMORY_AIM), "bytes a connection", 1);
}
