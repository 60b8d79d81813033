//! Several CPUs at once, on few flows, few ports and few places.

use crate::support::*;
use evenkeel_core::Reason;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::thread;

const THREADS: u64 = 4;
const PACKETS: u32 = 20_000;
const CLIENTS: u16 = 40;

/// Xorshift (Marsaglia, 2003): reproducible, and different in each thread.
struct Random(u64);

impl Random {
    fn below(&mut self, range: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % range
    }
}

fn work(plane: &MemoryPlane<AtomicU64>, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut known: HashMap<u16, Connection> = HashMap::new();
    for _ in 0..PACKETS {
        let n = random.below(u64::from(CLIENTS)) as u16;
        let flags = [SYN, SYN, ACK, ACK, ACK, ACK, FIN | ACK, RST][random.below(8) as usize];
        // A few clients keep changing their Ethernet address.
        let mac = [0x02, 0, 0, 0, 0, if n < 4 { random.below(3) as u8 } else { 1 }];
        if random.below(200) == 0 {
            plane.wait(1);
        }
        let connection = known.get(&n).copied();
        let draft = match connection {
            Some(connection) if random.below(2) == 0 => {
                connection.answers(if flags & SYN != 0 { SYN | ACK } else { flags })
            }
            _ => tcp(client(n), WEB, flags).source_mac(mac),
        };
        match plane.send(&draft) {
            (Reason::ToBackend, Some(view)) => {
                assert_eq!(view.from.ip(), NAT);
                assert_eq!(view.destination_mac, backend_mac(view.to));
                known.insert(n, Connection { client: client(n), nat: view.from, backend: view.to });
            }
            (Reason::ToClient, Some(view)) => assert_eq!(view.from, WEB),
            _ => {}
        }
    }
}

#[test]
fn threads_on_one_table_leave_it_sound() {
    for round in 0..4 {
        let mut plane: MemoryPlane = scene(8);
        (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_029);
        thread::scope(|scope| {
            for n in 0..THREADS {
                let plane = &plane;
                scope.spawn(move || work(plane, 1 + n + THREADS * round));
            }
        });
        judge(&plane);
    }
}

/// What holds once all packets are done.
fn judge(plane: &MemoryPlane) {
    let mut keys = HashSet::new();
    for entry in plane.remembered() {
        assert!(keys.insert(entry.key), "{entry:?} is in the table twice");
    }
    let mut speakers = HashMap::new();
    for n in 0..CLIENTS {
        if let (Reason::ToBackend, Some(view)) = plane.send(&tcp(client(n), WEB, ACK)) {
            let other = speakers.insert((view.from, view.to), n);
            assert_eq!(other, None, "two clients speak from {:?} to {:?}", view.from, view.to);
        }
    }
    // Whoever may speak is answered, and nobody else is.
    for backend in [H2, H3] {
        for port in 10_000..10_030 {
            let nat = at(NAT, port);
            let answered = plane.send(&tcp(backend, nat, ACK)).1.map(|view| view.to);
            let speaker = speakers.get(&(nat, backend)).map(|n| client(*n));
            assert_eq!(answered, speaker, "{backend:?} to {nat:?}");
        }
    }
}
