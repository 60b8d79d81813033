//! One scene, set up and measured: the real program with its connections, and the streams of packets for it.

use super::beside::Beside;
use super::driver::Driver;
use super::figures::{Round, Row, Scene, What};
use super::stage::Stage;
use super::stream::{ahead, stream_of};
use super::tuples::{Ring, Tuples};
use crate::deployment::{Connected, Deployment, SERVICE, client, connect};
use crate::error::BenchError;
use crate::layout::{BESIDE, CHUNK, Lane, SUBJECT, Tuple};
use crate::packet::{ACK, Head, SYN};
use evenkeel_control::{Balancer, Plane};
use evenkeel_core::flow::{Now, Peer};
use evenkeel_core::{Reason, Tables};
use evenkeel_wire::Ipv4Address;
use evenkeel_xdp::XdpPlane;
use std::path::Path;

/// Tuples of the streams that have nothing to do with flows.
const OTHERS: u32 = 1024;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    pub(crate) turns: u32,
}

/// The programs that are measured with.
pub(crate) struct Objects {
    pub(crate) evenkeel: Vec<u8>,
    pub(crate) bench: Vec<u8>,
}

pub(crate) struct Theatre {
    scene: Scene,
    /// Connections beyond those of the scene that found no room.
    pub(crate) refused: u32,
    balancer: Balancer<Stage>,
    driver: Driver,
    yardstick: Ring,
    rings: Rings,
    beside: Option<Beside>,
    other_rings: Option<Rings>,
}

/// The program with its tables, and so many connections open.
pub(crate) fn open(
    objects: &Objects,
    Scene { flows, room }: Scene,
    newcomers: Option<u32>,
) -> Result<(Balancer<Stage>, Connected), BenchError> {
    let deployment = Deployment::new(room, newcomers)?;
    let Deployment { sizes, settings, .. } = deployment;
    let plane = XdpPlane::load(&objects.evenkeel, sizes, settings, deployment.nat(), deployment.features())?;
    let stage = Stage::new(plane, deployment.nat(), sizes.backends as usize);
    let balancer = deployment.balance(stage)?;
    let connected = connect(balancer.plane(), flows)?;
    Ok((balancer, connected))
}

/// The rings that the measured programs' streams go round in: each has its own, so that neither finds the other's tuples in
/// the caches, and the NAT ports of the connections that it knows.
#[derive(Clone, Copy)]
struct Rings {
    to_backend: Ring,
    to_client: Ring,
    mixed: Ring,
    not_ours: Ring,
    echo: Ring,
}

impl Rings {
    /// Tuples that they take.
    const fn room(flows: u32) -> u32 {
        flows * 4 + 2 * OTHERS
    }

    fn add(tuples: &mut Tuples, forth: &[Tuple], back: &[Tuple]) -> Result<Self, BenchError> {
        let stranger = |number| Peer { address: Ipv4Address([10, 9, 9, 9]), ..client(number) };
        let (ack, request) = (Head::tcp(ACK), Head::echo());
        let not_ours: Vec<_> = (0..OTHERS).map(|number| ack.tuple(client(number), stranger(number))).collect();
        let service = Peer { address: SERVICE.into(), ..client(0) };
        let echo: Vec<_> = (0..OTHERS).map(|number| request.tuple(client(number), service)).collect();
        Ok(Self {
            to_backend: tuples.add(forth)?,
            to_client: tuples.add(back)?,
            mixed: tuples.add(&[forth, back].concat())?,
            not_ours: tuples.add(&not_ours)?,
            echo: tuples.add(&echo)?,
        })
    }
}

impl Theatre {
    /// Loads everything and opens the scene's connections. `bench` is the bench program of another version, to be measured
    /// beside; it knows of no limit of newcomers.
    pub(crate) fn open(
        objects: &Objects,
        scene: Scene,
        newcomers: Option<u32>,
        bench: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let (balancer, Connected { forth, back, refused }) = open(objects, scene, newcomers)?;
        let beside = bench.map(|bench| Beside::start(bench, scene.flows, scene.room)).transpose()?;
        let program = balancer.plane().plane.program()?.fd().map_err(BenchError::driver)?;
        let rings = 1 + u32::from(beside.is_some());
        let tuples = scene.flows + rings * Rings::room(scene.flows);
        let lent = beside.as_ref().map(|beside| &beside.program);
        let mut driver = Driver::load(&objects.bench, scene.room, tuples, program, lent)?;
        for tuple in &forth {
            driver.add_flow(tuple)?;
        }
        let tuples = &mut driver.tuples;
        Ok(Self {
            scene,
            refused,
            yardstick: tuples.add(&forth)?,
            rings: Rings::add(tuples, &forth, &back)?,
            other_rings: beside.as_ref().map(|other| Rings::add(tuples, &other.forth, &other.back)).transpose()?,
            beside,
            driver,
            balancer,
        })
    }

    /// The real plane.
    pub(crate) fn plane(&self) -> &XdpPlane {
        &self.balancer.plane().plane
    }

    /// Measures all that is to be measured in this scene.
    pub(crate) fn play(&mut self, effort: Effort, progress: &dyn Fn(&str)) -> Result<Vec<Row>, BenchError> {
        let scene = self.scene;
        let mut rows = Vec::new();
        progress("packets of established connections");
        let steady = self.established(effort)?;
        let column = |at: usize| steady.iter().map(|rounds| rounds[at]).collect::<Vec<Round>>();
        let means: Vec<_> = steady.iter().map(|[forth, back, ..]| forth.mean(*back)).collect();
        rows.push(Row::of(scene, What::ToBackend, &column(0)));
        rows.push(Row::of(scene, What::ToClient, &column(1)));
        rows.push(Row::of(scene, What::Mean, &means));
        rows.push(Row::of(scene, What::Mixed, &column(2)));
        rows.push(Row::of(scene, What::NotOurs, &column(3)));
        rows.push(Row::of(scene, What::Echo, &column(4)));
        if scene.floods() {
            progress("new connections");
            rows.push(Row::of(scene, What::NewFlow, &self.new_flows(effort)?));
            progress("a flood");
            rows.push(Row::of(scene, What::Flood, &self.flood(effort)?));
        }
        Ok(rows)
    }

    /// To backend, to client, both mixed, not ours, echo; by rounds.
    fn established(&mut self, effort: Effort) -> Result<Vec<[Round; 5]>, BenchError> {
        let tcp = Head::tcp(ACK);
        let mut streams = [
            (self.lanes(tcp, |rings| rings.to_backend, false), vec![Reason::ToBackend]),
            (self.lanes(tcp, |rings| rings.to_client, false), vec![Reason::ToClient]),
            (self.lanes(tcp, |rings| rings.mixed, false), vec![Reason::ToBackend, Reason::ToClient]),
            (self.lanes(tcp, |rings| rings.not_ours, false), vec![Reason::NotOurs]),
            (self.lanes(Head::echo(), |rings| rings.echo, false), vec![Reason::EchoReply]),
        ];
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            let mut round = Vec::new();
            for (lanes, reasons) in &mut streams {
                if let Some(beside) = &mut self.beside {
                    beside.refresh()?;
                }
                let stamped = self.balancer.plane().refresh()?;
                round.push(self.round(lanes, effort, warm_up(self.scene.flows), reasons, Some(0))?);
                self.check_steady(stamped)?;
            }
            if let Ok(round) = round.try_into() {
                rounds.push(round);
            }
        }
        Ok(rounds)
    }

    /// SYNs of connections never seen, in an empty table that they fill to three eighths at most.
    fn new_flows(&mut self, effort: Effort) -> Result<Vec<Round>, BenchError> {
        let mut lanes = self.lanes(Head::tcp(SYN), |rings| rings.to_backend, true);
        let warm_up = 4;
        let most = self.scene.room * 3 / 4 / CHUNK - warm_up;
        let effort = Effort { turns: effort.turns.min(most), ..effort };
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            self.clear()?;
            rounds.push(self.round(&mut lanes, effort, warm_up, &[Reason::ToBackend], Some(1))?);
        }
        Ok(rounds)
    }

    /// The same in a table that a flood has filled.
    fn flood(&mut self, effort: Effort) -> Result<Vec<Round>, BenchError> {
        let mut lanes = self.lanes(Head::tcp(SYN), |rings| rings.to_backend, true);
        self.clear()?;
        // Two entries a flow: every place is written three times on average, and few are never.
        let entries = self.scene.room * 4;
        let measured = if self.beside.is_some() { &[SUBJECT, BESIDE][..] } else { &[SUBJECT] };
        for &lane in measured {
            let stream = &mut lanes[lane as usize];
            // Not the connections of `new_flows` again.
            stream.era += 0x1000;
            self.driver.pour(lane, stream, entries * 3 / 2 / CHUNK)?;
        }
        let (used, all) = self.balancer.plane().occupancy();
        if used * 1000 < all * 999 {
            return Err(BenchError::Broken(format!("the flood has filled only {used} of {all} entries.")));
        }
        let warm_up = warm_up(self.scene.flows);
        (0..effort.rounds).map(|_| self.round(&mut lanes, effort, warm_up, &[Reason::ToBackend], Some(1))).collect()
    }

    /// The same where the service lets in only a few newcomers.
    pub(crate) fn flood_beyond(&mut self, effort: Effort) -> Result<Row, BenchError> {
        let mut lanes = self.lanes(Head::tcp(SYN), |rings| rings.to_backend, true);
        self.clear()?;
        let warm_up = warm_up(self.scene.flows);
        let reasons = [Reason::NewcomerLimit, Reason::ToBackend];
        let rounds = (0..effort.rounds).map(|_| self.round(&mut lanes, effort, warm_up, &reasons, None));
        let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
        let counted = self.balancer.plane().counters()?;
        let [beyond, let_in] = reasons.map(|reason| counted.verdicts[reason as usize]);
        if let_in * 100 > beyond {
            return Err(BenchError::Broken(format!("{let_in} newcomers were let in, and {beyond} were not.")));
        }
        Ok(Row::of(self.scene, What::FloodBeyond, &rounds))
    }

    /// Empties the measured programs' flow tables.
    fn clear(&mut self) -> Result<(), BenchError> {
        if let Some(beside) = &mut self.beside {
            beside.clear()?;
        }
        Ok(self.balancer.plane().clear()?)
    }

    /// What the programs get: the yardstick packets that it knows, the others the measured stream.
    fn lanes(&self, head: Head, ring: impl Fn(Rings) -> Ring, fresh: bool) -> [Lane; 4] {
        let stream = stream_of(head, ring(self.rings), fresh);
        let beside = stream_of(head, ring(self.other_rings.unwrap_or(self.rings)), fresh);
        [ahead(stream), stream_of(Head::tcp(ACK), self.yardstick, false), stream, beside]
    }

    /// One round, after a warm-up, and whether every packet had the verdict that is meant: one of `reasons`, with
    /// `opened` flows a packet, if that is said.
    fn round(
        &mut self,
        lanes: &mut [Lane; 4],
        effort: Effort,
        warm_up: u32,
        reasons: &[Reason],
        opened: Option<u64>,
    ) -> Result<Round, BenchError> {
        let counted = self.beside.as_mut().map(Beside::counted).transpose()?;
        let before = self.balancer.plane().counters()?;
        let turns = effort.turns.min(self.driver.most_turns() - warm_up);
        let all = self.driver.run(lanes, warm_up + turns)?;
        let after = self.balancer.plane().counters()?;

        let packets = u64::from((warm_up + turns) * CHUNK);
        let mut meant = 0;
        let mut crowded = 0;
        for reason in Reason::ALL {
            let count = after.verdicts[*reason as usize] - before.verdicts[*reason as usize];
            if reasons.contains(reason) {
                meant += count;
            } else if *reason == Reason::FlowTableFull && count * 1000 <= packets * opened.unwrap_or(0) {
                // Now and then both entries of a new flow belong in one bucket that is full, and there is no room.
                crowded = count;
            } else if count > 0 {
                return Err(BenchError::Broken(format!(
                    "{count} of {packets} packets got the verdict \"{}\".",
                    reason.name()
                )));
            }
        }
        if meant + crowded != packets {
            return Err(BenchError::Broken(format!("the program counted {meant} packets of {packets}.")));
        }
        let flows = after.events[evenkeel_core::Event::FlowOpened as usize]
            - before.events[evenkeel_core::Event::FlowOpened as usize];
        if opened.is_some_and(|opened| flows != meant * opened) {
            return Err(BenchError::Broken(format!("{packets} packets opened {flows} flows.")));
        }
        if let (Some(beside), Some(before), Some(opened)) = (&mut self.beside, counted, opened) {
            let after = beside.counted()?;
            let [sent, passed, flows] = std::array::from_fn(|what| after[what] - before[what]);
            // As many as here, but for the few that find no room in its table.
            let is_right = (sent + passed + crowded.max(packets * opened / 1000)) >= packets && flows >= opened * sent;
            if !is_right {
                return Err(BenchError::Broken(format!(
                    "the other version sent {sent} and passed {passed} of {packets}."
                )));
            }
        }
        if self.driver.missed()? > 0 {
            return Err(BenchError::Broken("the yardstick has not found all of its flows.".to_owned()));
        }
        Ok(Round::of(&all[warm_up as usize..]))
    }

    /// Connections stamped at this time must not have come to be renewed: that is a longer way.
    fn check_steady(&self, stamped: Now) -> Result<(), BenchError> {
        let stage = self.balancer.plane();
        if stage.time_now()?.tick().since(stamped.tick()) >= stage.settings().timeouts.renew {
            return Err(BenchError::Broken("a round took so long that connections were renewed.".to_owned()));
        }
        Ok(())
    }
}

/// Turns before the first that counts: every flow has its turn, but of very many only as many as caches can hold.
fn warm_up(flows: u32) -> u32 {
    (flows / CHUNK).clamp(4, 64)
}
