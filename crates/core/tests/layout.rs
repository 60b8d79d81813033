//! The layout of the tables is the one that goes with [`LAYOUT`].
//!
//! Everything that a table can hold is made here with known contents and written down byte by byte. If a test fails, a
//! process would misread what one of the version before has left: raise `LAYOUT`, and give the new fingerprint here.

use core::mem::{align_of, offset_of, size_of};
use evenkeel_core::backend::{Backend, BackendRef, BackendState, Kind, Link, Ports, Standing};
use evenkeel_core::flow::{
    Bucket, Entry, FlowKey, HopNumber, Key as _, Meta, NewEntry, NewWideEntry, Now, Peer, Side, State, WAYS,
    WideBucket, WideEntry, WideKey,
};
use evenkeel_core::hash;
use evenkeel_core::hop::{HOPS, Hop};
use evenkeel_core::reply::{KEPT, ROUTES, Route};
use evenkeel_core::{AddressFilter, Counters, LAYOUT, MAGLEV_SLOTS, Ours, Service, ServiceKey, Traffic};
use evenkeel_wire::{IpProtocol, Ipv4Address, MacAddress, Port};
use std::fmt::Write as _;
use zerocopy::IntoBytes;

const MAC: MacAddress = MacAddress([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
const BACKEND: BackendRef = BackendRef { index: 0x1234, generation: 0x56 };
const HOP: HopNumber = HopNumber(0x789a);
/// Two addresses of 128 bits.
const A: [u64; 2] = [0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff];
const B: [u64; 2] = [0x1111_1111_2222_2222, 0x3333_3333_4444_4444];
const SECRET: [u32; 4] = [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d];

fn peer(last: u8, port: u16) -> Peer {
    Peer { address: Ipv4Address([192, 0, 2, last]), port: Port::from_number(port) }
}

const STATES: [State; 8] = [
    State::Free,
    State::Claimed,
    State::Opening,
    State::Answered,
    State::Established,
    State::Closing,
    State::HalfClosed,
    State::Reset,
];

fn key(protocol: IpProtocol) -> FlowKey {
    FlowKey::new(peer(1, 40_000), peer(10, 8080), protocol)
}

fn shapes(text: &mut String) {
    for (name, size, align) in [
        ("bucket", size_of::<Bucket<u64>>(), align_of::<Bucket<u64>>()),
        ("entry", size_of::<Entry<u64>>(), align_of::<Entry<u64>>()),
        ("wide bucket", size_of::<WideBucket<u64>>(), align_of::<WideBucket<u64>>()),
        ("wide entry", size_of::<WideEntry<u64>>(), align_of::<WideEntry<u64>>()),
        ("backend", size_of::<Backend<u64>>(), align_of::<Backend<u64>>()),
        ("service key", size_of::<ServiceKey>(), align_of::<ServiceKey>()),
        ("service", size_of::<Service>(), align_of::<Service>()),
        ("filter", size_of::<AddressFilter>(), align_of::<AddressFilter>()),
        ("counters", size_of::<Counters>(), align_of::<Counters>()),
        ("traffic", size_of::<Traffic>(), align_of::<Traffic>()),
    ] {
        writeln!(text, "{name} {size} {align}").expect("text grows");
    }
    writeln!(text, "ways {WAYS}, slots {MAGLEV_SLOTS}, hops {HOPS}").expect("text grows");
    let entry = [
        offset_of!(Entry<u64>, meta),
        offset_of!(Entry<u64>, addresses),
        offset_of!(Entry<u64>, ports),
        offset_of!(Entry<u64>, peer),
    ];
    let wide = [
        offset_of!(WideEntry<u64>, meta),
        offset_of!(WideEntry<u64>, source),
        offset_of!(WideEntry<u64>, destination),
        offset_of!(WideEntry<u64>, ports),
        offset_of!(WideEntry<u64>, peer),
    ];
    let backend = [
        offset_of!(Backend<u64>, link),
        offset_of!(Backend<u64>, kind),
        offset_of!(Backend<u64>, ports),
        offset_of!(Backend<u64>, target),
        offset_of!(Backend<u64>, service),
    ];
    let service = [
        offset_of!(Service, table),
        offset_of!(Service, flags),
        offset_of!(Service, idle),
        offset_of!(Service, newcomers),
    ];
    let traffic = [
        offset_of!(Traffic, client_packets),
        offset_of!(Traffic, client_bytes),
        offset_of!(Traffic, backend_packets),
        offset_of!(Traffic, backend_bytes),
    ];
    writeln!(text, "{entry:?} {wide:?} {backend:?} {service:?} {traffic:?}").expect("text grows");
}

fn words(text: &mut String) {
    for protocol in [IpProtocol::TCP, IpProtocol::UDP] {
        for side in [Side::Client, Side::Backend] {
            let entry = NewEntry::new(key(protocol), side, Now(0x12_abcd), BACKEND, 5, peer(20, 1024), HOP)
                .with_proof(0x1122_3344);
            writeln!(text, "{:x?}", entry.as_bytes()).expect("text grows");
            writeln!(text, "{:x}", Meta(0).with_fin(side).0).expect("text grows");
        }
        writeln!(text, "{:x}", hash::place(key(protocol), &SECRET)).expect("text grows");
        let port = Port::from_number;
        let wide = WideKey::new(
            Peer { address: A.into(), port: port(40_000) },
            Peer { address: B.into(), port: port(443) },
            protocol,
        );
        let client = NewWideEntry::client(wide, Now(0x12_abcd), BACKEND, 5, (3, port(1024)), HOP);
        let reply =
            NewWideEntry::reply(wide, Now(0x12_abcd), BACKEND, 5, Peer { address: A.into(), port: port(1024) }, HOP);
        writeln!(text, "{:x?} {:x?}", client.as_bytes(), reply.as_bytes()).expect("text grows");
        let place = hash::wide_place(&wide, &SECRET, &hash::wide_secret(&SECRET));
        writeln!(text, "{place:x} {:x}", hash::wide_filter_bit(A.into())).expect("text grows");
    }
    for state in STATES {
        writeln!(text, "{state:?} {:x}", Meta(0x00ff_ffff_ffff_fff8).with_state(state).released().0)
            .expect("text grows");
        let stamped = Meta(0).with_state(state).with_seen(Now(0x1234_5678));
        writeln!(text, "{state:?} {:x}", stamped.0).expect("text grows");
    }
    let place = hash::place(key(IpProtocol::TCP), &SECRET);
    writeln!(text, "{} {}", hash::bucket(place, 0xffff), hash::start(place)).expect("text grows");
    for state in
        [BackendState::Down, BackendState::Up, BackendState::Draining, BackendState::Finishing, BackendState::Resetting]
    {
        writeln!(text, "{:x}", Link::new(MAC, 0x56, state).0).expect("text grows");
    }
    for (drained, failed) in [(true, false), (false, true)] {
        let kind = Kind::new(IpProtocol::UDP).with_standing(Standing { drained, failed });
        writeln!(text, "{:x}", kind.0).expect("text grows");
    }
    writeln!(text, "{} {}", Hop(MAC.bits()).mac(), Hop(1 << 55).is_proved()).expect("text grows");
    let port = Port::from_number;
    writeln!(text, "{:x} {:x}", BACKEND.bits(), Ports::new(port(80), port(443), port(440)).0).expect("text grows");
    let service = ServiceKey::ipv4(Ipv4Address([192, 0, 2, 10]), Port::from_number(443), IpProtocol::TCP);
    writeln!(text, "{:x?}", service.as_bytes()).expect("text grows");
    let flags = [Service::CLIENT_ADDRESS, Service::RESET, Service::MISSING_RESET, Service::ROUTED];
    writeln!(text, "{flags:?}").expect("text grows");
    let routes = [Route::new(0xc000_0200, 24, false), Route::new(0, 0, true)].map(|route| route.0);
    writeln!(text, "{routes:x?} {ROUTES} {KEPT}").expect("text grows");
    writeln!(text, "{}", Service::newcomers(20_000)).expect("text grows");
    writeln!(text, "{:x?} {:x?}", Ours::ALONE.as_bytes(), Ours::HOSTS.as_bytes()).expect("text grows");
    writeln!(text, "{:x}", hash::filter_bit(Ipv4Address([192, 0, 2, 10]))).expect("text grows");
    writeln!(text, "{:?}", Now::from_nanoseconds(0x1234_5678_9abc_def0)).expect("text grows");
}

#[test]
fn the_number_is_the_one_of_this_layout() {
    let mut text = String::new();
    shapes(&mut text);
    words(&mut text);
    // FNV-1a.
    let fingerprint = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(
        (LAYOUT, fingerprint),
        (5, 10_777_075_833_465_583_086),
        "the layout of the tables has changed (right: as it was): raise LAYOUT and put the new fingerprint here.\n{text}"
    );
}
