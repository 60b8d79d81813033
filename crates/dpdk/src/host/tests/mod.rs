//! The host, with frames that etherparse or hand has made. What it sends is read by etherparse, or by scapy.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

mod four;
mod six;
mod vlan;

use super::*;

const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x10]);
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MOVED: [u8; 6] = [2, 0, 0, 0, 0, 3];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
