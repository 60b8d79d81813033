//! The command line. The name that it is called by decides: `xdp_lb` is the walk-through's program, everything else is
//! `evenkeel`. Nothing here that a user of the libraries would miss.

mod ask;
mod error;
mod library;
mod reasons;
mod table;
mod top;
mod version;

use clap::{Parser, Subcommand, ValueEnum};
use error::Failure;
use evenkeel_control::Capacity;
use evenkeel_control::config::{self, Config, Kind};
use evenkeel_control::host::Host;
use evenkeel_daemon::{Announcer, Ending, LogFormat};
use evenkeel_xdp_daemon::{Memory, Run, run};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use version::Version;

/// The XDP program, as `make` has built it.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evenkeel.bpf.o"));

/// How to see what a program does that comes before everything that looks.
pub(crate) const PACKETS: &str = "\
To look at packets: XDP takes and sends them before tcpdump on this host sees any. Capture at a client or a backend, at the
other end of a veth pair, or here with `xdpdump -i IF --rx-capture entry,exit -w FILE` (Debian: xdp-tools). What became of them
is told by `evenkeel counters` and `evenkeel flows`. More: docs/packets.md.";

/// What signals ask of a balancer.
const SIGNALS: &str = "\
SIGINT (Ctrl-C), SIGTERM and SIGQUIT end it, SIGHUP has the file read again, SIGUSR1 has the log told how things are.";

/// An L4 (TCP/UDP connection) load balancer.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, max_term_width = 100)]
struct Evenkeel {
    #[command(flatten)]
    socket: ask::Socket,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance what a configuration file says, in the foreground, until Ctrl-C or SIGTERM.
    ///
    /// The program and the connections of an evenkeel that was killed, or was run with --keep, are taken over.
    #[command(after_help = format!("{SIGNALS}\n\n{PACKETS}"))]
    Run {
        /// The configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The network interface, instead of the one that the file names.
        #[arg(long, value_name = "IF")]
        interface: Option<String>,
        /// Where the program runs, instead of where the file says.
        #[arg(long, value_enum, value_name = "MODE")]
        xdp_mode: Option<XdpMode>,
        /// How messages are written.
        #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
        log_format: LogFormat,
        /// Leave the program and the connections at work at the end, for the next evenkeel to take over.
        #[arg(long)]
        keep: bool,
        /// Forget the connections of an evenkeel that was here before.
        #[arg(long)]
        fresh: bool,
    },
    /// Say everything that is wrong with a configuration file, with line and column; or if nothing is, what it can carry.
    ///
    /// Ends with 0 if nothing is, with 2 otherwise.
    Check {
        /// The configuration file (TOML).
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    #[command(flatten)]
    Ask(ask::Ask),
    /// Watch a running balancer live: services, backends, rates, drops. Keys: q quits, ? helps.
    ///
    /// Needs a terminal of at least 40 columns and 10 lines; without one it ends with 2, unless it is asked for --once.
    /// NO_COLOR is honoured.
    Top(top::Top),
    /// Describe every key of the configuration file, as a Markdown page.
    Reference {
        /// As a JSON Schema, for editors.
        #[arg(long)]
        schema: bool,
    },
    /// List the reasons that a packet's verdict can have.
    Reasons {
        /// As a Markdown page.
        #[arg(long)]
        markdown: bool,
    },
    /// Print the version, the commit, the planes of this build, the layout of its tables, and the kernel's release.
    Version(ask::Format),
}

/// The walk-through's balancer: 10.0.0.10 in front of 10.0.0.2 and 10.0.0.3, any TCP or UDP port, full NAT.
///
/// Runs in the foreground until Ctrl-C, SIGTERM or `ip link set dev IFACE xdpgeneric off`.
#[derive(Debug, Parser)]
#[command(name = "xdp_lb", version, max_term_width = 100, after_help = PACKETS)]
struct XdpLb {
    #[command(flatten)]
    socket: ask::Socket,
    /// The network interface.
    #[arg(value_name = "IFACE")]
    interface: String,
    /// Where the program runs.
    #[arg(long, value_enum, value_name = "MODE", default_value = "generic")]
    xdp_mode: XdpMode,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdpMode {
    /// Native where it works, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In front of the network stack.
    Generic,
}

impl From<XdpMode> for config::XdpMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Auto => Self::Auto,
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let (announcer, outcome) = if called == "xdp_lb" {
        let announcer = Announcer::new("xdp_lb", LogFormat::Text);
        (announcer, XdpLb::try_parse().map_err(Failure::from).and_then(|arguments| xdp_lb(announcer, arguments)))
    } else {
        let arguments = Evenkeel::try_parse();
        let log_format = match &arguments {
            Ok(Evenkeel { command: Command::Run { log_format, .. }, .. }) => *log_format,
            _ => LogFormat::Text,
        };
        let announcer = Announcer::new("evenkeel", log_format);
        (announcer, arguments.map_err(Failure::from).and_then(|arguments| evenkeel(announcer, arguments)))
    };
    ExitCode::from(match outcome {
        Ok(()) => Ending::Good.exit_code(),
        Err(failure) => failure.ending().with_words(announcer, &failure),
    })
}

fn xdp_lb(announcer: Announcer, arguments: XdpLb) -> Result<(), Failure> {
    let mut config = evenkeel_control::walkthrough();
    config.dataplane.max_flows = 1 << 16;
    run(&Run {
        object: OBJECT,
        config,
        interface: arguments.interface,
        mode: arguments.xdp_mode.into(),
        file: None,
        socket: Some(arguments.socket.socket),
        memory: Memory::None,
        keep: false,
        announcer,
    })?;
    Ok(())
}

fn evenkeel(announcer: Announcer, arguments: Evenkeel) -> Result<(), Failure> {
    match arguments.command {
        Command::Run { config: file, interface, xdp_mode, keep, fresh, .. } => {
            let config = Config::load(&file)?;
            config.check_kind(&file.display().to_string(), Kind::Xdp)?;
            let interface = interface.or_else(|| config.dataplane.interface.clone()).ok_or(Failure::NoInterface)?;
            let mode = xdp_mode.map_or(config.dataplane.xdp_mode, Into::into);
            let socket = Some(arguments.socket.socket);
            let memory = if fresh { Memory::Fresh } else { Memory::Inherit };
            let file = Some(file);
            run(&Run { object: OBJECT, config, interface, mode, file, socket, memory, keep, announcer })?;
            Ok(())
        }
        Command::Check { config: path } => {
            let config = Config::load(&path)?;
            let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
            println!("{}: right (services: {}, backends: {backends})", path.display(), config.services.len());
            println!("{}", Capacity::of(&config));
            // On DPDK full NAT sends from a port that no program of the host has.
            let host = if config.dataplane.kind == Some(Kind::Dpdk) { Host::default() } else { Host::here() };
            if let Some(collision) = host.collision(&config.nat) {
                println!("weak: {collision}");
            }
            for weak in [host.shared_origin(&config), host.swallowed_answers(&config)].into_iter().flatten() {
                println!("weak: {weak}");
            }
            Ok(())
        }
        Command::Ask(question) => ask::ask(announcer, &arguments.socket, question),
        Command::Top(how) => top::top(&arguments.socket, how),
        Command::Reference { schema } => {
            if schema {
                println!("{:#}", config::reference::schema());
            } else {
                print!("{}", config::reference::markdown());
            }
            Ok(())
        }
        Command::Reasons { markdown } => {
            print!("{}", if markdown { reasons::markdown() } else { reasons::plain() });
            Ok(())
        }
        Command::Version(format) => {
            print!("{}", format.text(&Version::here(OBJECT))?);
            Ok(())
        }
    }
}
