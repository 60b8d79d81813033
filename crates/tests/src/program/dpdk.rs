//! Real DPDK workers without a device: what is put into a port's receive rings arrives, and what it sends lies in its
//! transmit rings. Nothing polls by itself.

use super::cpu;
use super::outcome::Passage;
use super::setup::Setup;
use evenkeel_core::flow::Now;
use evenkeel_dpdk::{BURST, Burst, DpdkPlane, Eal, Pool, Port, Ring, Tables, Worker};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Mbufs of a pool: a full receive ring of the largest packets there are.
const MBUFS: u32 = 4096;
/// Packets that a ring has room for.
pub const RING: usize = 2 * BURST;

/// Tests of a process that may have a port at once: EAL has room for 32 ports, and memory for some more pools.
const PORTS: usize = 16;

/// EAL with one lcore. It can be started once in a process, so all rigs share it.
pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    // On a thread that is not needed afterwards: EAL binds the one that starts it to a CPU.
    EAL.get_or_init(|| thread::spawn(|| start_eal(1)).join().expect("EAL starts"))
}

/// Starts EAL with so many lcores, the calling thread being the first. It needs neither huge pages nor root.
pub fn start_eal(lcores: usize) -> Eal {
    let cpus: Vec<_> = cpu::cpus().into_iter().take(lcores).map(|cpu| cpu.to_string()).collect();
    let cpus = cpus.join(",");
    // EAL makes a directory of this name and leaves it there; nothing is put into it (--no-shconf), so that it serves any
    // number of tests at once.
    let prefix = "--file-prefix=evenkeel-program";
    let words = ["--no-huge", "-m", "512", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", prefix];
    let arguments = [&["-l", &cpus], &words[..]].concat();
    let (started, _) = Eal::start("test", &Vec::from_iter(arguments.into_iter().map(str::to_owned)));
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// Gives a test a plane with empty tables, over a port of its own. When port and rings are gone, every mbuf must be back.
pub fn with_port(eal: &Eal, setup: &Setup, test: impl FnOnce(DpdkUnderTest)) {
    let _turn = Turn::wait();
    // One for each queue: whoever waits for another thread in one pool waits as long as that one has no CPU
    // (Programmer's Guide, "Known Issues" of the Environment Abstraction Layer).
    let pool = |_| Pool::with_room(eal, MBUFS, setup.room).expect("EAL has memory");
    let pools: Vec<_> = (0..setup.queues).map(pool).collect();
    {
        let rings = || -> Vec<_> {
            (0..setup.queues).map(|_| Arc::new(Ring::new(eal, RING as u32).expect("EAL has memory"))).collect()
        };
        let (rx, tx) = (rings(), rings());
        let nat = &setup.config.nat.addresses;
        let tables = Tables::new(setup.sizes(), setup.settings(), nat, setup.queues).expect("there is memory");
        let tables = Arc::new(tables);
        let mut port = Port::over_rings(eal, &rx, &tx, &pools[0]).expect("EAL has room for a port");
        let clock = Clock::default();
        let seen = clock.clone();
        let lanes = port.queues().into_iter().zip(&tx).enumerate().map(|(lcore, (queues, tx))| {
            let worker = Worker::new(queues, &tables, lcore, None);
            Mutex::new(Lane { worker, clock: clock.clone(), tx: Arc::clone(tx) })
        });
        test(DpdkUnderTest {
            plane: DpdkPlane::with_clock(Arc::clone(&tables), move || seen.now()),
            lanes: lanes.collect(),
            inlets: rx.into_iter().zip(&pools).map(|(rx, pool)| Inlet { pool, rx }).collect(),
            clock,
        });
    }
    assert_eq!(pools.iter().map(Pool::in_use).sum::<u32>(), 0, "mbufs did not come back");
}

/// How many tests have a port.
static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to have one.
struct Turn;

impl Turn {
    fn wait() -> Self {
        let (taken, given_back) = &TAKEN;
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = given_back.wait_while(taken, |taken| *taken >= PORTS).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, given_back) = &TAKEN;
        *taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        given_back.notify_one();
    }
}

/// The DPDK plane with its workers.
#[expect(missing_debug_implementations, reason = "the workers have none")]
pub struct DpdkUnderTest<'a, 'p> {
    /// The tables.
    pub plane: DpdkPlane,
    clock: Clock,
    inlets: Vec<Inlet<'p>>,
    lanes: Vec<Mutex<Lane<'a, 'p>>>,
}

impl<'a, 'p> DpdkUnderTest<'a, 'p> {
    /// The time that workers and control side are told.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What leads to this receive queue.
    pub fn inlet(&self, queue: usize) -> &Inlet<'p> {
        &self.inlets[queue]
    }

    /// The worker of this queue. One thread at a time has it.
    pub fn lane(&self, queue: usize) -> MutexGuard<'_, Lane<'a, 'p>> {
        // A fixture that failed leaves nothing behind that harms the next one.
        self.lanes[queue].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packets that arrive at this queue together, and what was sent of them.
    #[track_caller]
    pub fn burst(&self, queue: usize, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut lane = self.lane(queue);
        for packet in packets {
            assert!(self.inlet(queue).offer(packet), "{} packets are more than a ring holds", packets.len());
        }
        let mut sent = Vec::new();
        while lane.poll() {
            sent.extend(lane.sent());
        }
        sent
    }

    /// One packet.
    #[track_caller]
    pub(super) fn run(&self, queue: usize, packet: &[u8]) -> Passage {
        let mut sent = self.burst(queue, &[packet.to_vec()]);
        let last = sent.pop();
        assert!(sent.is_empty(), "one packet came, and several were sent");
        Passage { verdict: None, sent: last }
    }
}

/// A clock that stands where it is put.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU32>);

impl Default for Clock {
    /// Early enough that what lies back by an idle time lies before the clock's zero.
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(100 << 6)))
    }
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Now {
        Now(self.0.load(SeqCst))
    }

    /// Puts it.
    pub fn set(&self, now: Now) {
        self.0.store(now.0, SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, ticks: u16) {
        self.0.fetch_add(u32::from(ticks) << 6, SeqCst);
    }
}

/// What leads to a receive queue.
#[derive(Clone, Debug)]
pub struct Inlet<'p> {
    pool: &'p Pool<'p>,
    rx: Arc<Ring<'p>>,
}

impl Inlet<'_> {
    /// A packet arrives, unless the queue is full.
    #[must_use]
    pub fn offer(&self, packet: &[u8]) -> bool {
        let packet = self.pool.mbuf(packet).expect("there are more mbufs than the rings hold");
        self.rx.put(packet).is_ok()
    }
}

/// A worker, and what it has sent.
#[expect(missing_debug_implementations, reason = "the worker has none")]
pub struct Lane<'a, 'p> {
    worker: Worker<'a, 'p>,
    clock: Clock,
    tx: Arc<Ring<'p>>,
}

impl Lane<'_, '_> {
    /// Lets the worker take a burst, if anything has arrived.
    pub fn poll(&mut self) -> bool {
        self.worker.poll(|| self.clock.now())
    }

    /// Takes away what was sent.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let mut burst = Burst::new();
        loop {
            self.tx.take(&mut burst);
            if burst.is_empty() {
                return sent;
            }
            sent.extend(burst.drain(..).map(|packet| packet.to_vec()));
        }
    }
}
