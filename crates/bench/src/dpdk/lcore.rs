//! Our own loop on a port, in a process of its own: opens the connections, writes their packets for everybody, receives
//! them, and measures on demand.

use super::cpu_time::cpu_time;
use super::environment::{Environment, ROOM, mbufs, packets};
use super::lookups::find;
use super::talker::Talker;
use super::{Effort, WARM_UP, capture};
use crate::deployment::{Connected, Deployment, connect, refresh};
use crate::error::BenchError;
use crate::packet::{ACK, Head};
use crate::shuffle::shuffled;
use evenkeel_control::Plane;
use evenkeel_core::{Counters, Glance, Reason, Seen};
use evenkeel_dpdk::{
    Burst, DpdkPlane, Eal, HostLink, IdlePolicy, Pool, Port, PortInfo, Queues, Ring, Tables, Worker, coarse_now,
    glances,
};
use std::hint::black_box;
use std::io::stdin;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// What this program is called with to be this.
pub(crate) const ROLE: &str = "lcore";

/// How much of the loop is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Receives and sends.
    Port,
    /// Reads the headers as well, and asks for the flow buckets.
    Glance,
    /// Looks the flows up as well.
    LookUp,
    /// Everything: the real loop.
    Everything,
}

impl Part {
    const ALL: [Self; 4] = [Self::Port, Self::Glance, Self::LookUp, Self::Everything];

    fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Glance => "glance",
            Self::LookUp => "look-up",
            Self::Everything => "everything",
        }
    }
}

/// The process, from outside.
#[derive(Debug)]
pub(crate) struct Ours(Talker);

impl Ours {
    /// Starts it, on a port that receives the packets of so many flows, which it writes to `capture`, for ever.
    pub(crate) fn start(environment: &Environment, flows: u32, port: &str, capture: &Path) -> Result<Self, BenchError> {
        let mut command = environment.ourselves();
        command.arg(ROLE).arg(flows.to_string()).arg(capture);
        command.args(environment.eal("ours", packets(flows), false)).arg(port);
        let mut talker = Talker::start("evenkeel's lcore", command)?;
        match talker.hear()?.trim() {
            "ready" => Ok(Self(talker)),
            error => Err(BenchError::Broken(error.to_owned())),
        }
    }

    /// Runs this part for a turn; returns nanoseconds a packet.
    pub(crate) fn measure(&mut self, part: Part, effort: Effort) -> Result<f64, BenchError> {
        self.0.say(&format!("{} {}", part.name(), effort.turn.as_millis()))?;
        let line = self.0.hear()?;
        line.trim().parse().map_err(|_| BenchError::Broken(line.trim().to_owned()))
    }
}

/// Is the process.
pub(crate) fn serve(flows: u32, capture: &Path, arguments: &[String]) -> Result<(), BenchError> {
    let deployment = Deployment::new(flows.next_power_of_two(), None)?;
    let tables = Arc::new(Tables::new(deployment.sizes, deployment.settings, deployment.nat(), 1)?);
    let balancer = deployment.balance(DpdkPlane::new(Arc::clone(&tables)))?;
    let Connected { forth, back, .. } = tables.view(0, coarse_now(), |view| connect(view, flows))?;
    let tuples = [forth, back].concat();
    let head = Head::tcp(ACK);
    capture::write(capture, shuffled(tuples.len()).into_iter().map(|at| head.frame(&tuples[at])))?;

    let (eal, log) = Eal::start("evenkeel-bench", arguments);
    let eal = eal?;
    let pool = Pool::with_room(&eal, mbufs(packets(flows)), ROOM)?;
    let info = PortInfo::only(&eal, &log)?;
    let mut port = Port::start(&eal, info.clone(), 1, None, &pool)?;
    // As evenkeel-dpdk has it; no packet of these goes there.
    let (to_host, from_host) = (Ring::new(&eal, 64)?, Ring::new(&eal, 64)?);
    let host = HostLink { to_host: &to_host, from_host: Some(&from_host), wake: &|| () };
    println!("ready");

    for line in stdin().lines() {
        let line = line.unwrap_or_default();
        let Some((name, milliseconds)) = line.split_once(' ') else { break };
        let part = Part::ALL.into_iter().find(|part| part.name() == name);
        let (Some(part), Ok(milliseconds)) = (part, milliseconds.parse()) else { break };
        let Some(queues) = port.queues().pop() else { break };
        // Every connection is renewed once in some seconds; not in this turn.
        refresh(&tables.flow_table(), coarse_now());
        let before = balancer.plane().counters()?;
        let turn = take_turn(&info, queues, &tables, host, part, Duration::from_millis(milliseconds))?;
        if part == Part::Everything {
            check(&before, &balancer.plane().counters()?, &turn)?;
        }
        println!("{}", turn.nanoseconds);
    }
    Ok(())
}

struct Turn {
    nanoseconds: f64,
    received: u64,
    sent: u64,
}

fn take_turn<'p>(
    port: &PortInfo,
    queues: Queues<'_, 'p>,
    tables: &Tables,
    host: HostLink<'_, 'p>,
    part: Part,
    span: Duration,
) -> Result<Turn, BenchError> {
    if part == Part::Everything {
        let mut worker = Worker::new(queues, tables, 0, Some(host));
        return clock(port, span, |stop| worker.run(IdlePolicy::Poll, stop));
    }
    let Queues { mut rx, mut tx } = queues;
    let mut burst = Burst::new();
    clock(port, span, |stop| {
        while !stop.load(Relaxed) {
            rx.receive(&mut burst);
            if part != Part::Port {
                tables.view(0, coarse_now(), |view| {
                    let glances = glances(&mut burst, view);
                    let flows = glances.iter().filter_map(|glance| match glance {
                        Glance::Four(Seen::Flow(packet, place)) if part == Part::LookUp => {
                            find(view, packet.key, *place)
                        }
                        _ => None,
                    });
                    flows.for_each(|peer| {
                        black_box(peer);
                    });
                    black_box(&glances);
                });
            }
            tx.send(&mut burst);
        }
    })
}

/// Forwards for the warm-up and then for so long; the port's own counters say how many packets that was.
fn clock(port: &PortInfo, span: Duration, mut forward: impl FnMut(&AtomicBool)) -> Result<Turn, BenchError> {
    let mut forward_for = |span: Duration| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(span);
                stop.store(true, Relaxed);
            });
            forward(&stop);
        });
    };
    let first = port.packets();
    forward_for(WARM_UP);
    let (warm, start) = (port.packets(), cpu_time(0)?);
    forward_for(span);
    let (last, end) = (port.packets(), cpu_time(0)?);
    let nanoseconds = (end - start).as_nanos() as f64 / (last.0 - warm.0) as f64;
    Ok(Turn { nanoseconds, received: last.0 - first.0, sent: last.1 - first.1 })
}

/// Whether every packet got one of the two verdicts that are meant, and was sent.
fn check(before: &Counters, after: &Counters, turn: &Turn) -> Result<(), BenchError> {
    let count = |reason: Reason| after.verdicts[reason as usize] - before.verdicts[reason as usize];
    let Turn { received, sent, .. } = *turn;
    for &reason in Reason::ALL.iter().filter(|&&reason| !matches!(reason, Reason::ToBackend | Reason::ToClient)) {
        if count(reason) > 0 {
            let (count, name) = (count(reason), reason.name());
            return Err(BenchError::Broken(format!("{count} of {received} packets got the verdict \"{name}\".")));
        }
    }
    let meant = count(Reason::ToBackend) + count(Reason::ToClient);
    if meant != received || sent != received || received == 0 {
        return Err(BenchError::Broken(format!("of {received} packets {meant} were counted and {sent} sent.")));
    }
    Ok(())
}
