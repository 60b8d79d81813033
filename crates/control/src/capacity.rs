//! What a configuration can carry, and where it is weak: arithmetic on the file, before a packet has come.

use crate::config::{Backend, Config, Probe, Protocol, Service};
use crate::sizes::Sizes;
use evenkeel_core::MAGLEV_SLOTS;
use evenkeel_core::flow::{Bucket, WAYS, WideBucket};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

/// Backends up to which one NAT address is little: a flood has its ports in use sooner than those of several.
const FEW_BACKENDS: usize = 4;
/// NAT ports towards a backend that are few, for a service that many use.
const FEW_PORTS: u64 = 4096;

/// What a configuration can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections that the flow table is made for.
    pub flows: u64,
    /// Bytes of the flow table.
    pub flow_bytes: u64,
    /// IPv6 connections that their table is made for.
    pub wide_flows: u64,
    /// Bytes of that.
    pub wide_flow_bytes: u64,
    /// Bytes of the services' Maglev tables.
    pub maglev_bytes: u64,
    /// Ports that services are found by.
    pub ports: u64,
    /// Each service by itself, in the order of the file.
    pub services: Vec<ServiceCapacity>,
    /// What is weak, in sentences.
    pub weak: Vec<String>,
}

/// What a service can carry while all of its backends are up and the others have no connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCapacity {
    /// Its name.
    pub name: String,
    /// Connections at once.
    pub at_once: u64,
    /// What it is that allows no more.
    pub limit: Limit,
    /// New connections a second that can be opened and ended for ever, without any giving way to another: each keeps its port
    /// for as long as it may be idle after its end.
    pub a_second: u64,
    /// The same where those that have ended give way after a second.
    pub a_second_by_take_over: u64,
    /// New connections a second that may be opened at the first try, if that is limited.
    pub at_first_try: Option<u32>,
}

/// What allows no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nobody takes any.
    NoBackend,
    /// NAT's addresses and ports, each of them once towards each backend.
    NatPorts,
    /// The flow table.
    MaxFlows,
}

impl Capacity {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let sizes = Sizes::for_config(config);
        let services: Vec<_> = config.services.iter().map(|service| ServiceCapacity::of(service, config)).collect();
        Self {
            flows: sizes.flows.into(),
            flow_bytes: u64::from(sizes.buckets()) * size_of::<Bucket<u64>>() as u64,
            wide_flows: sizes.wide_flows.into(),
            wide_flow_bytes: u64::from(sizes.wide_buckets()) * size_of::<WideBucket<u64>>() as u64,
            maglev_bytes: config.services.len() as u64 * u64::from(MAGLEV_SLOTS) * 4,
            ports: config.service_keys() as u64,
            weak: weak(config, &services),
            services,
        }
    }
}

impl ServiceCapacity {
    fn of(service: &Service, config: &Config) -> Self {
        let room = config.nat.room(service.address);
        let flows = u64::from(config.dataplane.max_flows);
        let weights = || takers(service).map(|backend| u64::from(backend.weight));
        // Shares follow weights, so the heaviest one's ports are the first to be used up.
        let by_ports = weights().max().map_or(0, |most| room.saturating_mul(weights().sum()) / most);
        // A backend has the client's port, and NAT's ports are in use towards each of these by itself.
        let by_ports = by_ports.saturating_mul(service.ports().len() as u64);
        let limit = match by_ports {
            0 => Limit::NoBackend,
            _ if by_ports <= flows => Limit::NatPorts,
            _ => Limit::MaxFlows,
        };
        let at_once = by_ports.min(flows);
        let kept = match service.protocol {
            Protocol::Tcp => service.idle.closing,
            // Most are a question and its answer.
            Protocol::Udp => service.idle.udp_answered,
        };
        Self {
            name: service.name.clone(),
            at_once,
            limit,
            a_second: at_once.saturating_mul(1000) / u64::from(kept.max(1)),
            a_second_by_take_over: at_once,
            at_first_try: service.newcomers,
        }
    }
}

/// The backends that get new connections.
fn takers(service: &Service) -> impl Iterator<Item = &Backend> {
    service.backends.iter().filter(|backend| backend.weight > 0 && !backend.drain)
}

fn weak(config: &Config, services: &[ServiceCapacity]) -> Vec<String> {
    let mut weak = Vec::new();
    let has = |wide| config.services.iter().any(|service| service.address.is_ipv6() == wide);
    for wide in [false, true].into_iter().filter(|wide| has(*wide)) {
        weak.extend(weak_in_ports(config, wide));
    }
    // Tables of both families are made for as many.
    let rooms = config.services.iter().map(|service| config.nat.room(service.address));
    let (room, flows) = (rooms.max().unwrap_or_default(), u64::from(config.dataplane.max_flows));
    if flows < room {
        weak.push(format!(
            "max-flows = {flows} is less than the {room} connections that NAT ports allow to one backend: whoever opens \
             many pushes out others that are not established; max-flows = {} has room for them.",
            room.next_power_of_two()
        ));
    }
    for (service, capacity) in config.services.iter().zip(services) {
        if capacity.limit == Limit::NoBackend {
            weak.push(format!("service \"{}\" has no backend that gets new connections.", service.name));
        }
    }
    weak.extend(config.services.iter().filter(|service| believes_anybody(service)).map(|service| {
        format!(
            "checks of service \"{}\" take any certificate (verify = false): whoever speaks TLS at its backends' addresses \
             passes for one.",
            service.name
        )
    }));
    for (backend, names) in shared(config) {
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        weak.push(format!(
            "backend {backend} serves {} services ({}), whose connections share its NAT ports: together they carry what is \
             said of each.",
            names.len(),
            names.join(", ")
        ));
    }
    weak
}

/// Where full NAT has few ports for the services of a family.
fn weak_in_ports(config: &Config, wide: bool) -> Option<String> {
    let services = || config.services.iter().filter(move |service| service.address.is_ipv6() == wide);
    let address = services().next()?.address;
    let (room, (first, last)) = (config.nat.room(address), config.nat.own_ports());
    let family = if wide { "IPv6 " } else { "" };
    if room < FEW_PORTS {
        return Some(format!(
            "[nat] ports {first}-{last} allow {room} connections to a{} backend: widen ports, or add to addresses.",
            if wide { "n IPv6" } else { "" }
        ));
    }
    if config.nat.like(address).count() > 1 {
        return None;
    }
    let few: Vec<_> = services().filter(|service| is_few(service)).map(|service| &service.name).collect();
    let name = few.first()?;
    let more = if few.len() > 1 { format!(" and {} more", few.len() - 1) } else { String::new() };
    Some(format!(
        "one {family}NAT address has {room} ports towards each backend of service \"{name}\"{more}, and a flood of new \
         connections soon has them all in use: another one in [nat] addresses doubles them."
    ))
}

fn believes_anybody(service: &Service) -> bool {
    let tls = match &service.health.probe {
        Some(Probe::Tls(tls, _)) => Some(tls),
        Some(Probe::Http(check)) => check.tls.as_ref(),
        _ => None,
    };
    tls.is_some_and(|tls| !tls.verify)
}

fn is_few(service: &Service) -> bool {
    (1..=FEW_BACKENDS).contains(&takers(service).count())
}

/// The places where backends of several services listen, in one protocol: a NAT port is in use towards a place.
fn shared(config: &Config) -> Vec<(String, BTreeSet<&str>)> {
    let mut places: BTreeMap<(Protocol, SocketAddr), BTreeSet<&str>> = BTreeMap::new();
    // Where every port is a place of its own, services have none in common.
    for service in config.services.iter().filter(|service| service.last_port.is_none()) {
        for backend in takers(service) {
            places
                .entry((service.protocol, SocketAddr::new(backend.address, backend.port)))
                .or_default()
                .insert(&service.name);
        }
    }
    let shared = places.into_iter().filter(|(_, names)| names.len() > 1);
    shared.map(|((protocol, place), names)| (format!("{protocol} {place}"), names)).collect()
}

/// Some lines for people.
impl fmt::Display for Capacity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, flow_bytes, wide_flows, wide_flow_bytes, maglev_bytes, ports, services, weak } = self;
        let ways = flow_bytes / (size_of::<Bucket<u64>>() / WAYS) as u64;
        write!(
            out,
            "tables: {flow_bytes} bytes for {flows} connections ({ways} entries), {maglev_bytes} bytes for the choice of backends"
        )?;
        if *wide_flows > 0 {
            write!(out, ", {wide_flow_bytes} bytes for {wide_flows} IPv6 connections")?;
        }
        if *ports > services.len() as u64 {
            write!(out, ", {ports} ports of services")?;
        }
        services.iter().try_for_each(|service| write!(out, "\n{service}"))?;
        weak.iter().try_for_each(|weak| write!(out, "\nweak: {weak}"))
    }
}

impl fmt::Display for ServiceCapacity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, at_once, limit, a_second, a_second_by_take_over, at_first_try } = self;
        let limit = match limit {
            Limit::NoBackend => return write!(out, "service \"{name}\": no connections (no backend)"),
            Limit::NatPorts => "NAT ports",
            Limit::MaxFlows => "max-flows",
        };
        write!(
            out,
            "service \"{name}\": {at_once} connections at once ({limit}), {a_second} new ones a second for ever, or up to \
             {a_second_by_take_over} where those that have ended give way after a second"
        )?;
        at_first_try.map_or(Ok(()), |most| write!(out, "; {most} of them at the first try"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(max_flows: u32, nat: &str, services: &[&str]) -> Capacity {
        let mut text = format!("[dataplane]\nmax-flows = {max_flows}\n[nat]\n{nat}\n");
        for (number, service) in services.iter().enumerate() {
            let port = 80 + number;
            text += &format!("[[service]]\nname = \"s{number}\"\naddress = \"192.0.2.10\"\nport = {port}\n{service}\n");
        }
        Capacity::of(&Config::parse("test", &text).expect("it is right"))
    }

    fn tcp(backends: &[(u8, u16)], more: &str) -> String {
        let backends: Vec<_> = backends
            .iter()
            .map(|(last, weight)| format!("{{ address = \"10.0.0.{last}\", port = 80, weight = {weight} }}"))
            .collect();
        format!("protocol = \"tcp\"\n{more}\nbackends = [{}]", backends.join(", "))
    }

    const NAT: &str = "addresses = [\"192.0.2.1\"]";

    #[test]
    fn nat_ports_count_once_towards_each_backend() {
        let figures = |nat: &str, service: &str| {
            let service = capacity(1 << 20, nat, &[service]).services.remove(0);
            (service.at_once, service.limit, service.a_second, service.a_second_by_take_over)
        };
        // 1024-65279.
        assert_eq!(figures(NAT, &tcp(&[(2, 1), (3, 1)], "")), (128_512, Limit::NatPorts, 2141, 128_512));
        let two = "addresses = [\"192.0.2.1\", \"192.0.2.2\"]\nports = \"1000-1999\"";
        assert_eq!(figures(two, &tcp(&[(2, 1), (3, 1)], "")).0, 4000);
        assert_eq!(figures(two, &tcp(&[(2, 1), (3, 3)], "")).0, 2666, "the second has three of four");
        assert_eq!(figures(two, &tcp(&[(2, 1), (3, 0)], "")).0, 2000);
        assert_eq!(figures(two, &tcp(&[(2, 1)], "idle = { closing = \"4s\" }")), (2000, Limit::NatPorts, 500, 2000));
        let udp = tcp(&[(2, 1)], "idle = { udp-answered = \"2s\" }").replace("\"tcp\"", "\"udp\"");
        assert_eq!(figures(two, &udp), (2000, Limit::NatPorts, 1000, 2000));
        assert_eq!(figures(NAT, &tcp(&[], "")), (0, Limit::NoBackend, 0, 0));
    }

    #[test]
    fn a_range_is_one_service_with_many_ports() {
        let text = format!(
            "[dataplane]\nmax-flows = 67108864\n[nat]\n{NAT}\n[[service]]\nname = \"rtp\"\naddress = \"192.0.2.10\"\n\
             port = \"20000-29999\"\nprotocol = \"udp\"\nbackends = [{{ address = \"10.0.0.2\" }}]\n"
        );
        let config = Config::parse("test", &text).expect("it is right");
        let capacity = Capacity::of(&config);
        assert_eq!((capacity.maglev_bytes, capacity.ports), (65537 * 4, 10_000));
        let rtp = &capacity.services[0];
        assert_eq!((rtp.at_once, rtp.limit), (1 << 26, Limit::MaxFlows), "64256 towards each port of the backend");
        let first = capacity.to_string().lines().next().map(str::to_owned).expect("there is one");
        assert!(first.ends_with("bytes for the choice of backends, 10000 ports of services"), "{first}");
        // Room for all that there can be, whatever the file says.
        assert_eq!(Sizes::for_config(&config), Sizes::for_config(&Config { services: Vec::new(), ..config.clone() }));
    }

    #[test]
    fn tables_have_the_sizes_that_planes_make_them_of() {
        let capacity = capacity(1 << 20, NAT, &[&tcp(&[(2, 1)], ""), &tcp(&[(3, 1)], "")]);
        assert_eq!((capacity.flow_bytes, capacity.maglev_bytes), (128 << 20, 2 * 65537 * 4));
        let capacity = self::capacity(64, NAT, &[&tcp(&[(2, 1)], "")]);
        assert_eq!(capacity.flow_bytes, 32 * 256);
        assert_eq!((capacity.services[0].at_once, capacity.services[0].limit), (64, Limit::MaxFlows));
    }

    #[test]
    fn each_family_has_a_table_and_nat_ports_of_its_own() {
        let six = |text: &str| text.replace("10.0.0.", "2001:db8::");
        let nat = "addresses = [\"192.0.2.1\", \"2001:db8::10\", \"192.0.2.2\"]";
        let mut text = format!("[dataplane]\nmax-flows = 1048576\n[nat]\n{nat}\n");
        for (name, address, service) in
            [("four", "192.0.2.10", tcp(&[(2, 1)], "")), ("six", "2001:db8::10", six(&tcp(&[(2, 1)], "")))]
        {
            text += &format!("[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = 80\n{service}\n");
        }
        let capacity = Capacity::of(&Config::parse("test", &text).expect("it is right"));
        assert_eq!((capacity.wide_flows, capacity.wide_flow_bytes), (1 << 20, 256 << 20));
        assert_eq!(capacity.services.iter().map(|service| service.at_once).collect::<Vec<_>>(), [128_512, 64_256]);
        assert_eq!(capacity.weak.len(), 1, "{:?}", capacity.weak);
        assert!(
            capacity.weak[0].contains("one IPv6 NAT address has 64256 ports") && capacity.weak[0].contains("\"six\"")
        );
        assert!(capacity.to_string().contains(", 268435456 bytes for 1048576 IPv6 connections"), "{capacity}");
        let few = self::capacity(1 << 20, NAT, &[&tcp(&[(2, 1)], "")]);
        assert_eq!((few.wide_flows, few.wide_flow_bytes), (0, 512), "one bucket, for none");
        assert!(!few.to_string().contains("IPv6"), "{few}");
    }

    #[test]
    fn what_is_weak_is_said_and_nothing_else() {
        let two_addresses = "addresses = [\"192.0.2.1\", \"192.0.2.2\"]";
        let (few, many) = (tcp(&[(2, 1), (3, 1)], ""), tcp(&[(4, 1), (5, 1), (6, 1), (7, 1), (8, 1)], ""));
        let elsewhere = few.replace("port = 80", "port = 81");
        let drained = tcp(&[(2, 0)], "");
        let anybody = tcp(&[(2, 1)], "health = { kind = \"https\", verify = false }");
        let somebody = tcp(&[(3, 1)], "health = { kind = \"https\" }");
        for (max_flows, nat, services, expected) in [
            (1 << 20, two_addresses, vec![few.as_str(), &elsewhere], &[][..]),
            (1 << 20, NAT, vec![&many], &[]),
            (1 << 20, NAT, vec![&few], &["service \"s0\", and a flood"]),
            (1 << 20, NAT, vec![&few, &elsewhere], &["service \"s0\" and 1 more"]),
            (1 << 14, NAT, vec![&many], &["max-flows = 65536 has room"]),
            (
                1 << 20,
                "addresses = [\"192.0.2.1\"]\nports = \"2000-2999\"",
                vec![&few],
                &["ports 2000-2999 allow 1000"],
            ),
            (1 << 20, NAT, vec![&drained], &["\"s0\" has no backend"]),
            (1 << 20, two_addresses, vec![&anybody, &somebody], &["\"s0\" take any certificate (verify = false)"]),
            (1 << 20, two_addresses, vec![&few, &few], &["backend tcp 10.0.0.2:80 serves 2", "10.0.0.3:80 serves 2"]),
        ] {
            let weak = capacity(max_flows, nat, &services).weak;
            assert_eq!(weak.len(), expected.len(), "{weak:?}");
            assert!(weak.iter().zip(expected).all(|(weak, expected)| weak.contains(expected)), "{weak:?}");
        }
    }
}
