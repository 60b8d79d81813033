//! The balancer in the foreground, on DPDK: lcores on their CPUs, the control side on the others.

use crate::affinity::Affinity;
use crate::announce;
use crate::claim::Claims;
use crate::control::{Control, Surroundings};
use crate::error::RunError;
use crate::starting::Starting;
use evenkeel_control::config::{Backend, Config, Idle};
use evenkeel_control::daemon::Daemon;
use evenkeel_control::{Balancer, BalancerError, MOST_BACKENDS, Operator, Secrets, Sizes, operator};
use evenkeel_core::flow::IdleTimes;
use evenkeel_daemon::{Announcer, SetupError, Stop};
use evenkeel_dpdk::{
    BURST, Bell, DpdkPlane, Eal, Handover, HostLink, IdlePolicy, Lcore, Pool, Port, PortInfo, Ring, Tables, Work,
    Worker, captured,
};
use std::io::{Write as _, stderr};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tokio::sync::Notify;

/// Frames on their way to the host, or from it.
const HOST_FRAMES: u32 = 256;
/// Mbufs that a queue holds at most: both its descriptors, what its lcore has in hand and keeps, and the pool's cache.
const MBUFS_PER_QUEUE: u32 = 2 * 1024 + 4 * BURST as u32 + 1024;

/// What shall be done.
#[derive(Clone, Debug)]
pub struct Run {
    /// EAL's arguments, without the program's name.
    pub eal: Vec<String>,
    /// What is balanced.
    pub config: Config,
    /// What an lcore does that finds nothing. Not taken from the configuration.
    pub idle: Idle,
    /// Where the configuration was read from, to be read again; without it a reload is refused.
    pub file: Option<PathBuf>,
    /// Where questions are answered, if anywhere. If settings are built in and the place is taken, that is said, and no failure.
    pub socket: Option<PathBuf>,
    /// Where connections are kept over a restart, if anywhere.
    pub state: Option<PathBuf>,
    /// Whether to leave them there at the end.
    pub keep: bool,
    /// Whether to forget those that are there.
    pub fresh: bool,
    /// Who says what happens.
    pub announcer: Announcer,
}

/// Balances until Ctrl-C or SIGTERM. Once in a process: EAL cannot be started again. The calling thread becomes one of
/// EAL's, bound to a CPU. If a driver keeps the start waiting and will not be called back, being told to stop ends the
/// process. To be called outside of a runtime.
///
/// # Errors
/// It cannot begin, or cannot go on.
pub fn run(run: &Run) -> Result<(), RunError> {
    run.announcer.say_panics();
    let ended = balance(run);
    run.announcer.finish();
    ended
}

fn balance(run: &Run) -> Result<(), RunError> {
    let announcer = run.announcer;
    check_ways(&run.config)?;
    if run.file.is_some() {
        announcer.begin_log();
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    // Before EAL starts, which takes its time.
    let stop = {
        let _inside = runtime.enter();
        Stop::new().map_err(SetupError::of("signals"))?
    };
    let everywhere = Affinity::current().map_err(SetupError::of("CPU affinity"))?;
    let _claims = Claims::take(&run.eal)?;
    let starting = Starting::begin().map_err(SetupError::of("signals"))?;
    let state = run.state.as_deref();
    if let Some(path) = state.filter(|_| run.keep) {
        Handover::prepare(path).map_err(SetupError::of("the connections' file"))?;
    }
    let say_all = run.eal.iter().any(|argument| argument.starts_with("--log-level"));
    let repeat = |said: &str| {
        if say_all {
            // Nobody may be reading.
            let _ = write!(stderr(), "{said}");
        }
    };
    let (eal, log) = Eal::start(announcer.name(), &run.eal);
    repeat(&log);
    let eal = eal?;

    let info = PortInfo::only(&eal, &log)?;
    let named = eal.lcores().len();
    let lcores = named.min(info.max_rx_queues.min(info.max_tx_queues).max(1).into());
    let config = &run.config;
    // As many backends as there can be: it is little memory, and so only the flow table ever has to grow.
    let sizes = Sizes { backends: MOST_BACKENDS, ..Sizes::for_config(config) };
    let inherited = inherit(run, &sizes);
    let sizes = inherited.as_ref().map_or(sizes, |handover| handover.grown(sizes));
    let secrets = match &inherited {
        Some(handover) => handover.secrets(),
        None => Secrets::random().map_err(SetupError::of("random secrets"))?,
    }
    .of(config);
    let settings = sizes.settings(config, &secrets, info.mac(), IdleTimes::DEFAULT);
    let tables = Arc::new(Tables::new(sizes, settings, &config.nat.addresses, lcores)?);
    let kept = inherited.map(|handover| handover.restore(&tables));
    let plane = DpdkPlane::new(Arc::clone(&tables));
    let balancer = match kept {
        Some(_) => Balancer::adopt(plane, &secrets, config.nat.clone()).map_err(BalancerError::Plane)?,
        None => Balancer::new(plane, &secrets),
    };
    let mut operator = Operator::new(balancer, "dpdk", config.clone(), run.file.clone())?;
    let troubles = operator.share_troubles();
    operator.works_at(operator::Port { interface: info.name.clone(), mode: info.driver.clone(), why: None });

    let mtu = config.dataplane.mtu;
    let pool = Pool::with_room(&eal, lcores as u32 * MBUFS_PER_QUEUE + 2 * HOST_FRAMES, info.room_for(mtu))?;
    let (to_host, from_host) = (Ring::new(&eal, HOST_FRAMES)?, Ring::new(&eal, HOST_FRAMES)?);
    let doorbell = Notify::new();
    let wake = || doorbell.notify_one();
    let (port, said) =
        captured(|| Port::start(&eal, info.clone(), lcores as u16, mtu, &pool)).map_err(SetupError::of("the port"))?;
    repeat(&said);
    let mut port = port?;
    drop(starting);
    let (finished, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let idle = match run.idle {
        Idle::Sleep => IdlePolicy::Sleep,
        Idle::Poll => IdlePolicy::Poll,
    };
    let elsewhere = everywhere.without(eal.lcores().into_iter().take(lcores).flat_map(Lcore::cpus));
    let (bell, rest) = (port.bell(), port.rest());
    let mut work: Vec<Work<'_>> = Vec::new();
    for (number, queues) in port.queues().into_iter().enumerate() {
        let from_host = (number == 0).then_some(&from_host);
        let host = HostLink { to_host: &to_host, from_host, wake: &wake };
        let mut worker = Worker::new(queues, &tables, number, Some(host));
        let finished = &finished;
        let troubles = troubles.clone();
        let is_wanted = || !finished.load(Ordering::Relaxed);
        work.push(Box::new(move || troubles.keep_up("an lcore", is_wanted, || worker.run(idle, finished))));
    }
    let surroundings = Surroundings {
        announcer,
        port: &info,
        pool: &pool,
        to_host: &to_host,
        from_host: &from_host,
        doorbell: &doorbell,
        bell: &bell,
    };
    let ended = thread::scope(|scope| {
        let control = scope.spawn(|| {
            // However this thread ends, the lcores end with it.
            let _finish = Finish(&finished, &bell);
            elsewhere.restore();
            runtime.block_on(async {
                let required = run.socket.as_deref().filter(|_| run.file.is_some());
                let mut daemon = Daemon::begin(operator, required).await?;
                if let (Some(path), None) = (&run.socket, required) {
                    announcer.unasked(daemon.answer_at(path));
                }
                announcer.services(config);
                announce::idle_lcores(announcer, &info, named, lcores);
                announce::not_spread(announcer, &info, lcores);
                announce::idle(announcer, idle, rest);
                announce::ready(announcer, &info, lcores, &tables);
                if let Some(kept) = kept {
                    announcer.say(&format!("{kept} connections of the process before go on."));
                }
                if let Some(path) = state
                    && let Err(error) = Handover::discard(path)
                {
                    // No reason not to balance: it grows too old by itself.
                    announcer.say(&format!("warning: the connections' file stays: {error}."));
                }
                daemon.is_ready();
                begun.store(true, Ordering::Relaxed);
                let mut control = Control::new(surroundings, daemon, &config.dataplane);
                let signal = control.run(stop).await?;
                Ok::<_, RunError>((signal, control.counters()?))
            })
        });
        eal.run(work);
        control.join()
    });
    drop(port);
    let ended = match ended {
        Ok(ended) => ended,
        Err(cause) => std::panic::resume_unwind(cause),
    };
    let by = ended.as_ref().map_or_else(|_| String::new(), |(signal, _)| format!(" by {signal}"));
    announcer.say(&format!("stopped{by}; {} is closed.", info.name));
    // Whatever it was that ended it, unless it had not begun: then the next start may have more luck.
    if let Some(path) = state.filter(|_| run.keep && begun.load(Ordering::Relaxed)) {
        Handover::write(&tables, path).map_err(SetupError::of("the connections' file"))?;
        announcer.say(&format!("connections are kept for the next start in {}.", path.display()));
    }
    let (_, counters) = ended?;
    announcer.totals(&counters);
    Ok(())
}

/// Refuses what no waiting will mend: a backend in another network, and no gateway.
fn check_ways(config: &Config) -> Result<(), RunError> {
    let (Some(own), None) = (config.dataplane.address, config.dataplane.gateway) else { return Ok(()) };
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let is_far = |address: &Ipv4Addr| !own.has_near(*address);
    let ipv4 = |backend: &Backend| if let IpAddr::V4(address) = backend.address { Some(address) } else { None };
    match backends.filter_map(ipv4).find(is_far) {
        Some(backend) => Err(RunError::NoWay { backend, own }),
        None => Ok(()),
    }
}

/// The connections that the process before has kept for us, if they can go on. If not, that is said, and they are forgotten.
fn inherit(run: &Run, sizes: &Sizes) -> Option<Handover> {
    let handover = Handover::read(run.state.as_ref()?);
    let usable = handover.and_then(|handover| match handover {
        Some(handover) if !run.fresh => handover.check(sizes, &run.config.nat).map(|()| Some(handover)),
        _ => Ok(None),
    });
    usable.unwrap_or_else(|error| {
        run.announcer.say(&format!("warning: the connections of the process before are forgotten: {error}."));
        None
    })
}

/// Tells the lcores to stop.
struct Finish<'a>(&'a AtomicBool, &'a Bell);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.ring();
    }
}
