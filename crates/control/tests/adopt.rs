//! A balancer that takes over the tables of one that is gone, wherever that one stopped.

use evenkeel_control::config::{self, AllDown, Config, HostAddress};
use evenkeel_control::operator::{self, Condition, Judgement, Order};
use evenkeel_control::{
    BackendId, Balancer, BalancerError, Contents, FlowView, FlowWalk, NextHop, Operator, Plane, Secrets, Sizes,
};
use evenkeel_core::backend::{Backend, BackendRef, BackendState, Link, Standing};
use evenkeel_core::flow::{IDLE_CLASSES, IdleTimes, State, Timeouts};
use evenkeel_core::{Counters, Features, Service, ServiceKey, Traffic, Word};
use evenkeel_wire::{IpProtocol, MacAddress};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

const SECRETS: Secrets = Secrets { pick: [1, 2], flow: [3, 4, 5, 6] };
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);

/// What outlives a process.
#[derive(Debug)]
struct Memory {
    backends: Vec<Backend<AtomicU64>>,
    services: HashMap<ServiceKey, Service>,
    maglev: BTreeMap<u32, Vec<u32>>,
    addresses: BTreeSet<IpAddr>,
    timeouts: Timeouts,
    /// Whose connections have had this reference: they must never come to another.
    owners: HashMap<BackendRef, BackendId>,
    /// The references that connections have.
    flows: Vec<BackendRef>,
}

/// A plane over it, of a process that may be killed.
#[derive(Clone, Debug)]
struct MemoryPlane {
    memory: Rc<RefCell<Memory>>,
    /// How many more writes the process lives for.
    life: Rc<Cell<usize>>,
    /// What it can be made ready for.
    features: Features,
}

#[derive(Debug, thiserror::Error)]
#[error("killed")]
struct Killed;

impl MemoryPlane {
    fn new() -> Self {
        let memory = Memory {
            backends: (0..16).map(|_| Backend::default()).collect(),
            services: HashMap::new(),
            maglev: BTreeMap::new(),
            addresses: BTreeSet::new(),
            timeouts: Timeouts::uniform(IdleTimes::DEFAULT),
            owners: HashMap::new(),
            flows: Vec::new(),
        };
        Self { memory: Rc::new(RefCell::new(memory)), life: Rc::new(Cell::new(usize::MAX)), features: Features::ALL }
    }

    fn write(&self, change: impl FnOnce(&mut Memory)) -> Result<(), Killed> {
        let left = self.life.get().checked_sub(1).ok_or(Killed)?;
        self.life.set(left);
        change(&mut self.memory.borrow_mut());
        Ok(())
    }

    /// The next process: the same memory, and a life of so many writes.
    fn successor(&self, life: usize) -> Self {
        Self { memory: Rc::clone(&self.memory), life: Rc::new(Cell::new(life)), features: self.features }
    }

    fn link(&self, reference: BackendRef) -> Link {
        Link(Word::load(&self.memory.borrow().backends[usize::from(reference.index)].link))
    }

    fn owner(&self, index: usize) -> Option<BackendId> {
        let memory = self.memory.borrow();
        let places = Contents::read_places(&memory.backends);
        places.into_iter().find(|place| usize::from(place.index) == index)?.owner
    }
}

impl Plane for MemoryPlane {
    type Error = Killed;

    fn set_our_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Killed> {
        self.write(|memory| memory.addresses = addresses.iter().copied().collect())
    }

    fn sizes(&self) -> Sizes {
        Sizes { flows: 16, wide_flows: 0, backends: 16, services: 4, addresses: 8 }
    }

    fn contents(&self) -> Result<Contents, Killed> {
        let memory = self.memory.borrow();
        Ok(Contents {
            places: Contents::read_places(&memory.backends),
            services: memory.services.iter().map(|(key, service)| (*key, *service)).collect(),
            addresses: memory.addresses.iter().copied().collect(),
        })
    }

    fn set_backend(
        &mut self,
        index: u16,
        target: SocketAddr,
        service: SocketAddr,
        protocol: IpProtocol,
    ) -> Result<(), Killed> {
        self.write(|memory| {
            let backend = &memory.backends[usize::from(index)];
            assert_eq!(Link(Word::load(&backend.link)).state(), BackendState::Down, "place {index} is in use");
            Contents::write_backend(backend, target, service, protocol);
        })
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), Killed> {
        self.write(|memory| memory.backends[usize::from(index)].link.publish(link.0))?;
        if let Some(owner) = self.owner(usize::from(index)) {
            let reference = BackendRef { index, generation: link.generation() };
            let known = *self.memory.borrow_mut().owners.entry(reference).or_insert(owner);
            assert_eq!(known, owner, "connections with {reference:?} come to another backend");
        }
        Ok(())
    }

    fn set_standing(&mut self, index: u16, standing: Standing) -> Result<(), Killed> {
        self.write(|memory| Contents::write_standing(&memory.backends[usize::from(index)], standing))
    }

    fn set_maglev(&mut self, tables: &[(u32, Vec<u32>)]) -> Result<(), Killed> {
        tables.iter().try_for_each(|(table, slots)| {
            self.write(|memory| {
                memory.maglev.insert(*table, slots.clone());
            })
        })
    }

    fn provide(&mut self, features: Features, timeouts: &Timeouts, _: Sizes) -> Result<(), Killed> {
        if !self.features.include(features) {
            return Err(Killed);
        }
        if self.memory.borrow().timeouts == *timeouts {
            return Ok(());
        }
        self.write(|memory| memory.timeouts = *timeouts)
    }

    fn set_service(&mut self, key: ServiceKey, service: Service) -> Result<(), Killed> {
        self.write(|memory| {
            memory.services.insert(key, service);
        })
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Killed> {
        self.write(|memory| {
            memory.services.remove(&key);
        })
    }

    fn counters(&self) -> Result<Counters, Killed> {
        Ok(Counters::ZERO)
    }

    fn traffic(&self, _: u16) -> Result<Traffic, Killed> {
        Ok(Traffic::default())
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        unreachable!("nobody walks through it beside the plane")
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Killed> {
        let nobody = SocketAddr::from(([0; 4], 0));
        for &backend in &self.memory.borrow().flows {
            visit(FlowView {
                protocol: IpProtocol::TCP,
                client: nobody,
                service: nobody,
                backend,
                nat: nobody,
                state: State::Established,
                idle: Duration::ZERO,
            });
        }
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), Killed> {
        Ok(())
    }
}

/// Services by address and port, each with the last bytes of its backends' addresses.
fn config(services: &[(&str, u16, &[u8])]) -> Config {
    let mut text = "[nat]\naddresses = [\"192.0.2.1\"]\n".to_owned();
    for (number, (address, port, backends)) in services.iter().enumerate() {
        let backends: Vec<_> =
            backends.iter().map(|last| format!("{{ address = \"10.0.0.{last}\", port = 80 }}")).collect();
        text += &format!(
            "[[service]]\nname = \"s{number}\"\naddress = \"{address}\"\nport = {port}\nprotocol = \"tcp\"\nbackends = [{}]\n",
            backends.join(", ")
        );
    }
    Config::parse("test", &text).expect("the test's configuration is right")
}

fn adopt(plane: MemoryPlane, config: &Config) -> Balancer<MemoryPlane> {
    Balancer::adopt(plane, &SECRETS, config.nat.clone()).expect("reading kills nobody")
}

fn references(balancer: &Balancer<MemoryPlane>) -> BTreeMap<(IpAddr, u16), BackendRef> {
    balancer.backends().map(|backend| ((backend.id.address, backend.id.service.port), backend.reference)).collect()
}

/// The last byte of an address.
fn last(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

fn addresses(plane: &MemoryPlane) -> Vec<String> {
    plane.memory.borrow().addresses.iter().map(IpAddr::to_string).collect()
}

#[test]
fn backends_keep_their_places_and_next_hops() {
    let before = config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[3, 4])]);
    let plane = MemoryPlane::new();
    let mut old = Balancer::new(plane.clone(), &SECRETS);
    old.apply(&before).expect("it fits");
    for last in [2, 3, 4] {
        old.set_next_hop(NextHop { address: [10, 0, 0, last].into(), mac: MAC }).expect("it fits");
    }
    let places = references(&old);
    drop(old);

    let mut new = adopt(plane.successor(usize::MAX), &before);
    assert_eq!(references(&new), places);
    new.apply(&config(&[("192.0.2.11", 443, &[4, 3]), ("192.0.2.10", 80, &[9, 3, 2])])).expect("it fits");
    let now = references(&new);
    assert!(places.iter().all(|(backend, place)| now[backend] == *place), "{now:?} instead of {places:?}");
    assert_eq!(now.len(), places.len() + 1);
    for reference in places.values() {
        let link = plane.link(*reference);
        assert_eq!((link.mac(), link.state()), (MAC, BackendState::Up));
    }
}

#[test]
fn what_is_not_wanted_any_more_is_let_go_as_usual() {
    let before = config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[3])]);
    let plane = MemoryPlane::new();
    let mut old = Balancer::new(plane.clone(), &SECRETS);
    old.apply(&before).expect("it fits");
    let places = references(&old);
    let (kept, ended) =
        (places[&("10.0.0.3".parse().expect("address"), 443)], places[&("10.0.0.2".parse().expect("address"), 80)]);
    plane.memory.borrow_mut().flows = vec![kept];
    drop(old);

    let after = config(&[("192.0.2.10", 80, &[3])]);
    let mut new = adopt(plane.successor(usize::MAX), &after);
    new.apply(&after).expect("it fits");
    assert_eq!(plane.memory.borrow().services.len(), 1);
    assert_eq!(addresses(&plane), ["192.0.2.1", "192.0.2.10", "192.0.2.11"], "answers still come by its address");
    let state = |reference: BackendRef| plane.link(reference).state();
    assert_eq!((state(kept), state(ended)), (BackendState::Finishing, BackendState::Finishing));

    new.tidy().expect("it fits");
    assert_eq!((state(kept), state(ended)), (BackendState::Finishing, BackendState::Down));
    plane.memory.borrow_mut().flows.clear();
    new.tidy().expect("it fits");
    assert_eq!(state(kept), BackendState::Down);
    assert_eq!(addresses(&plane), ["192.0.2.1", "192.0.2.10"]);
}

/// The slots of every service's table, each as the last byte of its server's address.
fn servers(plane: &MemoryPlane) -> Vec<Vec<u8>> {
    let memory = plane.memory.borrow();
    let server = |slot: &u32| last(memory.owners[&BackendRef::from_bits(*slot)].address);
    memory.maglev.values().map(|slots| slots.iter().map(server).collect()).collect()
}

/// A client whose address decides comes to a slot of the same number everywhere.
#[test]
fn a_client_finds_the_same_server_behind_every_service_whatever_the_ports() {
    let service = |port: u16, backends: &str| {
        format!(
            "[[service]]\nname = \"s{port}\"\naddress = \"192.0.2.10\"\nport = {port}\nprotocol = \"tcp\"\n\
             affinity = \"client-address\"\nbackends = [{backends}]\n"
        )
    };
    let backends = |servers: &[(u8, u16, u16)]| -> String {
        let backend = |&(last, port, weight): &(u8, u16, u16)| {
            format!("{{ address = \"10.0.0.{last}\", port = {port}, weight = {weight} }}, ")
        };
        servers.iter().map(backend).collect()
    };
    let text = [
        "[nat]\naddresses = [\"192.0.2.1\"]\n".to_owned(),
        service(80, &backends(&[(2, 8080, 1), (3, 8080, 2), (3, 8081, 1)])),
        // In another order, with ports whose order is another between servers.
        service(443, &backends(&[(3, 444, 1), (2, 9443, 1), (3, 443, 2)])),
        service(0, &backends(&[(3, 0, 3), (2, 0, 1)])),
        service(22, &backends(&[(2, 22, 1), (3, 2222, 3)])),
    ];
    let config = Config::parse("test", &text.concat()).expect("the test's configuration is right");
    let plane = MemoryPlane::new();
    Balancer::new(plane.clone(), &SECRETS).apply(&config).expect("it fits");
    let tables = servers(&plane);
    assert!(tables[0] == tables[1], "two servers, three backends, other ports");
    assert!(tables[2] == tables[3], "any port, and a port");
}

#[test]
fn a_table_is_written_again_even_if_no_backend_is_up() {
    let config = config(&[("192.0.2.10", 80, &[2])]);
    let plane = MemoryPlane::new();
    Balancer::new(plane.clone(), &SECRETS).apply(&config).expect("it fits");
    assert!(plane.memory.borrow().maglev[&0].iter().all(|slot| *slot != 0));
    let mut new = adopt(plane.successor(usize::MAX), &config);
    new.apply_with(&config, |_, _| (BackendState::Draining, Standing::default())).expect("it fits");
    assert!(plane.memory.borrow().maglev[&0].iter().all(|slot| *slot == 0), "the slots of the process before");
}

#[test]
fn the_hosts_own_address_is_left_to_the_kernel_where_there_is_one() {
    let mut config = config(&[("192.0.2.10", 80, &[2])]);
    config.dataplane.address = Some(HostAddress { address: Ipv4Addr::new(192, 0, 2, 5), prefix: 24 });
    let plane = MemoryPlane::new();
    Balancer::new(plane.clone(), &SECRETS).apply(&config).expect("it fits");
    assert_eq!(addresses(&plane), ["192.0.2.1", "192.0.2.10"]);
}

#[test]
fn other_nat_addresses_are_refused() {
    let config = config(&[("192.0.2.10", 80, &[2])]);
    let mut other = config.clone();
    other.nat.ports = (2000, 3000);
    let plane = MemoryPlane::new();
    Balancer::new(plane.clone(), &SECRETS).apply(&config).expect("it fits");
    let refusal = adopt(plane, &config).apply(&other).expect_err("[nat] has changed");
    assert!(matches!(refusal, BalancerError::NatChanged), "{refusal}");
}

/// Three configurations one after the other, one of whose backends fails its checks, each process killed after so many
/// writes and the next one, too: in the end the tables are what the last configuration wants, and no reference has ever
/// meant two backends.
/// A program that can do more may not load, and loading takes a while: nothing of the configuration is in force by then.
#[test]
fn a_plane_that_cannot_be_made_ready_is_left_as_it_was() {
    let mut plane = MemoryPlane::new();
    plane.features = Features::REFUSE;
    let memory = Rc::clone(&plane.memory);
    let mut balancer = Balancer::new(plane, &SECRETS);
    balancer.apply(&config(&[("192.0.2.10", 80, &[1, 2])])).expect("nothing special is asked for");
    let before = format!("{:?}", memory.borrow());
    let mut resets = config(&[("192.0.2.20", 80, &[3])]);
    resets.services[0].all_down = AllDown::Reset;
    assert!(balancer.apply(&resets).is_err());
    assert_eq!(format!("{:?}", memory.borrow()), before);
}

#[test]
fn killed_after_any_write_it_can_be_followed() {
    let steps = [
        config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[4])]),
        config(&[("192.0.2.11", 443, &[4, 5]), ("192.0.2.12", 80, &[2])]),
        config(&[("192.0.2.10", 80, &[3, 6])]),
    ];
    let mut killed = 0;
    for first in 0..24 {
        for second in 0..24 {
            let plane = MemoryPlane::new();
            for (step, life) in steps.iter().zip([first, second, usize::MAX]) {
                let mut balancer = adopt(plane.successor(life), step);
                let outcome = balancer
                    .apply_with(step, |_, backend| match last(backend.address) {
                        4 => (BackendState::Down, Standing { drained: false, failed: true }),
                        _ => (BackendState::Up, Standing::default()),
                    })
                    .and_then(|()| balancer.tidy());
                killed += u32::from(outcome.is_err());
            }
            let memory = plane.memory.borrow();
            assert_eq!(memory.services.len(), 1, "killed after {first} and {second} writes");
            for (key, service) in &memory.services {
                for slot in &memory.maglev[&service.table] {
                    let reference = BackendRef::from_bits(*slot);
                    let link = plane.link(reference);
                    assert_eq!((link.generation(), link.state()), (reference.generation, BackendState::Up));
                    let owner = memory.owners[&reference];
                    assert_eq!(owner.service.port, key.port.number());
                    assert!([3, 6].contains(&last(owner.address)), "{owner:?}");
                }
            }
            drop(memory);
            assert_eq!(addresses(&plane), ["192.0.2.1", "192.0.2.10"], "killed after {first} and {second} writes");
        }
    }
    assert!(killed > 300, "the test kills: {killed} times");
}

fn states<P: Plane>(operator: &Operator<P>) -> Vec<(operator::State, String)> {
    let services = operator.status().expect("it can be read").services;
    services.into_iter().flat_map(|it| it.backends).map(|backend| (backend.state, backend.reason)).collect()
}

#[test]
fn what_was_known_of_backends_is_known_to_the_next_process() {
    let text = |health: &str, backends: &str| {
        format!(
            "[nat]\naddresses = [\"192.0.2.1\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nport = 80\n\
             protocol = \"tcp\"\nhealth = {{ kind = \"{health}\" }}\nbackends = [{backends}]\n"
        )
    };
    let backend = |last: u8| format!("{{ address = \"10.0.0.{last}\", port = 80 }}, ");
    let parse = |health, backends: &[u8]| {
        let backends: String = backends.iter().map(|&last| backend(last)).collect();
        Config::parse("test", &text(health, &backends)).expect("the test's configuration is right")
    };
    let (checked, unchecked, fewer) = (parse("tcp", &[2, 3, 4]), parse("none", &[2, 3, 4]), parse("tcp", &[4]));
    let next = |plane: &MemoryPlane, config: &Config| {
        let balancer = adopt(plane.successor(usize::MAX), config);
        Operator::new(balancer, "memory", config.clone(), None).expect("it fits")
    };
    let plane = MemoryPlane::new();
    let first = Balancer::new(plane.clone(), &SECRETS);
    let mut first = Operator::new(first, "memory", checked.clone(), None).expect("it fits");
    let places = references(first.balancer());
    first.order("web", "10.0.0.2", Order::Drain).expect("it is there");
    let failed = checked.services[0].backend_id(&checked.services[0].backends[1]);
    let judgement = |condition| {
        let (reason, since) = (format!("{condition:?}"), SystemTime::now());
        Judgement { backend: failed, condition, reason, since }
    };
    first.judge(&[judgement(Condition::Down)]).expect("it fits");
    drop(first);

    let (drained, down) = (
        (operator::State::Draining, "drained by command"),
        (operator::State::Down, "failed its checks before the restart"),
    );
    let unknown = (operator::State::Up, "not checked");
    let expect = |operator: &Operator<MemoryPlane>, expected: [(operator::State, &str); 3]| {
        assert_eq!(states(operator), expected.map(|(state, reason)| (state, reason.to_owned())));
    };
    for _ in 0..2 {
        let second = next(&plane, &checked);
        expect(&second, [drained, down, unknown]);
        assert_eq!(references(second.balancer()), places, "even those of the one that is down may go on");
    }
    // Who is not checked any more cannot have failed.
    expect(&next(&plane, &unchecked), [drained, unknown, unknown]);
    let mut third = next(&plane, &checked);
    expect(&third, [drained, unknown, unknown]);
    third.judge(&[judgement(Condition::Down)]).expect("it fits");
    third.judge(&[judgement(Condition::Up)]).expect("it fits");
    third.order("web", "10.0.0.2", Order::Undrain).expect("it is there");
    expect(&next(&plane, &checked), [unknown; 3]);

    // Who leaves the file is forgotten.
    let mut fourth = next(&plane, &checked);
    fourth.order("web", "10.0.0.2", Order::Drain).expect("it is there");
    fourth.judge(&[judgement(Condition::Down)]).expect("it fits");
    next(&plane, &fewer);
    let waiting = (operator::State::Down, "waits for its first good check");
    expect(&next(&plane, &checked), [waiting, waiting, unknown]);
}

/// One service with two backends that are checked, and more said of it.
fn checked(more: &str) -> Config {
    let text = format!(
        "[nat]\naddresses = [\"192.0.2.1\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nport = 80\n\
         protocol = \"tcp\"\nhealth = {{ kind = \"tcp\" }}\n{more}\n\
         backends = [{{ address = \"10.0.0.2\", port = 80 }}, {{ address = \"10.0.0.3\", port = 80 }}]\n"
    );
    Config::parse("test", &text).expect("the test's configuration is right")
}

/// What checks say of the two.
fn judge(operator: &mut Operator<MemoryPlane>, conditions: [Condition; 2]) {
    let backends: Vec<_> = operator.config().backend_ids().collect();
    let judgements = backends.into_iter().zip(conditions).map(|(backend, condition)| {
        let (reason, since) = (format!("{condition:?}"), SystemTime::now());
        Judgement { backend, condition, reason, since }
    });
    operator.judge(&judgements.collect::<Vec<_>>()).expect("it fits");
}

/// Both are up in the end, whatever was of them before.
#[test]
fn a_backend_that_is_down_is_what_its_service_says() {
    use BackendState::{Down, Draining, Finishing, Resetting, Up};
    use Condition::{Down as Failed, Up as Fine};
    for (more, one, both, drained) in [
        ("", [Finishing, Up], [Draining, Draining], [Finishing, Up]),
        ("on-down = \"keep\"", [Finishing, Up], [Draining, Draining], [Finishing, Up]),
        ("on-down = \"drop\"", [Down, Up], [Draining, Draining], [Finishing, Up]),
        ("on-down = \"reset\"", [Resetting, Up], [Resetting, Resetting], [Finishing, Up]),
    ] {
        let plane = MemoryPlane::new();
        let balancer = Balancer::new(plane.clone(), &SECRETS);
        let mut operator = Operator::new(balancer, "memory", checked(more), None).expect("it fits");
        let places = references(operator.balancer());
        let states = || -> Vec<_> { places.values().map(|reference| plane.link(*reference).state()).collect() };
        let told = |operator: &Operator<MemoryPlane>| self::states(operator).into_iter().map(|(state, _)| state).next();
        judge(&mut operator, [Failed, Fine]);
        assert_eq!(states(), one, "{more}");
        assert_eq!(told(&operator), Some(operator::State::Down), "{more}");
        // The next process finds it so.
        let next = Operator::new(adopt(plane.successor(usize::MAX), operator.config()), "memory", checked(more), None);
        assert_eq!(states(), one, "{more}");
        assert_eq!(told(&next.expect("it fits")), Some(operator::State::Down), "{more}");
        judge(&mut operator, [Failed, Failed]);
        assert_eq!(states(), both, "{more}");
        judge(&mut operator, [Fine, Fine]);
        operator.order("web", "10.0.0.2", Order::Drain).expect("it is there");
        assert_eq!(states(), [Draining, Up], "{more}");
        judge(&mut operator, [Failed, Fine]);
        assert_eq!(states(), drained, "{more}");
        operator.order("web", "10.0.0.2", Order::Undrain).expect("it is there");
        judge(&mut operator, [Fine, Fine]);
        assert_eq!(states(), [Up, Up], "{more}");
    }
}

#[test]
fn a_plane_is_made_ready_for_what_services_ask_for() {
    for (more, features) in [
        ("", Features::NONE),
        ("on-down = \"drop\"", Features::NONE),
        ("on-down = \"reset\"", Features::DOWN_RESET),
        ("on-missing = \"reset\"", Features::RESET),
        ("all-down = \"reset\"", Features::RESET),
        ("affinity = \"client-address\"", Features::CLIENT_ADDRESS),
    ] {
        // What belongs to nobody is refused if the file does not say otherwise.
        assert_eq!(evenkeel_control::features(&checked(more)), features | Features::REFUSE, "{more}");
    }
}

/// Idle times are in force before a service has them, and the number that says which outlives the process.
#[test]
fn idle_times_come_before_the_services_that_have_them() {
    let idle = |seconds: u32| format!("idle = {{ established = \"{seconds}s\" }}");
    let sets = |first: u32| {
        let mut sets = [IdleTimes::DEFAULT; IDLE_CLASSES];
        sets[1].established = first * 1000;
        Timeouts::new(&sets)
    };
    let plane = MemoryPlane::new();
    let number = |plane: &MemoryPlane| plane.memory.borrow().services.values().map(|service| service.idle).next();
    Balancer::new(plane.clone(), &SECRETS).apply(&checked(&idle(60))).expect("it fits");
    assert_eq!((plane.memory.borrow().timeouts, number(&plane)), (sets(60), Some(1)));
    // Whoever cannot have them leaves everything as it was.
    let before = format!("{:?}", plane.memory.borrow());
    let mut next = adopt(plane.successor(0), &checked(&idle(90)));
    assert!(next.apply(&checked(&idle(90))).is_err());
    assert_eq!(format!("{:?}", plane.memory.borrow()), before);
    adopt(plane.successor(usize::MAX), &checked(&idle(90))).apply(&checked(&idle(90))).expect("it fits");
    assert_eq!((plane.memory.borrow().timeouts, number(&plane)), (sets(90), Some(1)));
}

/// A process that lives on after a write has failed: whichever one it was, what was in force can be put back.
#[test]
fn after_any_failed_write_the_way_back_is_open() {
    let before = config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[4, 5])]);
    let after = config(&[("192.0.2.10", 80, &[3, 6]), ("192.0.2.11", 443, &[5]), ("192.0.2.12", 80, &[2])]);
    let mut failed = 0;
    for life in 0..24 {
        let plane = MemoryPlane::new();
        let mut balancer = Balancer::new(plane.clone(), &SECRETS);
        balancer.apply(&before).expect("it fits");
        plane.life.set(life);
        failed += u32::from(balancer.apply(&after).is_err());
        plane.life.set(usize::MAX);
        balancer.apply(&before).expect("it fits");

        let memory = plane.memory.borrow();
        assert_eq!(memory.services.len(), 2, "{life} writes");
        for (key, service) in &memory.services {
            let slots: BTreeSet<_> = memory.maglev[&service.table].iter().copied().collect();
            let targets = slots.into_iter().map(|slot| last(memory.owners[&BackendRef::from_bits(slot)].address));
            let expected = if key.port.number() == 80 { [2, 3] } else { [4, 5] };
            assert_eq!(targets.collect::<BTreeSet<_>>(), BTreeSet::from(expected), "{life} writes");
        }
    }
    assert!(failed > 8, "writes fail: {failed}");
}

/// A change that failed at any write is tried again, and then everything is as if it had not: also what the plane was to be
/// told of a backend that got its place just then, and of a service that is gone.
#[test]
fn after_any_failed_write_another_attempt_makes_it_good() {
    let before = config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[4, 5])]);
    let after = config(&[("192.0.2.10", 80, &[3, 6]), ("192.0.2.12", 80, &[2])]);
    let run = |life: usize| {
        let plane = MemoryPlane::new();
        let mut balancer = Balancer::new(plane.clone(), &SECRETS);
        balancer.apply(&before).expect("it fits");
        plane.life.set(life);
        let failed = balancer.apply(&after).is_err();
        plane.life.set(usize::MAX);
        balancer.apply(&after).expect("it fits");
        let memory = plane.memory.borrow();
        let places: BTreeMap<_, _> = Contents::read_places(&memory.backends)
            .into_iter()
            .filter_map(|place| Some((place.owner?, (place.link.state(), place.standing))))
            .collect();
        let owner = |slot: &u32| memory.owners[&BackendRef::from_bits(*slot)];
        let services: BTreeMap<_, Vec<_>> = memory
            .services
            .iter()
            .map(|(key, service)| {
                ((key.address, key.port.number()), memory.maglev[&service.table].iter().map(owner).collect())
            })
            .collect();
        (failed, (places, services, memory.addresses.clone()))
    };
    let (_, expected) = run(usize::MAX);
    let failed = (0..30).filter(|&life| {
        let (failed, found) = run(life);
        assert!(found == expected, "{life} writes: {:?}", (found.0, found.2));
        failed
    });
    assert!(failed.count() > 8, "writes fail");
}

/// Health checks that turn while tables cannot be changed: what they found is in force as soon as they can.
#[test]
fn a_judgement_that_could_not_be_put_in_force_is_tried_again() {
    for life in 0..6 {
        let plane = MemoryPlane::new();
        let mut operator =
            Operator::new(Balancer::new(plane.clone(), &SECRETS), "memory", checked(""), None).expect("it fits");
        let backends: Vec<_> = operator.config().backend_ids().collect();
        let (condition, reason, since) = (Condition::Down, "refused".to_owned(), SystemTime::now());
        plane.life.set(life);
        let failed = operator.judge(&[Judgement { backend: backends[0], condition, reason, since }]).is_err();
        assert_eq!(operator.is_behind(), failed, "{life} writes");
        operator.catch_up();
        plane.life.set(usize::MAX);
        operator.catch_up();
        assert!(!operator.is_behind(), "{life} writes");
        let state = |reference: &BackendRef| plane.link(*reference).state();
        let states: Vec<_> = references(operator.balancer()).values().map(state).collect();
        assert_eq!(states, [BackendState::Finishing, BackendState::Up], "{life} writes");
    }
}

/// A next hop that could not be written is written later, also of a backend that is on its way out.
#[test]
fn a_next_hop_that_could_not_be_written_is_tried_again() {
    let plane = MemoryPlane::new();
    let mut operator =
        Operator::new(Balancer::new(plane.clone(), &SECRETS), "memory", checked(""), None).expect("it fits");
    let places = references(operator.balancer());
    let mut less = checked("");
    less.services[0].backends.truncate(1);
    operator.replace(less).expect("it fits");
    plane.life.set(0);
    for last in [2, 3] {
        let hop = NextHop { address: [10, 0, 0, last].into(), mac: MAC };
        let error = operator.balancer_mut().set_next_hop(hop).expect_err("it cannot be written");
        operator.failed(&error);
    }
    plane.life.set(usize::MAX);
    operator.catch_up();
    assert!(places.values().all(|reference| plane.link(*reference).mac() == MAC));
    assert_eq!(operator.troubles()[0].1, 2);
}

/// What is to be of a service's backends, by the last byte of their addresses. Who is not named is not in the file.
type Wanted<'a> = &'a [(u8, BackendState)];

fn want(balancer: &mut Balancer<MemoryPlane>, wanted: Wanted<'_>) -> Result<(), BalancerError<Killed>> {
    let backends: Vec<_> = wanted.iter().map(|(last, _)| *last).collect();
    // The second service comes and goes with the number of backends.
    let services = [("192.0.2.10", 80, &backends[..]), ("192.0.2.11", 443, &backends[..])];
    let config = config(&services[..backends.len().min(2)]);
    balancer.apply_with(&config, |_, backend| {
        let last = last(backend.address);
        let state = wanted.iter().find(|(wanted, _)| *wanted == last).expect("it is in the file").1;
        let failed = !matches!(state, BackendState::Up | BackendState::Draining);
        (state, Standing { drained: state == BackendState::Draining, failed })
    })
}

/// Before and after each of these changes somebody serves; so at no write in between may a new connection find nobody, or
/// somebody who takes none: it would be dropped, or reset.
#[test]
fn whoever_a_table_leads_to_takes_connections_at_every_write() {
    use BackendState::{Down, Draining, Finishing, Resetting, Up};
    let steps: [Wanted<'_>; 15] = [
        &[(2, Up), (3, Up)],
        &[(2, Up), (3, Down)],
        &[(2, Down), (3, Up)],
        &[(2, Draining), (3, Down), (4, Up)],
        &[(2, Up), (3, Down), (4, Draining)],
        &[(3, Up)],
        &[(5, Up), (6, Up)],
        &[(5, Draining), (6, Draining), (3, Up)],
        &[(6, Up)],
        &[(2, Up), (3, Up), (5, Down), (6, Down)],
        &[(2, Finishing), (3, Up), (5, Up), (6, Resetting)],
        &[(2, Up), (3, Resetting), (5, Finishing), (6, Up)],
        &[(2, Resetting), (3, Up), (5, Draining), (6, Finishing)],
        &[(3, Finishing), (5, Up), (6, Up)],
        &[(5, Finishing), (3, Up)],
    ];
    let mut writes = 0;
    for pair in steps.windows(2) {
        let [before, after] = *pair else { continue };
        for life in 0.. {
            let plane = MemoryPlane::new();
            let mut balancer = Balancer::new(plane.clone(), &SECRETS);
            want(&mut balancer, before).expect("it fits");
            plane.life.set(life);
            let outcome = want(&mut balancer, after);
            let memory = plane.memory.borrow();
            for (key, service) in &memory.services {
                for slot in &memory.maglev[&service.table] {
                    let reference = BackendRef::from_bits(*slot);
                    let link = plane.link(reference);
                    let takes = (link.generation(), link.state()) == (reference.generation, Up);
                    assert!(takes, "{before:?} to {after:?}, {life} writes: {key:?} leads to {reference:?}, {link:?}");
                }
            }
            writes += 1;
            if outcome.is_ok() {
                break;
            }
        }
    }
    assert!(writes > 50, "there are writes in between: {writes}");
}

/// Who is killed while a backend that has failed, or was drained, comes back or goes away leaves it its connections: it has
/// its place, and the use of it, at every write.
#[test]
fn killed_at_any_write_of_a_turn_a_backend_keeps_its_place() {
    use BackendState::{Down, Draining, Finishing, Resetting, Up};
    let all = [Up, Down, Draining, Finishing, Resetting];
    for (before, after) in all.into_iter().flat_map(|before| all.map(|after| (before, after))) {
        for life in 0..8 {
            let plane = MemoryPlane::new();
            let mut balancer = Balancer::new(plane.clone(), &SECRETS);
            want(&mut balancer, &[(2, before), (3, Up)]).expect("it fits");
            let places = references(&balancer);
            plane.life.set(life);
            let _ = want(&mut balancer, &[(2, after), (3, Up)]);
            let config = config(&[("192.0.2.10", 80, &[2, 3]), ("192.0.2.11", 443, &[2, 3])]);
            let next = adopt(plane.successor(usize::MAX), &config);
            assert_eq!(references(&next), places, "{before:?} to {after:?}, {life} writes");
        }
    }
}

/// The backends of a service with this check, by the last bytes of their addresses.
fn of_backends(health: &str, backends: &[u8]) -> Config {
    let backends: String =
        backends.iter().map(|last| format!("{{ address = \"10.0.0.{last}\", port = 80 }}, ")).collect();
    let text = format!(
        "[nat]\naddresses = [\"192.0.2.1\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nport = 80\n\
         protocol = \"tcp\"\nhealth = {{ kind = \"tcp\"{health} }}\nbackends = [{backends}]\n"
    );
    Config::parse("test", &text).expect("the test's configuration is right")
}

#[test]
fn a_new_backend_waits_for_its_first_good_check_while_others_serve() {
    use BackendState::{Finishing, Up};
    use Condition::{Down as Failed, Up as Fine};
    let plane = MemoryPlane::new();
    let balancer = Balancer::new(plane.clone(), &SECRETS);
    let mut operator = Operator::new(balancer, "memory", of_backends("", &[2, 3]), None).expect("it fits");
    let now = |operator: &Operator<MemoryPlane>| {
        let views: HashMap<_, _> = operator.balancer().backends().map(|view| (view.id, view.state)).collect();
        operator.config().backend_ids().map(|backend| views[&backend]).collect::<Vec<_>>()
    };
    let judge = |operator: &mut Operator<MemoryPlane>, nth: usize, condition| {
        let backend = operator.config().backend_ids().nth(nth).expect("it is there");
        let judgement = Judgement { backend, condition, reason: String::new(), since: SystemTime::now() };
        operator.judge(&[judgement]).expect("it fits");
    };
    assert_eq!(now(&operator), [Up, Up], "nothing is known of anybody, and somebody must take them");
    judge(&mut operator, 1, Fine);
    assert_eq!(now(&operator), [Finishing, Up]);
    assert_eq!(states(&operator)[0], (operator::State::Down, "waits for its first good check".to_owned()));
    judge(&mut operator, 0, Fine);
    assert_eq!(now(&operator), [Up, Up]);

    // A reload brings one more, and takes nothing from the others.
    operator.replace(of_backends("", &[2, 3, 4])).expect("it fits");
    assert_eq!(now(&operator), [Up, Up, Finishing]);
    operator.replace(of_backends("", &[4, 3, 2])).expect("it fits");
    assert_eq!(now(&operator), [Finishing, Up, Up], "it still waits after the next one");
    // A process that goes on from there knows who served, and who did not yet.
    let config = operator.config().clone();
    let mut next = Operator::new(adopt(plane.successor(usize::MAX), &config), "memory", config, None).expect("it fits");
    assert_eq!(now(&next), [Finishing, Up, Up]);
    // Where nobody else serves, the one of whom nothing is known is the best there is.
    judge(&mut next, 1, Failed);
    next.order("web", "10.0.0.2", Order::Drain).expect("it is there");
    assert_eq!(now(&next)[0], Up);
    next.order("web", "10.0.0.2", Order::Undrain).expect("it is there");
    assert_eq!(now(&next)[0], Finishing);
    judge(&mut next, 0, Fine);
    assert_eq!(now(&next)[0], Up);

    // Who is said to be up at first is; and a check that is new to a backend makes no new backend of it.
    next.replace(of_backends(", initial = \"up\"", &[4, 2, 5])).expect("it fits");
    assert_eq!(now(&next), [Up, Up, Up]);
    let plane = MemoryPlane::new();
    let unchecked = of_backends("", &[2, 3]);
    let unchecked = Config {
        services: unchecked
            .services
            .into_iter()
            .map(|service| config::Service { health: Default::default(), ..service })
            .collect(),
        ..unchecked
    };
    let balancer = Balancer::new(plane, &SECRETS);
    let mut operator = Operator::new(balancer, "memory", unchecked, None).expect("it fits");
    operator.replace(of_backends("", &[2, 3])).expect("it fits");
    judge(&mut operator, 0, Fine);
    assert_eq!(now(&operator), [Up, Up]);
}

/// Services of 192.0.2.10 with these ports, each with a backend of its own; ids go by the first port.
fn of_ports(services: &[(&str, u8)]) -> Config {
    let mut text = "[nat]\naddresses = [\"192.0.2.1\"]\n".to_owned();
    for (ports, last) in services {
        let (ports, port) =
            if ports.contains('-') { (format!("\"{ports}\""), "") } else { ((*ports).to_owned(), ", port = 80") };
        text += &format!(
            "[[service]]\nname = \"{last}\"\naddress = \"192.0.2.10\"\nport = {ports}\nprotocol = \"tcp\"\n\
             backends = [{{ address = \"10.0.0.{last}\"{port} }}]\n"
        );
    }
    Config::parse("test", &text).expect("the test's configuration is right")
}

/// Whom each port of the plane's leads to, by the last bytes of addresses; every one to somebody who takes connections.
fn led_to(plane: &MemoryPlane) -> BTreeMap<u16, u8> {
    let memory = plane.memory.borrow();
    let led = memory.services.iter().map(|(key, service)| {
        let reference = BackendRef::from_bits(memory.maglev[&service.table][0]);
        let link = plane.link(reference);
        assert_eq!((link.generation(), link.state()), (reference.generation, BackendState::Up));
        (key.port.number(), last(memory.owners[&reference].address))
    });
    led.collect()
}

#[test]
fn every_port_of_a_service_leads_to_it_and_no_other_does() {
    let plane = MemoryPlane::new();
    let mut balancer = Balancer::new(plane.clone(), &SECRETS);
    let mut places = Vec::new();
    for (services, expected) in [
        (&[("20-22", 2)][..], &[(20, 2), (21, 2), (22, 2)][..]),
        // Longer and shorter it is the same service: its first port is.
        (&[("20-23", 2)], &[(20, 2), (21, 2), (22, 2), (23, 2)]),
        (&[("20-21", 2)], &[(20, 2), (21, 2)]),
        // Ports that another has from now on.
        (&[("20-21", 2), ("22-23", 3)], &[(20, 2), (21, 2), (22, 3), (23, 3)]),
        (&[("20-22", 2), ("23", 4)], &[(20, 2), (21, 2), (22, 2), (23, 4)]),
        (&[("21-22", 3), ("23", 4)], &[(21, 3), (22, 3), (23, 4)]),
        (&[("30", 5)], &[(30, 5)]),
    ] {
        let config = of_ports(services);
        balancer.apply(&config).expect("it fits");
        assert_eq!(led_to(&plane), expected.iter().copied().collect(), "{services:?}");
        if services.first().is_some_and(|(_, last)| *last == 2) {
            places.push(balancer.backends().find(|view| last(view.id.address) == 2).expect("it is there").reference);
        }
    }
    assert_eq!(places.len(), 5);
    assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "its connections are its own all the time: {places:?}");
    let error = balancer.apply(&of_ports(&[("20-24", 2)])).expect_err("the plane has room for four").to_string();
    assert!(
        error.contains("5 services are too many") && error.contains("each port of those with several counted"),
        "{error}"
    );
}

/// Wherever the changes are cut short, what is in force in between leads every port to somebody who may have it, and the next
/// process makes it right and keeps whose connections are whose.
#[test]
fn ports_change_hands_wherever_a_process_is_killed() {
    let (before, after) = (of_ports(&[("20-22", 2), ("23", 4)]), of_ports(&[("20-21", 2), ("22-23", 3)]));
    for life in 0.. {
        let plane = MemoryPlane::new();
        let mut first = Balancer::new(plane.clone(), &SECRETS);
        first.apply(&before).expect("it fits");
        let reference = first.backends().find(|view| last(view.id.address) == 2).expect("it is there").reference;
        drop(first);
        let mut second = adopt(plane.successor(life), &before);
        let has_ended = second.apply(&after).is_ok();
        for (port, to) in led_to(&plane) {
            let may = match port {
                20 | 21 => &[2][..],
                22 => &[2, 3],
                _ => &[3, 4],
            };
            assert!(may.contains(&to), "killed after {life} writes: {port} leads to {to}");
        }
        let mut third = adopt(plane.successor(usize::MAX), &after);
        third.apply(&after).expect("it fits");
        assert_eq!(led_to(&plane), [(20, 2), (21, 2), (22, 3), (23, 3)].into(), "killed after {life} writes");
        let kept = third.backends().find(|view| last(view.id.address) == 2).expect("it is there").reference;
        assert_eq!(kept, reference, "killed after {life} writes");
        if has_ended {
            assert!(life > 5, "it had something to do");
            break;
        }
    }
}
