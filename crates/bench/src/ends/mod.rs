//! From end to end: clients, a bridge, balancers and servers in the walk-through's testbed, all on this machine. What
//! reaches the servers beside what reaches them without a balancer, a moment before.
//!
//! It makes networks, so it wants a sandbox: `scripts/sandbox.sh target/release/evenkeel-bench ends`.

mod contestant;
mod floor;
mod load;
mod server;

use crate::error::BenchError;
use crate::spread::Spread;
use contestant::{Contestant, Port, Running, run};
use load::Load;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// What the measurement is told.
#[derive(Debug)]
struct Options {
    rounds: u32,
    /// Of one load.
    time: Duration,
    /// A directory with another version's programs, whose DPDK balancer is measured as well.
    beside: Option<PathBuf>,
    /// Only contestants whose name holds this.
    only: Option<String>,
}

/// Where programs are.
#[derive(Debug)]
pub(crate) struct Setting {
    /// This program itself.
    own: PathBuf,
    scripts: PathBuf,
    programs: PathBuf,
    object: PathBuf,
}

impl Setting {
    /// By where this program was built.
    fn find() -> Option<Self> {
        let own = env::current_exe().ok()?;
        let root = own.parent()?.parent()?.parent()?.to_owned();
        let (scripts, programs) = (root.join("scripts"), root.join("build"));
        Some(Self { own, scripts, object: programs.join("bench.bpf.o"), programs })
    }

    fn script(&self, name: &str, words: &[&str]) -> Result<(), BenchError> {
        let script = self.scripts.join(name).display().to_string();
        run("bash", &[&[script.as_str()], words].concat())
    }
}

/// Measures what these words of the command line say.
pub(crate) fn measure(words: &[String]) -> Result<(), BenchError> {
    let options = options(words)?;
    if env::var_os("EVENKEEL_SANDBOX").is_none() {
        return Err(BenchError::NoSandbox);
    }
    let setting = Setting::find().ok_or_else(|| BenchError::Broken("it does not know where it is.".to_owned()))?;
    setting.script("testbed-setup.sh", &["ebpf"])?;
    let _servers = ["h2", "h3"].map(|name| serve_in(name, &setting)).into_iter().collect::<Result<Vec<_>, _>>()?;

    let contestants = contestants(&options, &setting)?;
    let began = Instant::now();
    let mut figures = Figures::default();
    for round in 1..=options.rounds {
        for contestant in &contestants {
            eprintln!("[{:4} s] round {round} of {}: {}", began.elapsed().as_secs(), options.rounds, contestant.name());
            duel(contestant, &setting, &options, &mut figures)?;
        }
    }
    figures.print(&contestants, &options);
    Ok(())
}

/// Does what this program starts itself for, if these are the arguments that it does so with.
pub(crate) fn serve(arguments: &[String]) -> Option<ExitCode> {
    let served = match arguments {
        [role] if role == server::ROLE => server::serve(),
        [role, interface, object] if role == floor::ROLE => floor::serve(interface, object.as_ref()),
        _ => return None,
    };
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn options(words: &[String]) -> Result<Options, BenchError> {
    let mut options = Options { rounds: 5, time: Duration::from_secs(1), beside: None, only: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| BenchError::EndsUsage(word.clone()));
        match word.as_str() {
            "--quick" => (options.rounds, options.time) = (1, Duration::from_millis(400)),
            "--rounds" => options.rounds = value()?.parse().map_err(|_| BenchError::EndsUsage(word.clone()))?,
            "--beside" => options.beside = Some(value()?.into()),
            "--only" => options.only = Some(value()?),
            _ => return Err(BenchError::EndsUsage(word.clone())),
        }
    }
    Ok(options)
}

fn contestants(options: &Options, setting: &Setting) -> Result<Vec<Contestant>, BenchError> {
    let mut all = vec![Contestant::Floor, Contestant::Xdp("native"), Contestant::Xdp("generic")];
    for port in [Port::Tap, Port::Packet, Port::Xdp] {
        if port == Port::Xdp && free_huge_pages() < 128 {
            eprintln!("net_af_xdp is left out: it wants 256 MB of huge pages (scripts/hugepages.sh 256).");
            continue;
        }
        for idle in ["sleep", "poll"] {
            if let Some(programs) = &options.beside {
                all.push(Contestant::Dpdk { port, idle, programs: programs.clone(), version: " before" });
            }
            all.push(Contestant::Dpdk { port, idle, programs: setting.programs.clone(), version: "" });
        }
    }
    all.retain(|contestant| options.only.as_ref().is_none_or(|only| contestant.name().contains(only)));
    match &options.only {
        Some(only) if all.is_empty() => Err(BenchError::Nobody(only.clone())),
        _ => Ok(all),
    }
}

/// Huge pages of 2 MB that nobody uses (proc_meminfo(5)).
fn free_huge_pages() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = meminfo.lines().find_map(|line| line.strip_prefix("HugePages_Free:")?.trim().parse().ok());
    free.unwrap_or(0)
}

fn serve_in(namespace: &str, setting: &Setting) -> Result<Running, BenchError> {
    let network = format!("--net=/run/netns/{namespace}");
    let words = ["nsenter", &network, &setting.own.display().to_string(), server::ROLE].map(str::to_owned);
    let mut running = Running::start(&words)?;
    running.wait_for(&["ready"])?;
    Ok(running)
}

/// All loads on one contestant, each a moment after the same without a balancer.
fn duel(
    contestant: &Contestant,
    setting: &Setting,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let silence = ["-n", "lb", "address", "del", "10.0.0.10/24", "dev", "veth6"];
    let speech = ["-n", "lb", "address", "replace", "10.0.0.10/24", "dev", "veth6"];
    if contestant.needs_a_silent_kernel() {
        run("ip", &silence)?;
    }
    let running = contestant.start(setting)?;
    if let Some(running) = &running {
        let before = running.cpu_time();
        let time = 2 * options.time;
        thread::sleep(time);
        figures.add(contestant, "at rest", (running.cpu_time() - before).as_secs_f64() / time.as_secs_f64());
    }
    for load in Load::ALL {
        let alone = load.on(&Contestant::Nobody.addresses(), options.time);
        let balanced = load.on(&contestant.addresses(), options.time);
        figures.add(contestant, &load.name(), balanced.rate / alone.rate);
        figures.add(contestant, &format!("{} rate", load.name()), balanced.rate);
        figures.add(contestant, &format!("{} failed", load.name()), balanced.failed as f64);
        figures.add(&Contestant::Nobody, &format!("{} rate", load.name()), alone.rate);
    }
    drop(running);
    if contestant.needs_a_silent_kernel() {
        run("ip", &speech)?;
    }
    Ok(())
}

/// What came out, by contestant and what of it.
#[derive(Debug, Default)]
struct Figures(BTreeMap<(String, String), Vec<f64>>);

impl Figures {
    fn add(&mut self, contestant: &Contestant, what: &str, figure: f64) {
        self.0.entry((contestant.name(), what.to_owned())).or_default().push(figure);
    }

    fn of(&self, contestant: &Contestant, what: &str) -> Spread {
        Spread::of(self.0.get(&(contestant.name(), what.to_owned())).cloned().unwrap_or_default())
    }

    /// In Markdown, for docs/ends.md.
    fn print(&self, contestants: &[Contestant], options: &Options) {
        println!(
            "Shares of what the same load does without a balancer, which was measured a moment before: medians of {}, and the least and the most. {} s each.\n",
            options.rounds,
            options.time.as_secs_f64()
        );
        let titles: String = Load::ALL.iter().map(|load| format!(" {} |", load.name())).collect();
        println!("| |{titles} CPU at rest |\n|---|{}---:|", "---:|".repeat(Load::ALL.len()));
        for contestant in contestants {
            let shares = Load::ALL.iter().map(|load| format!(" {} |", self.of(contestant, &load.name()).cell(2)));
            let rest = self.of(contestant, "at rest").median * 100.0;
            println!("| {} |{} {rest:.0} % |", contestant.name(), shares.collect::<String>());
        }
        println!("\nRates, medians:\n\n| |{titles} failed |\n|---|{}---:|", "---:|".repeat(Load::ALL.len()));
        for contestant in [&Contestant::Nobody].into_iter().chain(contestants) {
            let rate = |load: &Load| load.told(self.of(contestant, &format!("{} rate", load.name())).median);
            let rates: String = Load::ALL.iter().map(|load| format!(" {} |", rate(load))).collect();
            let failed: f64 = Load::ALL
                .iter()
                .filter_map(|load| self.0.get(&(contestant.name(), format!("{} failed", load.name()))))
                .flatten()
                .sum();
            println!("| {} |{rates} {failed} |", contestant.name());
        }
    }
}
