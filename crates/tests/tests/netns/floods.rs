//! Floods from strangers, for real: whoever was connected loses nothing, whoever comes is served, and nobody is called down.
//!
//! In the suite a flood is at a pace that leaves room for other tests, against small tables and few NAT ports, which it fills
//! in some seconds. With `EVENKEEL_FLOOD=KIND:SECONDS` (a kind by its name in [`kind`]) it is as fast as one CPU sends, against the
//! defaults, or with `KIND:SECONDS:NEWCOMERS` against services with that limit, and its figures are told: docs/floods.md has them.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::program::pin;
use evenkeel_tests::testbed::{
    self, Flood, Manners, Newcomers, SERVICE_PORT, Testbed, Transfer, datagram_echo_servers, echo_servers, is_up, note,
    until,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

on_every_plane! {
    no_flood_harms_who_is_connected_or_keeps_anybody_out[],
    a_service_with_a_limit_of_newcomers_keeps_strangers_from_backends_and_lets_in_who_asks_again[],
}

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10), SERVICE_PORT);
const TRANSFERS: u64 = 2;

/// The variable that asks for the long form.
const LONG: &str = "EVENKEEL_FLOOD";
/// How long transfers are measured without a flood, in the long form.
const UNDISTURBED: Duration = Duration::from_secs(10);

/// In the suite: packets a second, and how long each flood lasts.
const PACE: u64 = 20_000;
const SHORT: Duration = Duration::from_secs(2);
/// There transfers pause, so that others get through.
const REST: Duration = Duration::from_millis(2);

/// A TCP service and a UDP service in front of h2 and h3.
fn config(head: &str, nat: &str, more: &str) -> String {
    let service = |name: &str, protocol: &str, health: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"10.0.0.10\"\nport = {SERVICE_PORT}\nprotocol = \"{protocol}\"\n{health}\n{more}\n\
             backends = [{{ address = \"10.0.0.2\", port = {SERVICE_PORT} }}, {{ address = \"10.0.0.3\", port = {SERVICE_PORT} }}]\n"
        )
    };
    let health = "health = { kind = \"tcp\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 3 }";
    let services = service("web", "tcp", health) + &service("dns", "udp", "");
    format!("[dataplane]\n{head}\n[nat]\naddresses = [\"10.0.0.10\"]\n{nat}\n{services}")
}

/// What is on the other side of the balancer, and who is connected.
struct Scene {
    balancer: testbed::Running,
    transfers: Vec<Transfer>,
    /// Connected, and silent while the flood lasts.
    silent: Vec<TcpStream>,
}

impl Scene {
    fn set(bed: &Testbed, text: &str) -> Self {
        // What strangers' answers come back to must not send them on.
        bed.do_in("", &["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
        echo_servers(&["h2", "h3"], SERVICE_PORT);
        let balancer = bed.balance_config(text);
        until("both backends are up", || {
            let backends = bed.backends();
            backends.iter().all(|backend| is_up(backend) && backend["since"].is_u64()).then_some(())
        });
        let mut silent: Vec<_> = (0..8).map(|_| TcpStream::connect(SERVICE).expect("nothing is in the way")).collect();
        silent.iter_mut().for_each(echoes);
        Self { balancer, transfers: Vec::new(), silent }
    }

    fn transfer(&mut self, rest: Duration) {
        let start = |seed| Transfer::start(SERVICE, testbed::DEADLINE, rest, seed);
        self.transfers = (0..TRANSFERS).map(start).collect();
    }

    fn carried(&self) -> u64 {
        self.transfers.iter().map(Transfer::carried).sum()
    }

    /// Nobody who was connected has lost anything, and both backends are held to be up and always were.
    fn assert_whole(mut self, bed: &Testbed) {
        for (number, transfer) in self.transfers.drain(..).enumerate() {
            let carried = transfer.finish().unwrap_or_else(|error| panic!("transfer {number}: {error}"));
            assert!(carried > 0, "transfer {number} carried nothing");
        }
        self.silent.iter_mut().for_each(echoes);
        let backends = bed.backends();
        assert!(backends.iter().all(is_up), "{backends:?}");
        let said = self.balancer.stderr();
        assert!(!said.contains(" is down"), "{said}");
    }
}

/// It carries a few bytes there and back.
#[track_caller]
fn echoes(connection: &mut TcpStream) {
    connection.set_read_timeout(Some(testbed::DEADLINE)).expect("not zero");
    let mut answer = [0; 6];
    connection.write_all(b"still?").and_then(|()| connection.read_exact(&mut answer)).expect("it goes on");
    assert_eq!(&answer, b"still?");
}

/// Honest clients, for as long as they are wanted.
fn newcomers(at_once: usize, pace: u64) -> Newcomers {
    let patience = Duration::from_secs(8);
    Newcomers::start(&Manners { to: SERVICE, from: Vec::new(), at_once, pace, most: u64::MAX, patience })
}

fn no_flood_harms_who_is_connected_or_keeps_anybody_out(bed: &Testbed) {
    datagram_echo_servers(&["h2", "h3"], SERVICE_PORT);
    if let Ok(long) = std::env::var(LONG) {
        return at_full_speed(bed, &long);
    }
    let mut scene = Scene::set(bed, &config("max-flows = 32768", "ports = \"40000-64999\"", ""));
    scene.transfer(REST);
    let aimed = Flood::Aimed(scene.transfers[0].from());
    let floods = [
        Flood::Syns,
        Flood::Pairs,
        Flood::Datagrams,
        Flood::Acks,
        Flood::Resets,
        Flood::Fragments,
        aimed,
        Flood::Mixture,
    ];
    for flood in floods {
        let flooding = flood.start(SERVICE, Some(PACE), SHORT, None);
        // Once it has got somewhere.
        until("the flood comes", || (flooding.sent() > PACE / 2).then_some(()));
        let newcomers = newcomers(8, 60);
        until("the flood is over", || flooding.is_over().then_some(()));
        let (before, welcome) = (flooding.end(), newcomers.finish());
        assert!(welcome.share() >= 0.99, "{}: {welcome:?}, {before:?}", flood.name());
    }
    let established = bed.told_json(&["flows", "--limit", "100000", "--service", "web"]);
    let established = established.as_array().expect("a list");
    let blind = established
        .iter()
        .filter(|flow| {
            flow["state"] == "established" && !flow["client"].as_str().is_some_and(|it| it.starts_with("10."))
        })
        .count();
    assert_eq!(blind, 0, "strangers' connections count as established");
    scene.assert_whole(bed);
}

/// Newcomers a second that the service lets in at once, and the pace of who wants in.
const LIMIT: u64 = 500;

fn a_service_with_a_limit_of_newcomers_keeps_strangers_from_backends_and_lets_in_who_asks_again(bed: &Testbed) {
    let counted = |name: &str| {
        let counters = bed.told_json(&["counters"]);
        counters[name].as_u64().unwrap_or_else(|| panic!("{name}: {counters}"))
    };
    let limit = format!("newcomers = {LIMIT}");
    let mut scene = Scene::set(bed, &config("max-flows = 32768", "ports = \"40000-64999\"", &limit));
    scene.transfer(REST);
    let (opened, lasts) = (counted("flow-opened"), Duration::from_secs(5));
    let flooding = Flood::Syns.start(SERVICE, Some(PACE), lasts, None);
    until("the flood is beyond the limit", || (counted("newcomer-limit") > PACE / 2).then_some(()));
    let newcomers = newcomers(32, 60);
    until("the flood is over", || flooding.is_over().then_some(()));
    let (flooded, welcome) = (flooding.end(), newcomers.finish());
    assert!(welcome.share() >= 0.99, "{welcome:?}, {flooded:?}");
    assert!(counted("asked-again") > 0);
    // What can be saved up, what becomes due, who asks again; and marks that look alike, one in thousands.
    let (opened, lasted) = (counted("flow-opened") - opened, flooded.lasted.as_secs() + 1);
    let most = LIMIT * (lasted + 1) + welcome.tried() + flooded.sent / 1000;
    assert!(opened <= most, "{opened} of {most} opened by {flooded:?}");
    scene.assert_whole(bed);
}

fn kind(name: &str, aim: SocketAddrV4) -> Flood {
    match name {
        "syns" => Flood::Syns,
        "pairs" => Flood::Pairs,
        "udp" => Flood::Datagrams,
        "acks" => Flood::Acks,
        "resets" => Flood::Resets,
        "fragments" => Flood::Fragments,
        "aimed" => Flood::Aimed(aim),
        "mixture" => Flood::Mixture,
        _ => panic!("{LONG}: there is no flood '{name}'"),
    }
}

/// On one CPU the flood and what the kernel does about it, on the other one everything else.
fn at_full_speed(bed: &Testbed, long: &str) {
    let (name, rest) = long.split_once(':').expect("EVENKEEL_FLOOD=KIND:SECONDS[:NEWCOMERS]");
    let (seconds, newcomers_limit) = rest.split_once(':').unwrap_or((rest, ""));
    let limit = if newcomers_limit.is_empty() { String::new() } else { format!("newcomers = {newcomers_limit}") };
    let lasts = Duration::from_secs(seconds.parse().expect("seconds"));
    let mut scene = Scene::set(bed, &config("", "", &limit));
    pin(0);
    scene.transfer(Duration::ZERO);
    let undisturbed_comers = newcomers(128, 100);
    thread::sleep(Duration::from_secs(1));
    let before = Measure::take(&scene);
    thread::sleep(UNDISTURBED);
    let undisturbed = Measure::take(&scene).since(&before);
    let undisturbed_comers = undisturbed_comers.finish();

    let flood = kind(name, scene.transfers[0].from());
    let comers = newcomers(128, 100);
    let before = Measure::take(&scene);
    let flooding = flood.start(SERVICE, None, lasts, Some(1));
    while !flooding.is_over() {
        thread::sleep(Duration::from_millis(100));
    }
    let mut disturbed = Measure::take(&scene).since(&before);
    let flooded = flooding.end();
    disturbed.cpu = disturbed.cpu.saturating_sub(flooded.cpu);
    let comers = comers.finish();
    let down = bed.backends().iter().filter(|backend| !is_up(backend)).count()
        + scene.balancer.stderr().matches(" is down").count();
    note(&format!(
        "| {:?} | {} | {:.0} k/s | {:.2} | {:.0} MB/s | {:.0} MB/s | {:.2} | {:.2} | {:.4} of {} ({:?}) | {down} | {:?}",
        bed.plane,
        flood.name(),
        flooded.sent as f64 / flooded.lasted.as_secs_f64() / 1e3,
        flooded.cpu.as_secs_f64() / flooded.lasted.as_secs_f64(),
        undisturbed.rate() / 1e6,
        disturbed.rate() / 1e6,
        disturbed.rate() / undisturbed.rate(),
        disturbed.per_cpu() / undisturbed.per_cpu(),
        comers.share(),
        comers.tried(),
        comers.slowest,
        (&comers.failed, &undisturbed_comers),
    ));
    assert!(comers.share() >= 0.99, "of newcomers {} are served", comers.share());
    scene.assert_whole(bed);
}

/// What transfers have carried, and what this process has had of the CPUs.
#[derive(Clone, Copy)]
struct Measure {
    bytes: u64,
    cpu: Duration,
    at: Instant,
    lasted: Duration,
}

impl Measure {
    fn take(scene: &Scene) -> Self {
        Self { bytes: scene.carried(), cpu: cpu_time(), at: Instant::now(), lasted: Duration::ZERO }
    }

    fn since(self, before: &Self) -> Self {
        let lasted = self.at - before.at;
        Self { bytes: self.bytes - before.bytes, cpu: self.cpu - before.cpu, at: self.at, lasted }
    }

    fn rate(&self) -> f64 {
        self.bytes as f64 / self.lasted.as_secs_f64()
    }

    fn per_cpu(&self) -> f64 {
        self.bytes as f64 / self.cpu.as_secs_f64()
    }
}

/// Of this process: clients, servers and strangers.
fn cpu_time() -> Duration {
    // SAFETY: the kernel writes a time into what is one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
