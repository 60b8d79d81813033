//! IPv6 packet by packet, through the BPF object and a DPDK worker: the same verdicts, bytes, counters and tables.

use evenkeel_control::Config;
use evenkeel_core::Reason::{self, *};
use evenkeel_packets::{ACK, Draft, FIN, RST, SYN, VLAN, View, echo, end6, tcp, udp};
use evenkeel_tests::program::scenes::{WEB, backend_mac, client};
use evenkeel_tests::program::{Setup, Twins, with_twins};
use proptest::prelude::*;
use proptest::test_runner::{Config as Effort, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;

const WEB6: SocketAddr = end6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10], 80);
const STICKY6: SocketAddr = end6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11], 443);
const NOBODY6: SocketAddr = end6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10], 81);
const ELSEWHERE6: SocketAddr = end6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99], 80);
const SERVICES: [SocketAddr; 4] = [WEB6, STICKY6, NOBODY6, ELSEWHERE6];

fn visitor(n: u16) -> SocketAddr {
    end6([0x2001, 0xdb8, 1, 0, 0, 0, 0, n], 40_000)
}

/// Both families, in one file.
fn config() -> Config {
    let text = r#"
        [nat]
        addresses = ["198.51.100.1", "2001:db8::1:1", "2001:db8::1:2"]
        ports = "20000-39999"

        [[service]]
        name = "web"
        address = "2001:db8::10"
        port = 80
        protocol = "tcp"
        backends = [
            { address = "fd00:1::2", port = 8080, weight = 1 },
            { address = "fd00:1::3", port = 8081, weight = 3 },
        ]

        [[service]]
        name = "dns"
        address = "2001:db8::10"
        port = 80
        protocol = "udp"
        backends = [{ address = "fd00:1::2", port = 5353 }]

        [[service]]
        name = "sticky"
        address = "2001:db8::11"
        port = 443
        protocol = "tcp"
        affinity = "client-address"
        all-down = "reset"
        newcomers = 50
        backends = [{ address = "fd00:1::2", port = 8443 }, { address = "fd00:1::3", port = 8443 }]

        [[service]]
        name = "web4"
        address = "203.0.113.10"
        port = 80
        protocol = "tcp"
        backends = [{ address = "10.1.0.2", port = 8080 }]
    "#;
    Config::parse("ipv6", text).unwrap()
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A packet from a client.
    Client { who: u16, to: usize, kind: u8, dress: Dress },
    /// A packet from the backend that the last packet but so many went to.
    Reply { which: usize, flags: u8, dress: Dress },
    /// SYN, its answer, ACK.
    Handshake { who: u16, to: usize },
    /// IPv4 beside it.
    Narrow { who: u16 },
    /// Time goes by.
    Wait(u16),
}

/// What a packet looks like beyond where it goes.
#[derive(Clone, Debug)]
struct Dress {
    tags: usize,
    extensions: Vec<(u8, usize)>,
    fragment: Option<(u16, bool)>,
    hop_limit: u8,
    size: usize,
    faults: Vec<(usize, u8)>,
    cut: usize,
}

fn dress() -> impl Strategy<Value = Dress> {
    let extension = (prop_oneof![Just(0_u8), Just(43), Just(60)], 0..4_usize);
    (
        prop_oneof![8 => Just(0), 1 => 0..3_usize],
        prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(extension, 1..6)],
        prop_oneof![12 => Just(None), 1 => (0..3_u16, any::<bool>()).prop_map(Some)],
        prop_oneof![8 => Just(64_u8), 1 => 0..3_u8],
        prop_oneof![20 => 0..100_usize, 1 => 1000..3000_usize],
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec((0..90_usize, any::<u8>()), 1..4)],
        prop_oneof![12 => Just(0), 1 => 0..100_usize],
    )
        .prop_map(|(tags, extensions, fragment, hop_limit, size, faults, cut)| Dress {
            tags,
            extensions,
            fragment,
            hop_limit,
            size,
            faults,
            cut,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![Just(SYN), Just(ACK), Just(SYN | ACK), Just(FIN | ACK), Just(RST), any::<u8>()];
    let client = (0..40_u16, 0..SERVICES.len(), any::<u8>(), dress());
    prop_oneof![
        6 => client.prop_map(|(who, to, kind, dress)| Step::Client { who, to, kind, dress }),
        5 => (0..8_usize, flags, dress()).prop_map(|(which, flags, dress)| Step::Reply { which, flags, dress }),
        4 => (0..40_u16, 0..2_usize).prop_map(|(who, to)| Step::Handshake { who, to }),
        1 => (0..8_u16).prop_map(|who| Step::Narrow { who }),
        1 => prop_oneof![Just(1_u16), 1..500_u16].prop_map(Step::Wait),
    ]
}

/// The bytes of a packet that looks like this.
fn dressed(draft: Draft, dress: &Dress) -> Vec<u8> {
    let draft = (0..dress.tags).fold(draft, |draft, n| draft.tag(VLAN, n as u16 + 1));
    let draft = dress.extensions.iter().fold(draft, |draft, &(number, units)| {
        // Of a routing header the last four bytes but these: no more stops.
        draft.extension(number, &vec![0; 6 + 8 * units])
    });
    let draft = dress.fragment.into_iter().fold(draft, |draft, (offset, more)| draft.fragment(offset, more));
    let mut bytes = draft.ttl(dress.hop_limit).payload(&vec![0x5a; dress.size]).bytes();
    for &(at, flip) in &dress.faults {
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= flip;
        }
    }
    bytes.truncate(bytes.len().saturating_sub(dress.cut).max(14));
    bytes
}

/// Where packets have gone, as their backends see it.
type Known = Vec<(SocketAddr, SocketAddr)>;

fn send(twins: &mut Twins, bytes: &[u8], known: &mut Known, seen: &RefCell<HashSet<u32>>) -> Result<(), String> {
    let outcome = twins.send(bytes)?;
    seen.borrow_mut().insert(outcome.reason as u32);
    if outcome.reason == Reason::ToBackend && bytes.len() < 200 && bytes[12..14] == [0x86, 0xdd] && bytes[20] == 6 {
        let view = evenkeel_packets::Packet::of(&outcome.sent);
        if let Some(packet) = view {
            known.push((packet.destination(), packet.source()));
        }
    }
    Ok(())
}

fn play(twins: &mut Twins, steps: &[Step], burst: usize, seen: &RefCell<HashSet<u32>>) -> Result<(), String> {
    twins.play(burst, |twins| {
        let mut known = Known::new();
        for step in steps {
            match step {
                Step::Client { who, to, kind, dress } => {
                    let (from, to) = (visitor(*who), SERVICES[*to]);
                    let draft = match kind % 8 {
                        0 => echo(from.ip(), to.ip()),
                        1 | 2 => udp(from, to),
                        3 => tcp(from, to, *kind),
                        4 | 5 => tcp(from, to, ACK),
                        _ => tcp(from, to, SYN),
                    };
                    send(twins, &dressed(draft, dress), &mut known, seen)?;
                }
                Step::Reply { which, flags, dress } => {
                    if let Some(&(backend, nat)) = known.iter().rev().nth(*which) {
                        let draft = tcp(backend, nat, *flags).source_mac(backend_mac(backend.ip()));
                        send(twins, &dressed(draft, dress), &mut known, seen)?;
                    }
                }
                Step::Handshake { who, to } => {
                    let (from, to) = (visitor(*who), SERVICES[*to]);
                    let before = known.len();
                    send(twins, &tcp(from, to, SYN).bytes(), &mut known, seen)?;
                    if let Some(&(backend, nat)) = known.get(before) {
                        let answer = tcp(backend, nat, SYN | ACK).source_mac(backend_mac(backend.ip()));
                        send(twins, &answer.bytes(), &mut known, seen)?;
                        send(twins, &tcp(from, to, ACK).bytes(), &mut known, seen)?;
                    }
                }
                Step::Narrow { who } => send(twins, &tcp(client(*who), WEB, SYN).bytes(), &mut known, seen)?,
                Step::Wait(ticks) => twins.wait(*ticks)?,
            }
        }
        Ok(())
    })
}

#[test]
fn whatever_comes_both_planes_do_the_same() {
    let seen = RefCell::default();
    with_twins(&Setup::new(config(), 256), |twins| {
        let twins = RefCell::new(twins);
        let strategy = (prop::collection::vec(step(), 1..80), prop_oneof![Just(1_usize), 2..33_usize]);
        let effort = Effort { cases: 2_000, failure_persistence: None, ..Effort::default() };
        TestRunner::new(effort)
            .run(&strategy, |(steps, burst)| {
                play(&mut twins.borrow_mut(), &steps, burst, &seen).map_err(TestCaseError::fail)
            })
            .unwrap();
    });
    let seen: HashSet<u32> = seen.into_inner();
    // What a sequence can come to has been come to.
    let expected = [
        ToBackend,
        ToClient,
        EchoReply,
        ResetStale,
        UnservedRefused,
        TimeExceeded,
        NotOurs,
        Truncated,
        Malformed,
        Fragment,
        Unserved,
        FlowMissing,
        NewcomerLimit,
    ];
    let missing: Vec<_> = expected.into_iter().filter(|reason| !seen.contains(&(*reason as u32))).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:?}");
}

#[test]
fn a_connection_goes_there_and_back_in_the_kernels_program() {
    with_twins(&Setup::new(config(), 256), |twins| {
        let played = twins.play(1, |twins| {
            for n in 0..200 {
                let sent = twins.send(&tcp(visitor(n), WEB6, SYN).bytes())?;
                assert_eq!(sent.reason, Reason::ToBackend);
                // Checksums are etherparse's to judge.
                let view = View::of(&sent.sent);
                let answer = tcp(view.to, view.from, SYN | ACK).source_mac(backend_mac(view.to.ip()));
                let answered = twins.send(&answer.bytes())?;
                let back = View::of(&answered.sent);
                assert_eq!((answered.reason, back.from, back.to), (Reason::ToClient, WEB6, visitor(n)));
                let data = twins.send(&tcp(visitor(n), WEB6, ACK).payload(b"question").bytes())?;
                let there = View::of(&data.sent);
                assert_eq!(
                    (there.from, there.to, there.payload.as_slice()),
                    (view.from, view.to, b"question".as_slice())
                );
            }
            Ok(())
        });
        played.unwrap();
    });
}
