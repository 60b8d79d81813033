//! Random lives of many connections, judged by a model that knows nothing of entries: who owns a NAT port, and who may
//! count on being served.

use crate::support::*;
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{IdleTimes, Timeouts};
use evenkeel_core::{BackendRef, BackendState, Event, Reason};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

const IDLE: IdleTimes =
    IdleTimes { opening: 20, answered: 20, tcp_established: 200, udp_established: 100, closing: 20 };

#[derive(Clone, Copy, Debug)]
enum Step {
    Client { who: u16, udp: bool, flags: u8 },
    Backend { who: u16, udp: bool, flags: u8, of_old: bool },
    Wait(u16),
    Set { backend: bool, state: BackendState, replaced: bool },
    Table(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flags = || prop_oneof![3 => Just(SYN), 6 => Just(ACK), 2 => Just(FIN | ACK), 1 => Just(RST)];
    let state =
        prop_oneof![3 => Just(BackendState::Up), 1 => Just(BackendState::Down), 1 => Just(BackendState::Draining)];
    let step = prop_oneof![
        10 => (0..5u16, prop::bool::weighted(0.3), flags()).prop_map(|(who, udp, flags)| Step::Client { who, udp, flags }),
        10 => (0..5u16, prop::bool::weighted(0.3), flags(), prop::bool::weighted(0.2))
            .prop_map(|(who, udp, flags, of_old)| Step::Backend { who, udp, flags, of_old }),
        3 => prop::sample::select(vec![1, 4, 9, 15, 30, 90, 230]).prop_map(Step::Wait),
        3 => (any::<bool>(), state, prop::bool::weighted(0.1))
            .prop_map(|(backend, state, replaced)| Step::Set { backend, state, replaced }),
        1 => (0..4u8).prop_map(Step::Table),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Opened,
    Answered,
    Established,
    Closed,
}

/// What a client has seen of its connection.
#[derive(Clone, Copy, Debug)]
struct Life {
    connection: Connection,
    phase: Phase,
    fins: (bool, bool),
    active: u32,
    /// Its backend has been down or replaced since.
    lost: bool,
}

type Who = (u16, bool);

struct Model {
    plane: MemoryPlane<AtomicU64>,
    now: u32,
    lives: HashMap<Who, Life>,
    /// What each client's connection was before the present one.
    before: HashMap<Who, Connection>,
    owners: HashMap<(bool, SocketAddr, SocketAddr), Who>,
}

impl Model {
    fn new() -> Self {
        let mut plane: MemoryPlane = scene(256);
        (plane.settings.nat_port_first, plane.settings.nat_port_last) = (10_000, 10_002);
        plane.settings.timeouts = Timeouts::new(IDLE);
        Self { plane, now: 0, lives: HashMap::new(), before: HashMap::new(), owners: HashMap::new() }
    }

    /// Whether the client may count on its connection.
    fn is_served(&self, who: Who) -> bool {
        self.lives.get(&who).is_some_and(|life| {
            // An established connection's stamp may lag behind.
            let lag = if life.phase == Phase::Established { self.plane.settings.timeouts.renew } else { 0 };
            !life.lost && !self.is_over(who, life, lag)
        })
    }

    /// Whether the connection has been idle for too long, even if its stamp lags this far behind.
    fn is_over(&self, who: Who, life: &Life, lag: u16) -> bool {
        let idle = match life.phase {
            Phase::Opened => Tick::span(IDLE.opening),
            Phase::Answered => Tick::span(IDLE.answered),
            Phase::Established if who.1 => Tick::span(IDLE.udp_established),
            Phase::Established => Tick::span(IDLE.established),
            Phase::Closed => Tick::span(IDLE.closing),
        };
        self.now - life.active + u32::from(lag) > u32::from(idle)
    }

    fn state(&self, backend: SocketAddr) -> BackendState {
        let place = usize::from(backend == H3);
        Link(self.plane.backends[place].link.load(std::sync::atomic::Ordering::Relaxed)).state()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Client { who, udp: is_udp, flags } => self.client((who, is_udp), flags),
            Step::Backend { who, udp: is_udp, flags, of_old } => self.backend((who, is_udp), flags, of_old),
            Step::Wait(ticks) => {
                self.plane.wait(ticks);
                self.now += u32::from(ticks);
            }
            Step::Set { backend, state, replaced } => {
                let (place, address) = if backend { (1, H3) } else { (0, H2) };
                self.plane.set_link(place, |link| {
                    // Zero is no generation.
                    let generation = if replaced { link.generation() % 255 + 1 } else { link.generation() };
                    Link::new(link.mac(), generation, state)
                });
                for life in self.lives.values_mut().filter(|life| life.connection.backend == address) {
                    life.lost |= replaced || state == BackendState::Down;
                }
            }
            Step::Table(choice) => {
                let current = |place: u16| {
                    let word = &self.plane.backends[usize::from(place)].link;
                    let link = Link(word.load(std::sync::atomic::Ordering::Relaxed));
                    BackendRef { index: place, generation: link.generation() }
                };
                let backends = match choice {
                    0 => vec![current(0)],
                    1 => vec![current(1)],
                    2 => vec![current(0), current(1)],
                    _ => vec![current(1), current(0)],
                };
                self.plane.set_maglev(TABLE, &backends);
            }
        }
    }

    fn client(&mut self, who: Who, flags: u8) {
        let from = client(who.0);
        let draft = if who.1 { udp(from, DNS) } else { tcp(from, WEB, flags) };
        let (reason, sent) = self.plane.send(&draft);
        let served = self.is_served(who);
        let life = self.lives.get(&who).copied();
        let opens = who.1 || flags == SYN;
        let Some(view) = sent else {
            let may_move = life.is_some_and(|life| {
                opens && life.phase == Phase::Closed && self.state(life.connection.backend) != BackendState::Up
            });
            assert!(!served || may_move, "{who:?} is refused: {}", reason.name());
            // What was left of it went when it was to move, and found nowhere to go.
            if let Some(life) = self.lives.get_mut(&who).filter(|_| may_move) {
                life.lost = true;
            }
            return;
        };
        let connection = Connection { client: from, nat: view.from, backend: view.to };
        assert!(connection.is_at_backend(&view));
        assert_ne!(self.state(view.to), BackendState::Down);
        let moved = life.is_none_or(|life| life.connection != connection);
        if served && moved {
            let life = life.expect("it is served");
            let may_move =
                opens && life.phase == Phase::Closed && self.state(life.connection.backend) != BackendState::Up;
            assert!(may_move, "{who:?} went from {:?} to {connection:?}", life.connection);
        }
        if moved {
            assert!(opens, "{who:?} opened {connection:?} with {flags:#x}");
            assert_eq!(self.state(view.to), BackendState::Up, "new connections go to backends that take them");
        }
        if moved && let Some(life) = life {
            self.before.insert(who, life.connection);
            let left = (who.1, life.connection.nat, life.connection.backend);
            if self.owners.get(&left) == Some(&who) {
                self.owners.remove(&left);
            }
        }
        let key = (who.1, connection.nat, connection.backend);
        if let Some(owner) = self.owners.insert(key, who).filter(|owner| *owner != who) {
            assert!(!self.is_served(owner), "{owner:?} and {who:?} share {key:?}");
            assert!(opens, "{who:?} took {key:?} from {owner:?} with {flags:#x}");
        }

        let fresh = Life { connection, phase: Phase::Opened, fins: (false, false), active: self.now, lost: false };
        // Of a connection whose backend has flapped the model cannot say whether it is the old one or a new one.
        let mut life = life.filter(|life| !moved && (life.lost || !self.is_over(who, life, 0))).unwrap_or(fresh);
        life.active = self.now;
        if !who.1 {
            if flags == RST {
                life.phase = Phase::Closed;
            } else if flags == SYN {
                if life.phase == Phase::Closed {
                    life = Life { lost: life.lost, ..fresh };
                }
            } else if life.phase == Phase::Answered {
                life.phase = Phase::Established;
            }
            life.fins.0 |= flags & FIN != 0;
        } else if life.phase == Phase::Answered {
            life.phase = Phase::Established;
        }
        if life.fins == (true, true) {
            life.phase = Phase::Closed;
        }
        self.lives.insert(who, life);
    }

    fn backend(&mut self, who: Who, flags: u8, of_old: bool) {
        let present = self.lives.get(&who).map(|life| life.connection);
        let connection = if of_old { self.before.get(&who).copied() } else { present };
        let Some(connection) = connection else { return };
        let flags = if flags == SYN { SYN | ACK } else { flags };
        let draft = if who.1 { connection.answers_by_udp() } else { connection.answers(flags) };
        let (reason, sent) = self.plane.send(&draft);
        let owner = self.owners.get(&(who.1, connection.nat, connection.backend)).copied();
        let owner = owner.filter(|owner| {
            let life = self.lives.get(owner).expect("an owner has spoken");
            (life.connection.nat, life.connection.backend) == (connection.nat, connection.backend)
        });
        let Some(view) = sent else {
            assert!(!owner.is_some_and(|owner| self.is_served(owner)), "{owner:?} is not answered: {}", reason.name());
            return;
        };
        let owner = owner.unwrap_or_else(|| panic!("nobody's port is answered: {connection:?}, {view:?}"));
        assert_eq!((reason, view.from, view.to), (Reason::ToClient, WEB, client(owner.0)));

        let life = self.lives[&owner];
        assert!(life.lost || !self.is_over(owner, &life, 0), "{owner:?} is answered after its time");
        let now = self.now;
        let life = self.lives.get_mut(&owner).expect("an owner has spoken");
        life.active = now;
        if !owner.1 && flags == RST {
            life.phase = Phase::Closed;
            return;
        }
        if life.phase == Phase::Opened {
            life.phase = Phase::Answered;
        }
        life.fins.1 |= !owner.1 && flags & FIN != 0;
        if life.fins == (true, true) {
            life.phase = Phase::Closed;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_keeps_what_is_theirs(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        prop_assert_eq!(model.plane.happened(Event::HalfOpenEvicted), 0, "the table is meant to be large enough");
    }
}

/// A sequence that chance finds rarely: a backend answers while it is down, comes back, and its ports change hands.
#[test]
fn a_backend_that_speaks_while_it_is_down_loses_nobody_their_port() {
    let mut model = Model::new();
    let client = |who, flags| Step::Client { who, udp: false, flags };
    let backend = |flags| Step::Backend { who: 1, udp: false, flags, of_old: false };
    let set = |state| Step::Set { backend: false, state, replaced: false };
    let established = [Step::Table(0), client(1, SYN), backend(SYN), client(1, ACK)];
    let flap = [set(BackendState::Down), backend(ACK), set(BackendState::Up)];
    let others = [client(0, SYN), client(2, SYN), client(3, SYN), client(1, ACK)];
    established.into_iter().chain(flap).chain(others).for_each(|step| model.step(step));
}
