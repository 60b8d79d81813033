//! The command line: EAL's arguments, `--`, ours. The name that it is called by decides: `base-server` is the
//! walk-through's program and has its settings, everything else wants a configuration file.

use crate::failure::Failure;
use crate::run::Run;
use clap::{Args, Parser, ValueEnum};
use evenkeel_control::config::{self, Config, Kind};
use evenkeel_daemon::{Announcer, LogFormat};
use std::path::{Path, PathBuf};

/// Where connections are kept over a restart if nobody says otherwise.
const DEFAULT_STATE: &str = "/run/evenkeel/dpdk.state";

const EAL_HELP: &str = "\
What stands before -- is for DPDK's EAL (https://doc.dpdk.org/guides/linux_gsg/linux_eal_parameters.html), such as:
  -l 0                            the CPUs to work on, one lcore each
  --vdev=net_tap0,iface=tapdpdk   a TAP device instead of a network card
  -a 0000:03:00.0                 a network card that is bound to a driver for user space
  --no-huge -m 256                without huge pages, with 256 MB of ordinary memory
  --log-level=8                   show what EAL says while it starts

SIGINT (Ctrl-C), SIGTERM and SIGQUIT end it, SIGHUP has the file read again, SIGUSR1 has the log told how things are.

To look at packets: tcpdump sees those of net_tap and net_af_packet on their interface, and none of a network card, which the kernel
does not have. Capture at a client or a backend. What became of packets is told by `evenkeel counters` and `evenkeel flows`.
More: docs/packets.md.";

/// An L4 (TCP/UDP connection) load balancer on DPDK.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel-dpdk",
    version,
    max_term_width = 100,
    override_usage = "evenkeel-dpdk EAL-ARGS -- --config FILE [OPTIONS]",
    after_help = EAL_HELP
)]
struct Daemon {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where `evenkeel status` and its like are answered.
    #[arg(long, value_name = "PATH", default_value = evenkeel_control::api::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// At the end, keep connections for the next start, as for a restart or an upgrade.
    #[arg(long)]
    keep: bool,
    /// Forget the connections that the process before has kept.
    #[arg(long)]
    fresh: bool,
    /// Where they are kept.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STATE)]
    state: PathBuf,
    /// How messages are written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    shared: Shared,
}

/// The walk-through's balancer on DPDK: 10.0.0.10 in front of 10.0.0.2 and 10.0.0.3, any TCP or UDP port, full NAT.
///
/// Runs in the foreground until Ctrl-C or SIGTERM.
#[derive(Debug, Parser)]
#[command(
    name = "base-server",
    version,
    max_term_width = 100,
    override_usage = "base-server EAL-ARGS [-- OPTIONS]",
    after_help = EAL_HELP
)]
struct BaseServer {
    /// Where `evenkeel status` and its like are answered.
    #[arg(long, value_name = "PATH", default_value = evenkeel_control::api::DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Args)]
struct Shared {
    /// What an lcore does when nothing arrives, instead of what the file says.
    #[arg(long, value_enum, value_name = "HOW")]
    idle: Option<Idle>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Idle {
    /// Sleep between polls, up to a millisecond.
    Sleep,
    /// Poll without a pause.
    Poll,
}

/// The program's name, and what its arguments say is to be done.
pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> (&'static str, Result<Run, Failure>) {
    let called = arguments.next().unwrap_or_default();
    let mut eal: Vec<_> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let mut ours: Vec<_> = arguments.collect();
    // EAL would answer these itself, with its own hundreds of lines.
    ours.extend(eal.extract_if(.., |argument| ["-h", "--help", "-V", "--version"].contains(&argument.as_str())));
    if Path::new(&called).file_name() == Some("base-server".as_ref()) {
        ("base-server", base_server(eal, ours))
    } else {
        ("evenkeel-dpdk", daemon(eal, ours))
    }
}

fn base_server(eal: Vec<String>, ours: Vec<String>) -> Result<Run, Failure> {
    let BaseServer { socket, shared } =
        BaseServer::try_parse_from(std::iter::once("base-server".to_owned()).chain(ours))?;
    let mut config = evenkeel_control::walkthrough();
    config.dataplane.max_flows = 1 << 16;
    let run = shared.run(Announcer::new("base-server", LogFormat::Text), eal, config);
    Ok(Run { socket: Some(socket), ..run })
}

fn daemon(eal: Vec<String>, ours: Vec<String>) -> Result<Run, Failure> {
    let Daemon { config: file, socket, keep, fresh, state, log_format, shared } =
        Daemon::try_parse_from(std::iter::once("evenkeel-dpdk".to_owned()).chain(ours))?;
    let config = Config::load(&file)?;
    config.check_kind(&file.display().to_string(), Kind::Dpdk)?;
    let run = shared.run(Announcer::new("evenkeel-dpdk", log_format), eal, config);
    Ok(Run { file: Some(file), socket: Some(socket), state: Some(state), keep, fresh, ..run })
}

impl Shared {
    /// With neither file nor socket, and no memory of connections, as for the walk-through.
    fn run(self, announcer: Announcer, eal: Vec<String>, config: Config) -> Run {
        let idle = match self.idle {
            Some(Idle::Sleep) => config::Idle::Sleep,
            Some(Idle::Poll) => config::Idle::Poll,
            None => config.dataplane.idle,
        };
        let (file, socket, state) = (None, None, None);
        Run { eal, config, idle, file, socket, state, keep: false, fresh: false, announcer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_daemon::Refusal;

    fn read_words(words: &str) -> (&'static str, Result<Run, Failure>) {
        read(words.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_walk_throughs_words_are_all_for_eal() {
        let (name, command) = read_words("./build/base-server -l 0 --vdev=net_tap0,iface=tapdpdk");
        let command = command.expect("it is right");
        assert_eq!((name, command.eal.join(" ")), ("base-server", "-l 0 --vdev=net_tap0,iface=tapdpdk".to_owned()));
        assert_eq!(command.config.services.len(), 2);
    }

    #[test]
    fn options_stand_behind_two_dashes() {
        let (_, command) = read_words("base-server -l 0 -- --idle poll");
        let command = command.expect("it is right");
        // What the command line says is not what the file says: a reload compares files.
        assert_eq!((command.idle, command.config.dataplane.idle), (config::Idle::Poll, config::Idle::Sleep));
        let (_, command) = read_words("base-server -l 0 -- --idle slow");
        assert!(matches!(command, Err(Failure::Refused(Refusal::Wrong(text))) if text.contains("slow")));
        let (name, command) = read_words("evenkeel-dpdk -l 0");
        assert!(
            matches!((name, command), ("evenkeel-dpdk", Err(Failure::Refused(Refusal::Wrong(text)))) if text.contains("--config"))
        );
    }

    #[test]
    fn help_is_ours_wherever_it_is_asked_for() {
        for words in ["base-server --help", "base-server -l 0 -- --help", "evenkeel-dpdk -h"] {
            let (name, command) = read_words(words);
            assert!(
                matches!(command, Err(Failure::Refused(Refusal::Asked(text))) if text.contains(&format!("Usage: {name} EAL-ARGS")))
            );
        }
    }
}
