//! One lcore's loop: packets in, the core's decision, packets out. No lock, no system call and no allocation for any
//! packet that is balanced.

use crate::clock::coarse_now;
use crate::counters::LcoreCounters;
use crate::host;
use crate::idle::{Idle, IdlePolicy, Pause};
use crate::mbuf::{BURST, Burst, Mbuf, free};
use crate::port::{Queues, RxQueue, TxQueue};
use crate::ring::Ring;
use crate::tables::{Directory, Tables, View};
use arc_swap::{ArcSwap, Cache};
use arrayvec::ArrayVec;
use evenkeel_core::flow::Now;
use evenkeel_core::{Event, Glance, Next, Reason, Seen, Verdict, arrive, decide, glance, visit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How packets that are not balanced reach the host, and the host's reach the port.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct HostLink<'a, 'p> {
    /// Frames for the host.
    pub to_host: &'a Ring<'p>,
    /// Frames of the host's; one of the lcores sends them.
    pub from_host: Option<&'a Ring<'p>>,
    /// Called when something was put into `to_host`. It must not wait.
    pub wake: &'a (dyn Fn() + Sync),
}

/// An lcore that waits to be called looks around so often. Nothing is due; it is for a driver that has forgotten to call.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// And one that keeps packets, so that it sees that they can be sent.
const LONGEST_WAIT_HOLDING: Duration = Duration::from_millis(1);

/// Packets that an lcore keeps while their backend's Ethernet address is asked for.
const HELD: usize = 64;
/// For how long, in ticks: three tries to find a neighbour, one a second (RFC 1122, section 2.3.2.1; RFC 4861, section 10).
const HOLD: u16 = 3;

/// Takes packets from one receive queue through the core, and sends them by one transmit queue.
#[expect(missing_debug_implementations, reason = "the way to the host has none")]
pub struct Worker<'a, 'p> {
    rx: RxQueue<'a, 'p>,
    tx: TxQueue<'a, 'p>,
    tables: &'a Tables,
    directory: Cache<&'a ArcSwap<Directory>, Arc<Directory>>,
    counters: &'a LcoreCounters,
    host: Option<HostLink<'a, 'p>>,
    received: Burst<'p>,
    outgoing: Burst<'p>,
    discarded: Burst<'p>,
    held: ArrayVec<(Mbuf<'p>, Now), HELD>,
    /// [`Tables::link_changes`] when the held packets were tried last.
    tried_at: u64,
}

impl<'a, 'p> Worker<'a, 'p> {
    /// A worker for a pair of queues; `lcore` says whose counters it has, below the number that the tables were made
    /// for. Without a host nobody is told where we are, and packets for backends that are not resolved are not kept.
    ///
    /// # Panics
    /// `lcore` is not below that number.
    pub fn new(queues: Queues<'a, 'p>, tables: &'a Tables, lcore: usize, host: Option<HostLink<'a, 'p>>) -> Self {
        Self {
            rx: queues.rx,
            tx: queues.tx,
            tables,
            directory: Cache::new(&tables.directory),
            counters: &tables.lcores[lcore],
            host,
            received: Burst::new(),
            outgoing: Burst::new(),
            discarded: Burst::new(),
            held: ArrayVec::new(),
            tried_at: 0,
        }
    }

    /// Receives a burst, decides on each of its packets, and sends what is to be sent. Returns whether there was
    /// anything to do. `now` is the time by which flows are stamped.
    #[inline]
    pub fn poll(&mut self, now: impl FnOnce() -> Now) -> bool {
        self.rx.receive(&mut self.received);
        if self.received.is_empty() && self.host.is_none() {
            return false;
        }
        let mut busy = self.send_for_host();
        let waiting = !self.held.is_empty();
        if self.received.is_empty() && !waiting {
            return busy;
        }
        let now = now();
        if !waiting {
            // Before the burst: a backend that is resolved meanwhile must not be missed.
            self.tried_at = self.tables.link_changes();
        }
        if !self.received.is_empty() {
            self.process(now, None);
            busy = true;
        }
        if waiting {
            self.try_held(now);
        }
        busy
    }

    /// Polls until it is told to stop. Where the port calls and is waited for, its bell has to be rung for that, and for
    /// what the host has to send.
    pub fn run(&mut self, idle: IdlePolicy, stop: &AtomicBool) {
        if idle == IdlePolicy::Sleep {
            wake_in_time();
        }
        let mut idle = Idle::new(idle, self.rx.rest());
        while !stop.load(Ordering::Relaxed) {
            let busy = self.poll(coarse_now);
            match idle.after(busy) {
                Pause::None => {}
                Pause::Sleep(time) => thread::sleep(time),
                Pause::Wait => self.wait(&mut idle),
            }
        }
    }

    /// Waits until the port calls.
    #[cold]
    fn wait(&mut self, idle: &mut Idle) {
        self.rx.arm();
        // Something may have arrived after the last poll and before it was armed.
        if self.poll(coarse_now) {
            idle.after(true);
        } else {
            self.rx.wait(if self.held.is_empty() { LONGEST_WAIT } else { LONGEST_WAIT_HOLDING });
            idle.called();
        }
        self.rx.disarm();
    }

    /// Three walks over the burst: ask for the headers, read them and ask for the flow buckets, decide. So the memory
    /// that one packet waits for arrives while the others are looked at. `since`: when they arrived, if that is not now.
    fn process(&mut self, now: Now, since: Option<Now>) {
        let Self { tables, directory, counters, .. } = self;
        counters.turn();
        let directory = directory.load();
        let is_held = directory.is_held;
        let view = View::new(tables, directory, counters, now);
        let glances = glances(&mut self.received, &view);
        for (mut packet, glance) in self.received.drain(..).zip(&glances) {
            let reason = if is_held { decide_held(&mut packet, &view) } else { decide(&mut packet, &view, glance) };
            match reason.verdict() {
                Verdict::Transmit => self.outgoing.push(packet),
                Verdict::Pass if host::wants(&packet, reason, view.directory.heard.as_deref()) => {
                    hand_over(packet, self.host)
                }
                // The end of a hold is told as a change of links is.
                Verdict::Drop if reason == Reason::StationMissing => {
                    if !hold(packet, &mut self.held, since.unwrap_or(now)) {
                        counters.count(reason);
                    }
                }
                Verdict::Drop if reason == Reason::BackendUnresolved && self.host.is_some() => {
                    if hold(packet, &mut self.held, since.unwrap_or(now)) && since.is_none() {
                        counters.count_events(Event::HeldForNeighbour, 1);
                    }
                }
                Verdict::Pass | Verdict::Drop => self.discarded.push(packet),
            }
        }
        self.counters.turn();
        let dropped = self.tx.send(&mut self.outgoing);
        if dropped > 0 {
            self.counters.count_events(Event::TransmitQueueFull, dropped as u64);
        }
        free(&mut self.discarded);
    }

    /// Gives held packets another try when a backend has been resolved, and up when they have waited for too long.
    #[cold]
    fn try_held(&mut self, now: Now) {
        let changes = self.tables.link_changes();
        if changes != self.tried_at {
            self.tried_at = changes;
            let mut held = std::mem::take(&mut self.held).into_iter();
            while !held.as_slice().is_empty() {
                let mut since = None;
                for (packet, at) in held.by_ref().take(BURST) {
                    // They are in order, so none of a burst has waited for longer than its first.
                    since.get_or_insert(at);
                    self.received.push(packet);
                }
                self.process(now, since);
            }
        }
        self.held.retain(|(_, since)| now.tick().since(since.tick()) <= HOLD);
    }

    fn send_for_host(&mut self) -> bool {
        let Some(ring) = self.host.and_then(|host| host.from_host) else { return false };
        let mut frames = Burst::new();
        ring.take(&mut frames);
        let any = !frames.is_empty();
        self.tx.send(&mut frames);
        any
    }
}

/// Has the kernel wake the calling thread when its sleep is over, and not up to 50 us later, as it may (prctl(2)).
fn wake_in_time() {
    // SAFETY: numbers. If it fails, sleeps are longer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000_u64) };
}

/// What becomes of a packet while none may change the flow table. What would change it is not counted here.
#[cold]
fn decide_held(packet: &mut Mbuf<'_>, view: &View<'_>) -> Reason {
    let mut next = arrive(packet, view);
    loop {
        match next {
            Next::Done(reason) => return reason,
            Next::Go(station) if station.changes_flows() => return Reason::StationMissing,
            Next::Go(station) => next = visit(station, packet, view),
        }
    }
}

/// The first two of an lcore's three walks over a burst.
#[inline(always)]
pub fn glances(burst: &mut Burst<'_>, view: &View<'_>) -> ArrayVec<Glance, BURST> {
    for packet in burst.iter() {
        packet.prefetch();
    }
    let mut glances = ArrayVec::new();
    for packet in burst {
        let glance = glance(packet, view);
        match glance {
            Glance::Four(Seen::Flow(_, place)) => view.prefetch(place),
            Glance::Six(Seen::Flow(_, place)) => view.prefetch_wide(place),
            _ => {}
        }
        glances.push(glance);
    }
    glances
}

/// Keeps a packet if there is room, and says whether there was.
#[cold]
fn hold<'p>(packet: Mbuf<'p>, held: &mut ArrayVec<(Mbuf<'p>, Now), HELD>, since: Now) -> bool {
    held.try_push((packet, since)).is_ok()
}

#[cold]
fn hand_over<'p>(packet: Mbuf<'p>, host: Option<HostLink<'_, 'p>>) {
    if let Some(host) = host
        && host.to_host.put(packet).is_ok()
    {
        (host.wake)();
    }
}
