//! Random lives of many connections, judged by a model that knows nothing of entries: who owns a NAT port, how far his
//! connection has come, who may count on being served, and who has to give way.

use crate::support::*;
use evenkeel_core::backend::Link;
use evenkeel_core::flow::{IdleTimes, Now, Tick, Timeouts};
use evenkeel_core::{BackendRef, BackendState, Event, Reason, Word};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

const IDLE: IdleTimes = IdleTimes {
    opening: 20_000,
    answered: 20_000,
    established: 200_000,
    half_closed: 60_000,
    closing: 20_000,
    udp_opening: 20_000,
    udp_answered: 40_000,
    udp_established: 100_000,
};

/// The NAT ports that there are, towards each backend and by each protocol.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=10_002;

/// A second, and two, in units of the clock.
const MOMENT: u32 = 60;
const STREAM: u32 = 120;

/// What a segment is there for. A datagram is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    Data,
    Ack,
    Fin,
    Rst,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// `blind`: with numbers that are nobody's.
    Client {
        who: Who,
        kind: Kind,
        blind: bool,
    },
    /// `of_old`: to the NAT port of the connection before.
    Backend {
        who: Who,
        kind: Kind,
        blind: bool,
        of_old: bool,
    },
    /// Units of the clock.
    Wait(u32),
    Set {
        backend: bool,
        state: BackendState,
        replaced: bool,
    },
    Table(u8),
}

/// A client, and whether it is its datagrams that are meant.
type Who = (u16, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = || prop_oneof![3 => Just(Kind::Syn), 4 => Just(Kind::Data), 4 => Just(Kind::Ack), 2 => Just(Kind::Fin), 1 => Just(Kind::Rst)];
    let who = || (0..5u16, prop::bool::weighted(0.3));
    let blind = || prop::bool::weighted(0.1);
    let state = prop_oneof![
        5 => Just(BackendState::Up),
        1 => Just(BackendState::Down),
        1 => Just(BackendState::Draining),
        1 => Just(BackendState::Finishing),
        1 => Just(BackendState::Resetting),
    ];
    let seconds = prop::sample::select(vec![1, 4, 9, 15, 30, 90, 230]).prop_map(|seconds| seconds << 6);
    let moments = prop::sample::select(vec![1, 3, 4, 59, 60, 119, 120, 240]);
    let step = prop_oneof![
        12 => (who(), kind(), blind()).prop_map(|(who, kind, blind)| Step::Client { who, kind, blind }),
        10 => (who(), kind(), blind(), prop::bool::weighted(0.2))
            .prop_map(|(who, kind, blind, of_old)| Step::Backend { who, kind, blind, of_old }),
        2 => seconds.prop_map(Step::Wait),
        3 => moments.prop_map(Step::Wait),
        3 => (any::<bool>(), state, prop::bool::weighted(0.1))
            .prop_map(|(backend, state, replaced)| Step::Set { backend, state, replaced }),
        1 => (0..4u8).prop_map(Step::Table),
    ];
    prop::collection::vec(step, 1..250)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opened,
    Answered,
    Established,
    HalfClosed,
    Closed,
    /// Somebody is said to have reset it.
    Doubtful,
}

impl Phase {
    /// Whether it is in seconds that its time is told.
    fn is_long(self) -> bool {
        matches!(self, Self::Established | Self::HalfClosed)
    }
}

/// A connection, by what its two ends and the stranger have said.
#[derive(Clone, Copy, Debug)]
struct Life {
    who: Who,
    connection: Connection,
    generation: u8,
    phase: Phase,
    /// Of whom it was said that they have finished, or reset it: the client, the backend.
    marks: [bool; 2],
    since: u32,
    /// The numbers that both ends have begun with, and the one that the client begins anew with.
    talk: (u32, u32),
    syn: Option<u32>,
    /// The number that has to be acknowledged next.
    proof: u32,
}

/// Which of the two ends.
const CLIENT: usize = 0;
const BACKEND: usize = 1;

impl Life {
    fn new(who: Who, connection: Connection, generation: u8, now: u32, syn: u32) -> Self {
        let (phase, marks) = (Phase::Opened, [false; 2]);
        let (talk, proof) = ((syn, 0), syn.wrapping_add(1));
        Self { who, connection, generation, phase, marks, since: now, talk, syn: Some(syn), proof }
    }

    fn key(&self) -> PortKey {
        (self.who.1, self.connection.nat, self.connection.backend)
    }

    /// Its age and its idle time, in the unit in which its time is told.
    fn age(&self, now: u32) -> (u32, u32) {
        let idle = match (self.phase, self.who.1) {
            (Phase::Opened, false) => IDLE.opening,
            (Phase::Answered, false) => IDLE.answered,
            (Phase::Established, false) => IDLE.established,
            (Phase::HalfClosed, _) => IDLE.half_closed,
            (Phase::Closed | Phase::Doubtful, _) => IDLE.closing,
            (Phase::Opened, true) => IDLE.udp_opening,
            (Phase::Answered, true) => IDLE.udp_answered,
            (Phase::Established, true) => IDLE.udp_established,
        };
        if self.phase.is_long() {
            ((now >> 6) - (self.since >> 6), Tick::span(idle).into())
        } else {
            (now - self.since, Now::span(idle).into())
        }
    }

    fn is_over(&self, now: u32) -> bool {
        let (age, idle) = self.age(now);
        age > idle
    }

    fn is_abandoned(&self, now: u32) -> bool {
        let (age, idle) = self.age(now);
        age >= idle + 2
    }

    /// How gladly it gives up its port: its rank, and its age; never with rank 0.
    fn worth(&self, now: u32) -> (u32, u32) {
        let (rank, young) = match (self.who.1, self.phase) {
            (false, Phase::Closed) => (3, MOMENT),
            (false, Phase::Opened | Phase::Answered) => (2, 4),
            (false, Phase::Doubtful) => (1, MOMENT),
            (false, Phase::Established | Phase::HalfClosed) => (0, 0),
            (true, Phase::Opened) => (3, 4),
            (true, Phase::Answered) => (2, MOMENT),
            // In ticks.
            (true, _) => (1, 16),
        };
        let (age, _) = self.age(now);
        if rank == 0 || age < young { (0, 0) } else { (rank, age) }
    }

    fn moves(&mut self, phase: Phase, now: u32) {
        (self.phase, self.since) = (phase, now);
    }

    /// An established connection, after anything but a SYN and a reset.
    fn goes_on(&mut self, end: usize, kind: Kind, now: u32, renew: u32) {
        self.marks[end] |= kind == Kind::Fin;
        let phase = match self.marks {
            [false, false] => Phase::Established,
            [true, true] => Phase::Closed,
            _ => Phase::HalfClosed,
        };
        // Its stamp is renewed only when it is old.
        let is_steady = self.phase == Phase::Established && phase == Phase::Established;
        if !is_steady || (now >> 6) - (self.since >> 6) >= renew {
            self.moves(phase, now);
        }
    }

    /// A segment gets through. `holds`: it shows that its sender has got what it answers.
    fn hears(&mut self, end: usize, kind: Kind, holds: bool, is_last_call: bool, now: u32, renew: u32) {
        let was_begun = self.marks != [false; 2];
        match (kind, self.phase) {
            (Kind::Rst, Phase::Opened | Phase::Answered) if end == BACKEND && holds => {
                self.moves(if was_begun { Phase::Doubtful } else { Phase::Closed }, now);
            }
            (Kind::Rst, Phase::Established | Phase::HalfClosed) => {
                self.marks = [end == CLIENT, end == BACKEND];
                self.moves(Phase::Doubtful, now);
            }
            (Kind::Rst, Phase::Doubtful) => self.marks[end] = true,
            (Kind::Rst, _) => {}
            (Kind::Syn, Phase::Opened | Phase::Doubtful) if end == BACKEND && holds => {
                self.moves(Phase::Answered, now);
            }
            (Kind::Syn, Phase::Closed) if end == CLIENT => self.moves(Phase::Opened, now),
            (Kind::Syn, Phase::Established | Phase::HalfClosed) if is_last_call => {
                self.marks = [false, true];
                self.moves(Phase::Doubtful, now);
            }
            (Kind::Syn, Phase::Doubtful) if is_last_call && !self.marks[BACKEND] => {
                self.marks[BACKEND] = true;
                self.since = now;
            }
            (Kind::Syn, _) => {}
            (_, Phase::Answered) if end == CLIENT && holds => {
                self.marks = [false; 2];
                self.goes_on(end, kind, now, renew);
            }
            (_, phase)
                if self.marks[end] && (matches!(phase, Phase::Doubtful | Phase::Answered) || kind == Kind::Data) =>
            {
                self.marks[end] = false;
                if self.marks == [false; 2] {
                    self.goes_on(end, kind, now, renew);
                } else {
                    self.moves(if phase == Phase::Doubtful { phase } else { Phase::HalfClosed }, now);
                }
            }
            (_, Phase::Established | Phase::HalfClosed) => self.goes_on(end, kind, now, renew),
            _ => {}
        }
    }

    /// A datagram gets through.
    fn passes(&mut self, end: usize, now: u32, renew: u32) {
        let age = now - self.since;
        match (self.phase, end) {
            (Phase::Opened, CLIENT) => self.since = now,
            (Phase::Opened, _) => self.moves(Phase::Answered, now),
            (Phase::Answered, CLIENT) if age >= STREAM => self.moves(Phase::Established, now),
            (Phase::Answered, BACKEND) if age >= 2 * STREAM => self.since = now,
            (Phase::Answered, _) => {}
            _ => self.goes_on(end, Kind::Data, now, renew),
        }
    }
}

/// A NAT port towards a backend, and whether it is UDP's.
type PortKey = (bool, SocketAddr, SocketAddr);

struct Model {
    plane: MemoryPlane<AtomicU64>,
    now: u32,
    swept: u32,
    numbers: u32,
    table: Vec<BackendRef>,
    /// Whose each NAT port is, or was when it was used last.
    ports: HashMap<PortKey, Life>,
    /// The port of each client's connection, as far as it knows.
    lives: HashMap<Who, PortKey>,
    /// What each client's connection was before the present one, and its numbers.
    before: HashMap<Who, (Connection, (u32, u32))>,
}

impl Model {
    fn new() -> Self {
        let mut plane: MemoryPlane = scene(256);
        (plane.settings.nat_port_first, plane.settings.nat_port_last) = (*PORTS.start(), *PORTS.end());
        plane.settings.timeouts = Timeouts::uniform(IDLE);
        Self {
            plane,
            now: 0,
            swept: 0,
            numbers: 0,
            table: vec![FIRST, SECOND],
            ports: HashMap::new(),
            lives: HashMap::new(),
            before: HashMap::new(),
        }
    }

    /// How old the stamp of a connection to this backend may get: where there is more to a packet, it is renewed at once.
    fn renew(&self, backend: SocketAddr) -> u32 {
        if self.link(backend).is_at_work() { self.plane.settings.timeouts.renew.into() } else { 0 }
    }

    /// A number that nobody has used, nor any near it.
    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers << 20
    }

    fn link(&self, backend: SocketAddr) -> Link {
        Link(Word::load(&self.plane.backends[usize::from(backend == H3)].link))
    }

    /// Where a new connection of this client goes: what an empty plane with the same backends does.
    fn choice(&self, who: Who) -> Option<SocketAddr> {
        let plane: MemoryPlane = scene(1);
        for (one, other) in plane.backends.iter().zip(&self.plane.backends) {
            Word::store(&one.link, Word::load(&other.link));
        }
        plane.set_maglev(TABLE, &self.table);
        plane.send(&self.packet_of(who, SYN)).1.map(|view| view.to)
    }

    fn packet_of(&self, who: Who, flags: u8) -> Draft {
        if who.1 { udp(client(who.0), DNS) } else { tcp(client(who.0), WEB, flags) }
    }

    fn life(&self, who: Who) -> Option<Life> {
        let key = self.lives.get(&who)?;
        self.ports.get(key).copied().filter(|life| life.who == who)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Client { who, kind, blind } => self.client(who, kind, blind),
            Step::Backend { who, kind, blind, of_old } => self.backend(who, kind, blind, of_old),
            Step::Wait(units) => {
                self.plane.pass(units);
                self.now += units;
                // As a plane does, long before a fine stamp goes round.
                if self.now - self.swept > 240 << 6 {
                    self.plane.sweep();
                    self.swept = self.now;
                    self.ports.retain(|_, life| !life.is_abandoned(self.now));
                }
            }
            Step::Set { backend, state, replaced } => self.plane.set_link(backend.into(), |link| {
                // Zero is no generation.
                let generation = if replaced { link.generation() % 255 + 1 } else { link.generation() };
                Link::new(link.mac(), generation, state)
            }),
            Step::Table(choice) => {
                let current =
                    |index: u16| BackendRef { index, generation: self.link([H2, H3][usize::from(index)]).generation() };
                self.table = match choice {
                    0 => vec![current(0)],
                    1 => vec![current(1)],
                    2 => vec![current(0), current(1)],
                    _ => vec![current(1), current(0)],
                };
                self.plane.set_maglev(TABLE, &self.table);
            }
        }
    }

    fn client(&mut self, who: Who, kind: Kind, blind: bool) {
        let life = self.life(who);
        // A client begins anew with another number when it takes its last connection for over.
        let is_ending = life.is_none_or(|life| matches!(life.phase, Phase::Closed | Phase::Doubtful));
        let syn = match life {
            Some(Life { syn: Some(syn), .. }) => syn,
            Some(life) if !is_ending => life.talk.0,
            _ => self.number(),
        };
        let flags = [SYN, ACK, ACK, FIN | ACK, RST][kind as usize];
        let talk = life.map_or((0, 0), |life| life.talk);
        let (sequence, acknowledgement) = match (kind, blind) {
            (_, true) => (7, 7),
            (Kind::Syn, _) => (syn, 0),
            _ => (talk.0.wrapping_add(1), talk.1.wrapping_add(1)),
        };
        let draft = self.packet_of(who, flags).numbers(sequence, acknowledgement);
        let draft = if kind == Kind::Data || who.1 { draft } else { draft.payload(b"") };
        let choice = self.choice(who);
        let taken_over = self.plane.happened(Event::PortTakenOver);
        let (reason, sent) = self.plane.send(&draft);
        let opens = who.1 || kind == Kind::Syn;

        let mut goes_elsewhere = true;
        if let Some(life) = life {
            let link = self.link(life.connection.backend);
            let state = link.state();
            let is_gone = link.generation() != life.generation;
            let is_down = matches!(state, BackendState::Down | BackendState::Resetting);
            let ends = opens && (is_gone || is_down || self.leaves(&life, state, choice));
            goes_elsewhere = ends || life.is_over(self.now);
            if !goes_elsewhere {
                let lost = is_gone || is_down;
                if is_gone || state == BackendState::Resetting {
                    self.ports.remove(&life.key());
                }
                if lost {
                    let answered = state == BackendState::Resetting && !who.1 && kind != Kind::Rst;
                    let expected = if answered { Reason::ResetDown } else { Reason::BackendDown };
                    assert_eq!(reason, expected, "{life:?}");
                    return;
                }
                let view = sent.unwrap_or_else(|| panic!("{life:?} is refused: {}", reason.name()));
                assert!(life.connection.is_at_backend(&view), "{life:?} is sent to {view:?}");
                self.spoken(
                    life,
                    kind,
                    sequence,
                    acknowledgement,
                    state == BackendState::Finishing && kind == Kind::Syn,
                );
                return;
            }
            // What is abandoned may have been displaced already, in parts.
            if ends && !life.is_abandoned(self.now) {
                self.ports.remove(&life.key());
            }
            // Whatever comes next, it is not of this one.
            self.lives.remove(&who);
            self.before.insert(who, (life.connection, life.talk));
        }
        assert!(goes_elsewhere);
        let Some(view) = sent.filter(|_| reason == Reason::ToBackend) else {
            let is_refused = !opens || choice.is_none() || reason == Reason::NatPortsExhausted;
            assert!(is_refused, "{who:?} cannot open a connection: {}", reason.name());
            if reason == Reason::NatPortsExhausted {
                self.assert_exhausted(who, choice.expect("there is a backend"));
            }
            return;
        };
        assert!(opens, "{who:?} opened a connection with {kind:?}");
        assert_eq!(Some(view.to), choice, "a new connection goes where new ones go");
        let connection = Connection { client: client(who.0), nat: view.from, backend: view.to };
        assert!(connection.is_at_backend(&view));
        let is_taken_over = self.plane.happened(Event::PortTakenOver) > taken_over;
        self.assert_gives_way((who.1, view.from, view.to), is_taken_over);
        let life = Life::new(who, connection, self.link(view.to).generation(), self.now, sequence);
        self.lives.insert(who, life.key());
        self.ports.insert(life.key(), life);
    }

    /// Whether what could open a connection leaves the one that it belongs to.
    fn leaves(&self, life: &Life, state: BackendState, choice: Option<SocketAddr>) -> bool {
        let is_udp = life.who.1;
        match (state, life.phase) {
            (BackendState::Finishing, _) if is_udp => choice.is_some(),
            (BackendState::Finishing, Phase::Established | Phase::HalfClosed) => false,
            (BackendState::Finishing, Phase::Doubtful) => life.marks[BACKEND] && self.now - life.since >= MOMENT,
            (BackendState::Finishing, _) => true,
            (_, Phase::Closed) => choice != Some(life.connection.backend),
            _ => false,
        }
    }

    /// The client's packet has got to its backend.
    fn spoken(&mut self, mut life: Life, kind: Kind, sequence: u32, acknowledgement: u32, is_last_call: bool) {
        let (now, renew) = (self.now, self.renew(life.connection.backend));
        if life.who.1 {
            life.passes(CLIENT, now, renew);
        } else {
            let is_noted = match life.phase {
                Phase::Opened => now - life.since >= MOMENT,
                Phase::Closed | Phase::Doubtful => true,
                _ => false,
            };
            if kind == Kind::Syn && is_noted {
                life.proof = sequence.wrapping_add(1);
            }
            if kind == Kind::Syn && matches!(life.phase, Phase::Closed | Phase::Doubtful) {
                life.syn = Some(sequence);
            }
            let holds = life.phase == Phase::Answered && acknowledgement == life.proof && kind != Kind::Rst;
            life.hears(CLIENT, kind, holds, is_last_call, now, renew);
        }
        self.ports.insert(life.key(), life);
    }

    fn keys(&self, who: Who, backend: SocketAddr) -> impl Iterator<Item = PortKey> {
        PORTS.map(move |port| (who.1, at(NAT, port), backend))
    }

    /// Whoever has a port that somebody else may not have.
    fn owner(&self, key: &PortKey) -> Option<&Life> {
        self.ports.get(key).filter(|life| !life.is_abandoned(self.now))
    }

    /// There was no port to be had.
    fn assert_exhausted(&self, who: Who, backend: SocketAddr) {
        for key in self.keys(who, backend) {
            let owner = self.owner(&key).unwrap_or_else(|| panic!("{key:?} is free"));
            assert_eq!(owner.worth(self.now).0, 0, "{owner:?} would give way");
        }
    }

    /// The port was to be had, and none rather.
    fn assert_gives_way(&self, key: PortKey, is_taken_over: bool) {
        let owner = self.owner(&key);
        assert_eq!(owner.is_some(), is_taken_over, "{key:?} of {owner:?}");
        let Some(owner) = owner else { return };
        let worth = owner.worth(self.now);
        assert_ne!(worth.0, 0, "{owner:?} gives way to nobody");
        for other in self.keys(owner.who, key.2) {
            let other = self.owner(&other).unwrap_or_else(|| panic!("{other:?} is free, and {key:?} was taken"));
            assert!(other.worth(self.now) <= worth, "{owner:?} had to give way before {other:?}");
        }
    }

    fn backend(&mut self, who: Who, kind: Kind, blind: bool, of_old: bool) {
        let present = self.life(who).map(|life| (life.connection, life.talk));
        let Some((connection, talk)) = (if of_old { self.before.get(&who).copied() } else { present }) else { return };
        let key = (who.1, connection.nat, connection.backend);
        let life = self.ports.get(&key).copied();
        let syn = life.and_then(|life| life.syn).filter(|_| !of_old);
        // A backend that has nothing to answer repeats no SYN-ACK.
        let is_idle = life.is_some_and(|life| life.phase == Phase::Doubtful && syn.is_none());
        let kind = if kind == Kind::Syn && is_idle { Kind::Ack } else { kind };
        let flags = [SYN | ACK, ACK, ACK, FIN | ACK, RST | ACK][kind as usize];
        let fresh = self.number();
        let is_new = life.is_some_and(|life| life.phase == Phase::Opened && life.marks == [false; 2]);
        let (sequence, acknowledgement) = match (kind, syn) {
            _ if blind => (0x7fff_0000, 0x7fff_0000),
            (Kind::Syn, Some(syn)) => (fresh, syn.wrapping_add(1)),
            (Kind::Rst, Some(syn)) => (talk.1.wrapping_add(1), syn.wrapping_add(1)),
            (_, Some(syn)) if is_new => (fresh, syn.wrapping_add(1)),
            (Kind::Syn, _) => (talk.1, talk.0.wrapping_add(1)),
            _ => (talk.1.wrapping_add(1), talk.0.wrapping_add(1)),
        };
        let draft = if who.1 { connection.answers_by_udp() } else { connection.answers(flags) };
        let draft = draft.numbers(sequence, acknowledgement);
        let draft = if kind == Kind::Data || who.1 { draft } else { draft.payload(b"") };
        let (reason, sent) = self.plane.send(&draft);
        let Some(mut life) = life else {
            assert_eq!(reason, Reason::NoService, "nobody's port is answered: {connection:?}");
            return;
        };
        let link = self.link(connection.backend);
        let is_gone = link.generation() != life.generation;
        if life.is_over(self.now) {
            assert_ne!(reason, Reason::ToClient, "{life:?} is answered after its time");
            // What looks new may be waiting for its other half.
            if is_gone || link.state() != BackendState::Down && life.phase != Phase::Opened {
                self.ports.remove(&key);
            }
            return;
        }
        let reset = |answered, dropped| if who.1 || kind == Kind::Rst { dropped } else { answered };
        if is_gone || link.state() == BackendState::Resetting {
            self.ports.remove(&key);
            let answered =
                if link.state() == BackendState::Resetting { Reason::ResetDown } else { Reason::BackendDown };
            assert_eq!(reason, reset(answered, Reason::BackendDown), "{life:?}");
            return;
        }
        if link.state() == BackendState::Down {
            assert_eq!(reason, Reason::BackendDown);
            return;
        }
        let (now, renew) = (self.now, self.renew(connection.backend));
        if who.1 {
            life.passes(BACKEND, now, renew);
        } else {
            let holds = match life.phase {
                Phase::Opened | Phase::Doubtful => acknowledgement == life.proof,
                Phase::Answered => sequence == life.proof,
                _ => false,
            };
            if life.phase == Phase::Opened && life.marks == [false; 2] && !holds && kind != Kind::Ack {
                // Whoever the port's owner is, it is not for him. A mere acknowledgement he may answer himself.
                assert_eq!(reason, reset(Reason::ResetStale, Reason::FlowMissing), "{life:?}");
                return;
            }
            if life.phase == Phase::Doubtful
                && matches!(kind, Kind::Syn | Kind::Rst)
                && holds
                && self.choice(life.who) != Some(life.connection.backend)
            {
                assert_eq!(reason, reset(Reason::ResetStale, Reason::FlowMissing), "{life:?}");
                self.ports.remove(&key);
                return;
            }
            if kind == Kind::Syn && holds && matches!(life.phase, Phase::Opened | Phase::Doubtful) {
                life.proof = sequence.wrapping_add(1);
                life.talk = (acknowledgement.wrapping_sub(1), sequence);
                life.syn = None;
            }
            life.hears(BACKEND, kind, holds, false, now, renew);
        }
        let view = sent.unwrap_or_else(|| panic!("{life:?} is not answered: {}", reason.name()));
        assert_eq!((reason, view.from, view.to), (Reason::ToClient, WEB, client(life.who.0)));
        self.ports.insert(key, life);
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
        for event in [Event::HalfOpenEvicted, Event::ClosingEvicted, Event::UdpEvicted] {
            prop_assert_eq!(model.plane.happened(event), 0, "the table is meant to be large enough");
        }
    }
}

/// A sequence that chance finds rarely: a backend answers while it is down, comes back, and its ports change hands.
#[test]
fn a_backend_that_speaks_while_it_is_down_loses_nobody_their_port() {
    let mut model = Model::new();
    let client = |who, kind| Step::Client { who: (who, false), kind, blind: false };
    let backend = |kind| Step::Backend { who: (1, false), kind, blind: false, of_old: false };
    let set = |state| Step::Set { backend: false, state, replaced: false };
    let established = [Step::Table(0), client(1, Kind::Syn), backend(Kind::Syn), client(1, Kind::Ack)];
    let flap = [set(BackendState::Down), backend(Kind::Data), set(BackendState::Up)];
    let others = [client(0, Kind::Syn), client(2, Kind::Syn), client(3, Kind::Syn), client(1, Kind::Data)];
    established.into_iter().chain(flap).chain(others).for_each(|step| model.step(step));
}
