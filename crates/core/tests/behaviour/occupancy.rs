//! How full the table can get: buckets are small, so some connections are refused before all entries are in use.

use crate::support::*;
use evenkeel_core::{Event, Reason};

/// Establishes connections up to `load` percent of what the table is meant for, and says how many in ten thousand were
/// refused. The table has four entries for each connection that it is meant for; a connection takes two.
fn refused_per_ten_thousand(buckets: u32, load: u32) -> u32 {
    let mut plane: MemoryPlane = scene(buckets);
    (plane.settings.nat_port_first, plane.settings.nat_port_last) = (1024, u16::MAX);
    let meant_for = buckets * 8 / 4;
    let wanted = meant_for * load / 100;
    let mut refused = 0;
    for n in 0..wanted {
        let [_, a, b, c] = n.to_be_bytes();
        // Clients as they come: many addresses, few ports each.
        let client = end([100, a, b, c & 0xfc], 32_768 + u16::from(c & 3));
        match plane.send(&tcp(client, WEB, SYN)) {
            (Reason::ToBackend, Some(view)) => {
                plane.to_client(&tcp(view.to, view.from, SYN | ACK));
                plane.to_backend(&tcp(client, WEB, ACK));
            }
            (Reason::FlowTableFull, None) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(plane.happened(Event::HalfOpenEvicted), 0, "nothing was ever half-open for long");
    assert_eq!(u64::from(refused), plane.counted(Reason::FlowTableFull));
    println!("{buckets} buckets, {load} %: {refused} of {wanted} refused");
    refused * 10_000 / wanted
}

#[test]
fn a_table_at_its_design_load_refuses_few() {
    for (load, most) in [(80, 50), (100, 150)] {
        let refused = refused_per_ten_thousand(4096, load);
        assert!(refused < most, "{refused} of 10000 refused at {load} %");
    }
}
