//! Connections over a restart, without EAL: tables are written down, and others made from that.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use evenkeel_control::{Balancer, Config, NextHop, Plane, Secrets, Sizes, walkthrough};
use evenkeel_core::flow::{IdleTimes, Timeouts};
use evenkeel_core::{Features, Reason, SliceFrame, process};
use evenkeel_dpdk::{DpdkPlane, Handover, HandoverError, Tables, coarse_now};
use evenkeel_wire::MacAddress;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::Arc;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SIZES: Sizes = Sizes { flows: 4096, wide_flows: 0, backends: 16, services: 4, addresses: 4 };

/// The same in every run: with others, a bucket may happen to be too small for its flows.
const SECRETS: Secrets = Secrets { pick: [1, 2], flow: [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d] };

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("evenkeel-handover-{}-{name}", std::process::id()))
}

/// The walk-through's balancer with these secrets, over new tables.
fn tables(config: &Config, secrets: &Secrets) -> Arc<Tables> {
    tables_of(SIZES, config, secrets)
}

fn tables_of(sizes: Sizes, config: &Config, secrets: &Secrets) -> Arc<Tables> {
    let settings = sizes.settings(config, secrets, MacAddress(OURS), IdleTimes::DEFAULT);
    Arc::new(Tables::new(sizes, settings, &config.nat.addresses, 1).unwrap())
}

fn balance(mut balancer: Balancer<DpdkPlane>, config: &Config) -> Balancer<DpdkPlane> {
    balancer.apply(config).unwrap();
    for backend in &config.services[0].backends {
        let last = match backend.address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        let mac = MacAddress([2, 0, 1, 0, 0, last]);
        balancer.set_next_hop(NextHop { address: backend.address, mac }).unwrap();
    }
    balancer
}

/// What becomes of a frame, and the frame afterwards.
fn judge(tables: &Tables, mut frame: Vec<u8>) -> (Reason, Vec<u8>) {
    let reason = tables.view(0, coarse_now(), |view| process(&mut SliceFrame(&mut frame), view));
    (reason, frame)
}

/// A client's datagram from this port.
fn datagram(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2(CLIENT, OURS).ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64);
    builder.udp(port, 53).write(&mut frame, b"evenkeel").unwrap();
    frame
}

#[test]
fn connections_go_on_where_they_were_whatever_the_next_process_would_pick() {
    let path = path("go-on");
    let config = walkthrough();
    let before = {
        let secrets = SECRETS;
        let tables = tables(&config, &secrets);
        let balancer = balance(Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &secrets), &config);
        let sent: Vec<_> = (0..1000).map(|n| judge(&tables, datagram(20_000 + n))).collect();
        assert!(sent.iter().all(|(reason, _)| *reason == Reason::ToBackend));
        Handover::write(&tables, &path).unwrap();
        drop(balancer);
        sent
    };
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let handover = Handover::read(&path).unwrap().expect("it was left");
    handover.check(&SIZES, &config.nat).unwrap();
    assert!(Handover::read(&path).unwrap().is_some(), "a start that fails costs nothing");
    Handover::discard(&path).unwrap();
    assert!(Handover::read(&path).unwrap().is_none(), "it is taken once");
    let secrets = handover.secrets();
    // In tables as large as before, and in larger ones; with less they are made as large as before.
    let larger = Sizes { flows: 1 << 17, ..SIZES };
    assert_eq!(handover.grown(Sizes { flows: 100, ..SIZES }), SIZES);
    for sizes in [SIZES, larger] {
        assert_eq!(handover.grown(sizes), sizes);
        let tables = tables_of(sizes, &config, &secrets);
        assert_eq!(handover.restore(&tables), 1000);
        let adopted = Balancer::adopt(DpdkPlane::new(Arc::clone(&tables)), &secrets, config.nat.clone()).unwrap();
        let mut balancer = adopted;
        balancer.apply(&config).unwrap();
        for more in [0, 1, 4] {
            // And when they grow while they are at work.
            let sizes = Sizes { flows: sizes.flows << more, ..sizes };
            balancer.plane_mut().provide(Features::ALL, &Timeouts::uniform(IdleTimes::DEFAULT), sizes).unwrap();
            assert_eq!(balancer.plane().sizes(), sizes);
            assert_eq!(tables.flow_table().len(), sizes.buckets() as usize);
            let after: Vec<_> = (0..1000).map(|n| judge(&tables, datagram(20_000 + n))).collect();
            assert!(before == after, "every packet of every connection leaves as it did before");
        }
        let opened = balancer.plane().counters().unwrap().events[evenkeel_core::Event::FlowOpened as usize];
        assert_eq!(opened, 0, "none was opened anew");
    }
}

/// A service of each family, or of IPv4 alone.
fn families(with_ipv6: bool) -> Config {
    let ipv6 = "[[service]]\nname = \"six\"\naddress = \"2001:db8::10\"\nport = 53\nprotocol = \"udp\"\nbackends = [{ address = \
                \"2001:db8::2\", port = 53 }, { address = \"2001:db8::3\", port = 53 }]\n";
    let text = format!(
        "[dataplane]\nunserved = \"drop\"\n[nat]\naddresses = [\"2001:db8::10\", \"10.0.0.10\", \"2001:db8::11\"]\n[[service]]\nname = \"four\"\naddress = \
         \"10.0.0.10\"\nport = 53\nprotocol = \"udp\"\nbackends = [{{ address = \"10.0.0.2\", port = 53 }}]\n{}",
        if with_ipv6 { ipv6 } else { "" }
    );
    Config::parse("test", &text).unwrap()
}

/// An IPv6 client's datagram from this port.
fn wide_datagram(port: u16) -> Vec<u8> {
    let address = |last: u8| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2(CLIENT, OURS).ipv6(address(1), address(0x10), 64);
    builder.udp(port, 53).write(&mut frame, b"evenkeel").unwrap();
    frame
}

/// From one bucket, where nobody wants any, to as many as are wanted; over a restart, which may have other ideas of how many.
#[test]
fn ipv6_connections_go_on_as_the_others_do() {
    let path = path("families");
    let (four, both) = (families(false), families(true));
    let known = |mut balancer: Balancer<DpdkPlane>, config: &Config| {
        balancer.apply(config).unwrap();
        for address in balancer.backend_addresses() {
            balancer.set_next_hop(NextHop { address, mac: MacAddress([2, 0, 1, 0, 0, 2]) }).unwrap();
        }
        balancer
    };
    let sent = |tables: &Tables| -> Vec<_> { (0..500).map(|n| judge(tables, wide_datagram(20_000 + n))).collect() };
    let sizes = Sizes { flows: 256, ..SIZES };
    let before = {
        let tables = tables_of(sizes, &four, &SECRETS);
        let mut balancer = known(Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &SECRETS), &four);
        let unserved = sent(&tables)[0].0;
        assert_eq!(unserved, Reason::Unserved, "nobody serves it");
        assert_eq!(tables.wide_flow_table().len(), 1);
        let mut both = both.clone();
        both.dataplane.max_flows = 4096;
        balancer = known(balancer, &both);
        let wanted = balancer.plane().sizes();
        assert_eq!((wanted.flows, wanted.wide_flows), (256, 4096), "what the plane was started for is the first word");
        assert_eq!(tables.wide_flow_table().len(), wanted.wide_buckets() as usize);
        let sent = sent(&tables);
        assert!(sent.iter().all(|(reason, _)| *reason == Reason::ToBackend));
        let flows = {
            let mut flows = Vec::new();
            balancer.plane().visit_flows(&mut |flow| flows.push(flow)).unwrap();
            flows
        };
        assert_eq!(flows.len(), 500);
        let nat: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.nat.ip().to_string()).collect();
        assert!(nat.iter().eq(["2001:db8::10", "2001:db8::11"]), "{nat:?}");
        assert!(flows.iter().all(|flow| flow.service.to_string() == "[2001:db8::10]:53" && flow.client.is_ipv6()));
        Handover::write(&tables, &path).unwrap();
        sent
    };
    let handover = Handover::read(&path).unwrap().expect("it was left");
    fs::remove_file(&path).unwrap();
    handover.check(&sizes, &both.nat).unwrap();
    let mut reordered = both.nat.clone();
    reordered.addresses.swap(0, 1);
    handover.check(&sizes, &reordered).unwrap();
    reordered.addresses.swap(0, 2);
    assert!(handover.check(&sizes, &reordered).is_err(), "an entry has its NAT address by number");
    // A process that wants fewer, as many, and more.
    for wide_flows in [0, 4096, 1 << 15] {
        let sizes = handover.grown(Sizes { wide_flows, ..sizes });
        assert!(sizes.wide_flows >= 4096);
        let tables = tables_of(sizes, &both, &handover.secrets());
        assert_eq!(handover.restore(&tables), 500);
        let plane = DpdkPlane::new(Arc::clone(&tables));
        let mut balancer = Balancer::adopt(plane, &handover.secrets(), both.nat.clone()).unwrap();
        balancer.apply(&both).unwrap();
        assert!(before == sent(&tables), "every packet of every connection leaves as it did before");
        let larger = Sizes { wide_flows: 4 * sizes.wide_flows, ..sizes };
        balancer.plane_mut().provide(Features::ALL, &Timeouts::uniform(IdleTimes::DEFAULT), larger).unwrap();
        assert_eq!(tables.wide_flow_table().len(), larger.wide_buckets() as usize);
        assert!(before == sent(&tables), "also when they grow while they are at work");
        let opened = balancer.plane().counters().unwrap().events[evenkeel_core::Event::FlowOpened as usize];
        assert_eq!(opened, 0, "none was opened anew");
    }
}

/// An entry says which idle times it lives by, by number: the next process must not give the number to another service.
#[test]
fn numbers_of_idle_times_are_kept_for_those_who_have_them() {
    let path = path("idle");
    let mut config = walkthrough();
    config.services[1].idle.udp_established = 60_000;
    let numbers = |tables: &Arc<Tables>| -> BTreeMap<_, _> {
        let services = DpdkPlane::new(Arc::clone(tables)).contents().unwrap().services;
        services.into_iter().map(|(key, service)| (key.protocol.0, service.idle)).collect()
    };
    let before = {
        let tables = tables(&config, &SECRETS);
        Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &SECRETS).apply(&config).unwrap();
        Handover::write(&tables, &path).unwrap();
        numbers(&tables)
    };
    assert_eq!(before, BTreeMap::from([(6, 0), (17, 1)]));
    let handover = Handover::read(&path).unwrap().expect("it was left");
    Handover::discard(&path).unwrap();
    let tables = tables(&config, &SECRETS);
    handover.restore(&tables);
    // The other one comes first now, has times of its own, and changes the number that it has alone.
    config.services[0].idle.established = 60_000;
    let mut adopted = Balancer::adopt(DpdkPlane::new(Arc::clone(&tables)), &SECRETS, config.nat.clone()).unwrap();
    adopted.apply(&config).unwrap();
    assert_eq!(numbers(&tables), before);
}

#[test]
fn files_that_are_of_no_use_are_refused_and_gone() {
    let path = path("refused");
    let config = walkthrough();
    let secrets = SECRETS;
    let tables = tables(&config, &secrets);
    let _balancer = balance(Balancer::new(DpdkPlane::new(Arc::clone(&tables)), &secrets), &config);
    (0..50).for_each(|n| drop(judge(&tables, datagram(20_000 + n))));
    Handover::write(&tables, &path).unwrap();
    let good = fs::read(&path).unwrap();
    assert!(Handover::read(&path).unwrap().is_some());
    let take = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let taken = Handover::read(&path);
        Handover::discard(&path).unwrap();
        assert!(!path.exists());
        taken.and_then(|handover| handover.unwrap().check(&SIZES, &config.nat)).err()
    };
    assert!(take(&good).is_none());
    // Every way of being cut short, and every byte of the head and of the NAT address being another one.
    for length in 0..good.len() {
        assert!(take(&good[..length]).is_some(), "{length} bytes");
    }
    for at in 0..100 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        // Secrets may be any, and so may the time, as long as it is neither long ago nor to come.
        let refused = take(&bytes);
        assert!(refused.is_some() || (32..72).contains(&at), "byte {at}");
    }
    let mut bytes = good.clone();
    bytes[8] ^= 1;
    assert!(matches!(take(&bytes), Some(HandoverError::Layout(_))));
    bytes = good.clone();
    bytes[16] ^= 1;
    assert!(matches!(take(&bytes), Some(HandoverError::Old(_))), "another boot");
    bytes = [good.as_slice(), b"x"].concat();
    assert!(matches!(take(&bytes), Some(HandoverError::Damaged(_))));
}

#[test]
fn what_somebody_else_can_have_written_is_not_read_and_links_are_not_written_through() {
    let directory = path("foreign");
    fs::create_dir(&directory).unwrap();
    let (state, elsewhere) = (directory.join("state"), directory.join("elsewhere"));
    let tables = tables(&walkthrough(), &SECRETS);
    Handover::write(&tables, &elsewhere).unwrap();
    let refused = |why: &str| {
        let refused = Handover::read(&state).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    };
    symlink(&elsewhere, &state).unwrap();
    refused("no ordinary file");
    Handover::discard(&state).unwrap();

    Handover::write(&tables, &state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o666)).unwrap();
    refused("others may write");
    if std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_none() {
        fs::set_permissions(&state, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&state, Some(65534), Some(65534)).expect("this test needs root, or EVENKEEL_SKIP_PRIVILEGED=1");
        refused("another user's");
    }

    // The name under which it is written first can be told in advance.
    let beside = state.with_extension(format!("{}.new", std::process::id()));
    fs::write(&elsewhere, "somebody's").unwrap();
    symlink(&elsewhere, &beside).unwrap();
    Handover::prepare(&state).unwrap();
    symlink(&elsewhere, &beside).unwrap();
    Handover::write(&tables, &state).unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"somebody's");
    assert!(Handover::read(&state).unwrap().is_some());

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Handover::prepare(&state).unwrap_err().to_string().contains("chmod go-w"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn another_nat_means_that_connections_cannot_go_on_and_other_sizes_do_not() {
    let path = path("changed");
    let config = walkthrough();
    let secrets = SECRETS;
    Handover::write(&tables(&config, &secrets), &path).unwrap();
    let handover = Handover::read(&path).unwrap().unwrap();
    assert!(handover.check(&SIZES, &config.nat).is_ok());
    assert!(handover.check(&Sizes { flows: 8192, ..SIZES }, &config.nat).is_ok());
    let mut nat = config.nat.clone();
    nat.ports = (2000, 3000);
    assert!(handover.check(&SIZES, &nat).is_err());
}

#[test]
fn whether_a_file_can_be_written_is_known_before_it_is_needed() {
    let directory = path("prepared");
    Handover::prepare(&directory.join("deep/state")).unwrap();
    assert_eq!(fs::read_dir(directory.join("deep")).unwrap().count(), 0, "the directory is there, and nothing in it");
    fs::write(directory.join("file"), "").unwrap();
    let refused = Handover::prepare(&directory.join("file/state")).unwrap_err();
    assert!(refused.to_string().contains("file/state"), "{refused}");
    fs::remove_dir_all(directory).unwrap();
}
