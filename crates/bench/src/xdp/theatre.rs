//! One scene, set up and measured: the real program with its connections, and the streams of packets for it.

use super::driver::Driver;
use super::figures::{Round, Row, Scene, What};
use super::stage::Stage;
use super::stream::{ahead, stream_of};
use super::tuples::Ring;
use crate::deployment::{Connected, Deployment, SERVICE, client, connect};
use crate::error::BenchError;
use crate::layout::{CHUNK, Lane, MAX_CHUNKS};
use crate::packet::{ACK, Head, SYN};
use evenkeel_control::{Balancer, Plane};
use evenkeel_core::flow::{Peer, Tick};
use evenkeel_core::{Reason, Tables};
use evenkeel_wire::Ipv4Address;
use evenkeel_xdp::XdpPlane;

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
    to_backend: Ring,
    to_client: Ring,
    mixed: Ring,
    not_ours: Ring,
    echo: Ring,
}

impl Theatre {
    /// Loads everything and opens the scene's connections.
    pub(crate) fn open(objects: &Objects, scene: Scene) -> Result<Self, BenchError> {
        let deployment = Deployment::new(scene.room)?;
        let plane = XdpPlane::load(
            &objects.evenkeel,
            deployment.sizes,
            deployment.settings,
            deployment.nat(),
            deployment.features(),
        )?;
        let stage = Stage::new(plane, deployment.nat(), deployment.sizes.backends as usize);
        let balancer = deployment.balance(stage)?;

        let program = balancer.plane().plane.program()?.fd().map_err(BenchError::driver)?;
        let mut driver = Driver::load(&objects.bench, scene.room, scene.flows * 5 + 2 * OTHERS, program)?;
        let Connected { forth, back, refused } = connect(balancer.plane(), scene.flows)?;
        for tuple in &forth {
            driver.add_flow(tuple)?;
        }
        let tuples = &mut driver.tuples;
        let stranger = |number| Peer { address: Ipv4Address([10, 9, 9, 9]), ..client(number) };
        let (ack, request) = (Head::tcp(ACK), Head::echo());
        let not_ours: Vec<_> = (0..OTHERS).map(|number| ack.tuple(client(number), stranger(number))).collect();
        let service = Peer { address: SERVICE.into(), ..client(0) };
        let echo: Vec<_> = (0..OTHERS).map(|number| request.tuple(client(number), service)).collect();
        Ok(Self {
            scene,
            refused,
            yardstick: tuples.add(&forth)?,
            to_backend: tuples.add(&forth)?,
            to_client: tuples.add(&back)?,
            mixed: tuples.add(&[forth, back].concat())?,
            not_ours: tuples.add(&not_ours)?,
            echo: tuples.add(&echo)?,
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
        // A flood is of many flows, and a table for fewer is full before the first turn is over.
        if scene.is_full() && scene.flows >= 1 << 16 {
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
            (stream_of(tcp, self.to_backend, false), vec![Reason::ToBackend]),
            (stream_of(tcp, self.to_client, false), vec![Reason::ToClient]),
            (stream_of(tcp, self.mixed, false), vec![Reason::ToBackend, Reason::ToClient]),
            (stream_of(tcp, self.not_ours, false), vec![Reason::NotOurs]),
            (stream_of(Head::echo(), self.echo, false), vec![Reason::EchoReply]),
        ]
        .map(|(stream, reasons)| (self.lanes(stream), reasons));
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            let mut round = Vec::new();
            for (lanes, reasons) in &mut streams {
                let stamped = self.balancer.plane().refresh()?;
                round.push(self.round(lanes, effort, warm_up(self.scene.flows), reasons, 0)?);
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
        let mut lanes = self.lanes(stream_of(Head::tcp(SYN), self.to_backend, true));
        let warm_up = 4;
        let most = self.scene.room * 3 / 4 / CHUNK - warm_up;
        let effort = Effort { turns: effort.turns.min(most), ..effort };
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            self.balancer.plane().clear()?;
            rounds.push(self.round(&mut lanes, effort, warm_up, &[Reason::ToBackend], 1)?);
        }
        Ok(rounds)
    }

    /// The same in a table that a flood has filled.
    fn flood(&mut self, effort: Effort) -> Result<Vec<Round>, BenchError> {
        let mut stream = stream_of(Head::tcp(SYN), self.to_backend, true);
        // Not the connections of `new_flows` again.
        stream.era += 0x1000;
        self.balancer.plane().clear()?;
        // Two entries a flow: every place is written three times on average, and few are never.
        let entries = self.scene.room * 4;
        self.driver.pour(&mut stream, entries * 3 / 2 / CHUNK)?;
        let (used, all) = self.balancer.plane().occupancy();
        if used * 1000 < all * 999 {
            return Err(BenchError::Broken(format!("the flood has filled only {used} of {all} entries.")));
        }
        let mut lanes = self.lanes(stream);
        let warm_up = warm_up(self.scene.flows);
        (0..effort.rounds).map(|_| self.round(&mut lanes, effort, warm_up, &[Reason::ToBackend], 1)).collect()
    }

    /// What the programs get: the yardstick packets that it knows, the other two the measured stream.
    fn lanes(&self, stream: Lane) -> [Lane; 3] {
        [ahead(stream), stream_of(Head::tcp(ACK), self.yardstick, false), stream]
    }

    /// One round, after a warm-up, and whether every packet had the verdict that is meant: one of `reasons`, with
    /// `opened` flows a packet.
    fn round(
        &mut self,
        lanes: &mut [Lane; 3],
        effort: Effort,
        warm_up: u32,
        reasons: &[Reason],
        opened: u64,
    ) -> Result<Round, BenchError> {
        let before = self.balancer.plane().counters()?;
        let turns = effort.turns.min(MAX_CHUNKS / 3 - warm_up);
        let all = self.driver.run(lanes, warm_up + turns)?;
        let after = self.balancer.plane().counters()?;

        let packets = u64::from((warm_up + turns) * CHUNK);
        let mut meant = 0;
        let mut crowded = 0;
        for reason in Reason::ALL {
            let count = after.verdicts[*reason as usize] - before.verdicts[*reason as usize];
            if reasons.contains(reason) {
                meant += count;
            } else if *reason == Reason::FlowTableFull && count * 1000 <= packets * opened {
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
        if flows != meant * opened {
            return Err(BenchError::Broken(format!("{packets} packets opened {flows} flows.")));
        }
        if self.driver.missed()? > 0 {
            return Err(BenchError::Broken("the yardstick has not found all of its flows.".to_owned()));
        }
        Ok(Round::of(&all[warm_up as usize..]))
    }

    /// Connections stamped at this time must not have come to be renewed: that is a longer way.
    fn check_steady(&self, stamped: Tick) -> Result<(), BenchError> {
        let stage = self.balancer.plane();
        if stage.time_now()?.since(stamped) >= stage.settings().timeouts.renew {
            return Err(BenchError::Broken("a round took so long that connections were renewed.".to_owned()));
        }
        Ok(())
    }
}

/// Turns before the first that counts: every flow has its turn, but of very many only as many as caches can hold.
fn warm_up(flows: u32) -> u32 {
    (flows / CHUNK).clamp(4, 64)
}
