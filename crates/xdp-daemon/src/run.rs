//! The balancer in the foreground, on XDP.

use crate::announce;
use crate::error::RunError;
use crate::next_hops::NextHops;
use crate::watch::{End, Watch};
use evenkeel_control::config::{Config, XdpMode};
use evenkeel_control::daemon::Daemon;
use evenkeel_control::host::Host;
use evenkeel_control::operator::Port;
use evenkeel_control::{Operator, Plane, Secrets};
use evenkeel_daemon::{Announcer, SetupError, Stop};
use evenkeel_xdp::netlink::{self, News};
use evenkeel_xdp::{Claim, HostAddresses, Interface, Memory, Neighbours, Start, Started, reply_routes};
use std::path::PathBuf;

/// What shall be done.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The object that `crates/ebpf` builds.
    pub object: &'a [u8],
    /// What is balanced.
    pub config: Config,
    /// The network interface.
    pub interface: String,
    /// Where the program runs.
    pub mode: XdpMode,
    /// Where the configuration was read from, to be read again; without it a reload is refused.
    pub file: Option<PathBuf>,
    /// Where questions are answered, if anywhere. If settings are built in and the place is taken, that is said, and no failure.
    pub socket: Option<PathBuf>,
    /// Where the tables come from.
    pub memory: Memory,
    /// Whether program and tables stay at work at the end.
    pub keep: bool,
    /// Who says what happens.
    pub announcer: Announcer,
}

/// Balances until Ctrl-C, SIGTERM or somebody else's taking the program away. To be called outside of a runtime.
///
/// # Errors
/// It cannot begin, or cannot go on.
pub fn run(run: &Run<'_>) -> Result<(), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    run.announcer.say_panics();
    let ended = runtime.block_on(balance(run));
    run.announcer.finish();
    ended
}

async fn balance(run: &Run<'_>) -> Result<(), RunError> {
    let Run { object, config, interface, mode, file, socket, memory, keep, announcer } = run;
    let announcer = *announcer;
    if file.is_some() {
        announcer.begin_log();
    }
    let mut stop = Stop::new().map_err(SetupError::of("signals"))?;
    let netlink = netlink::connect().map_err(SetupError::of("netlink"))?;
    let news = News::listen().map_err(SetupError::of("netlink"))?;

    let claim = Claim::take(Interface::find(&netlink, interface).await?)?;
    let interface = claim.interface();
    let secrets = Secrets::random().map_err(SetupError::of("random secrets"))?;
    let start = Start { object, config, secrets, memory: *memory };
    let Started { balancer, inherited, larger, unnamed } = evenkeel_xdp::start(&claim, start)?;
    match unnamed {
        Some(reason) if *keep => return Err(reason.into()),
        Some(reason) => announcer.say(&format!("warning: {reason}")),
        None => {}
    }
    if let Some(flows) = larger {
        announcer.say(&format!(
            "the flow table stays as large as it was made, for {flows} connections; --fresh makes it anew, and forgets them."
        ));
    }
    let mut operator = Operator::new(balancer, "xdp", config.clone(), file.clone())?;
    if let Some(vrf) = &interface.vrf {
        // Where routes to backends are, and where they answer to.
        operator.check_by(Some(&vrf.name));
        announcer.say(&format!(
            "{} is in the VRF {}: routes are those of its table {}, and checks leave by it.",
            interface.name, vrf.name, vrf.table
        ));
    }
    announcer.services(config);
    // Whoever has no file has nothing to change.
    if let Some(collision) = file.as_ref().and_then(|_| Host::here().collision(&config.nat)) {
        announcer.say(&format!("warning: {collision}"));
    }

    let mut neighbours = Neighbours::new(netlink.clone(), interface, &config.nat.addresses);
    let mut hops = NextHops::new(announcer);
    if config.follows_routes() {
        // Before the first packet: a connection keeps the way for answers that it began with.
        operator.balancer_mut().set_reply_routes(reply_routes(&netlink, interface).await?);
    }
    tokio::select! {
        resolved = hops.resolve(&mut neighbours, &mut operator) => resolved?,
        _ = stop.asked() => {
            if !keep {
                claim.give_up(&netlink).await?;
            }
            return Ok(());
        }
    }
    // Before the first packet: what is for the host's kernel must not be refused.
    let host = HostAddresses::find(&netlink).await?;
    operator.balancer_mut().plane_mut().set_host_addresses(host.all())?;
    let required = socket.as_deref().filter(|_| file.is_some());
    let mut daemon = Daemon::begin(operator, required).await?;
    if let (Some(path), None) = (socket, required) {
        announcer.unasked(daemon.answer_at(path));
    }
    let attachment = claim.attach(&netlink, *mode, daemon.operator().balancer().plane()).await?;
    let (name, mode) = (attachment.interface().name.clone(), attachment.mode().to_string());
    let why = attachment.fallback().map(str::to_owned);
    daemon.operator_mut().works_at(Port { interface: name, mode, why });
    announcer.notes(&daemon.take_notes());
    announce::veth_traps(announcer, attachment.interface(), attachment.mode());
    announce::ready(announcer, &attachment, inherited);
    daemon.is_ready();

    let ended = Watch::new(netlink.clone(), news, &attachment, hops, neighbours, host, &mut daemon)
        .until_stopped(&mut stop)
        .await;
    // A new connection: what the one before had was under way has no answer any more.
    let netlink = netlink::connect().unwrap_or(netlink);
    let counters = daemon.operator().balancer().plane().counters();
    match ended {
        End::Asked(signal) if *keep => {
            attachment.leave();
            announcer.say(&format!(
                "stopped by {signal}; program and connections are left at work, for the next evenkeel to take over."
            ));
        }
        End::Asked(signal) => {
            attachment.detach(&netlink).await?;
            announcer.say(&format!("stopped by {signal}; the program is detached."));
        }
        End::Detached => {
            attachment.lost()?;
            announcer.say("the program was detached by somebody else; stopped.");
        }
        End::InterfaceGone(name) => {
            attachment.lost()?;
            return Err(RunError::InterfaceGone(name));
        }
        // The program would only lose what is sent to it.
        End::MacChanged(name) => {
            attachment.detach(&netlink).await?;
            return Err(RunError::MacChanged(name));
        }
    }
    announcer.totals(&counters?);
    Ok(())
}
