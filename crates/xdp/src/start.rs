//! How a process comes by its tables: new ones, or those that another one has left.

use crate::bpffs;
use crate::claim::Claim;
use crate::error::XdpError;
use crate::estate::Estate;
use crate::pinned::{HERITABLE, PRIVATE, Staging};
use crate::plane::{Surroundings, XdpPlane};
use crate::state::{STATE, State};
use evenkeel_control::{Balancer, Config, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_core::{Features, Settings};

/// What becomes of connections when processes end and begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The tables are this process's own, and nobody finds them afterwards.
    None,
    /// The tables of a process that is gone are taken over, and this one's can be.
    Inherit,
    /// The tables of a process that is gone are forgotten; this one's can be taken over.
    Fresh,
}

/// What a start needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The object that `crates/ebpf` builds.
    pub object: &'a [u8],
    /// The configuration. It is not applied here; what cannot be changed later is taken from it.
    pub config: &'a Config,
    /// The secrets, if the tables are new and the configuration does not say.
    pub secrets: Secrets,
    /// Which tables.
    pub memory: Memory,
}

/// A balancer whose program is loaded and not attached.
#[expect(missing_debug_implementations, reason = "the plane has none")]
pub struct Started {
    /// The balancer, with what the tables hold.
    pub balancer: Balancer<XdpPlane>,
    /// Whether the tables are those of a process before.
    pub inherited: bool,
    /// The connections that a flow table was made for, if those are more than the configuration says: it does not shrink,
    /// since connections might have no place.
    pub larger: Option<u32>,
    /// Why nobody will be able to take them over, where that was wanted and cannot be had.
    pub unnamed: Option<XdpError>,
}

/// Loads the program over the tables that it shall have. Until it is attached, a program that was left behind works on, and
/// if this process ends before, it can still be taken over by another.
///
/// # Errors
/// The program cannot be loaded; or the tables that are there are not those that are wanted: nothing was changed.
pub fn start(claim: &Claim, start: Start<'_>) -> Result<Started, XdpError> {
    let Start { object, config, mut secrets, memory } = start;
    let interface = claim.interface();
    let mut sizes = Sizes::for_config(config);
    let mut had = sizes;
    let estate = if memory == Memory::Inherit { claim.estate() } else { None };
    if let Some(estate) = &estate {
        let state = estate.check(interface, config)?;
        (had, secrets) = (state.sizes(), state.secrets());
        sizes = estate.grown(had, config)?;
    }
    let secrets = secrets.of(config);
    // Other idle times are another program, and exchanging one that is not attached yet would make no sense.
    let services = estate.as_ref().map(Estate::services).unwrap_or_default();
    let timeouts = evenkeel_control::timeouts(config, &services);
    let settings = Settings { timeouts, ..sizes.settings(config, &secrets, interface.mac, IdleTimes::DEFAULT) };
    let heritable = memory != Memory::None;

    // First, because it tells whether we may make maps at all.
    let state = State::new(interface, &sizes, &secrets, &config.nat, heritable)?.store()?;
    let names: &[_] = if heritable { &HERITABLE } else { &PRIVATE };
    let (mut staging, mut unnamed) = (None, None);
    match bpffs::ready().and_then(|()| Staging::begin(interface, claim.pins_in_force(), names)) {
        Ok(begun) => staging = Some(begun),
        // Without names the loader cannot be given the tables that are there.
        Err(error @ (XdpError::NoBpffs { .. } | XdpError::ForeignHome { .. })) if estate.is_none() => {
            unnamed = Some(error)
        }
        Err(error) if !heritable => unnamed = Some(error),
        Err(error) => return Err(error),
    }
    if let Some(pins) = staging.as_ref().map(Staging::pins) {
        pins.add(STATE, |path| state.pin(path))?;
        if let Some(estate) = &estate {
            estate.pin(pins, &had, &sizes)?;
        }
    }
    // Who cannot exchange the program later has one that can do everything, but for IPv6: its table could not grow.
    let all = if config.has_ipv6() { Features::ALL } else { Features::ALL.without(Features::IPV6) };
    let features = if staging.is_some() && heritable { evenkeel_control::features(config) } else { all };
    // Of a service that has left the file there may be connections.
    let backends = estate.as_ref().map(Estate::backends).transpose()?.unwrap_or_default();
    let features =
        if backends.iter().any(|backend| backend.address.is_ipv6()) { features | Features::IPV6 } else { features };
    let keeps = heritable.then_some(&state);
    let outgrown = estate.as_ref().map(|estate| estate.outgrown(had, &sizes)).transpose()?.flatten();
    let surroundings = Surroundings { staging, keeps, outgrown, ..Surroundings::default() };
    let plane = XdpPlane::load_at(object, sizes, settings, &config.nat.addresses, features, surroundings)?;
    let inherited = estate.is_some();
    let balancer =
        if inherited { Balancer::adopt(plane, &secrets, config.nat.clone())? } else { Balancer::new(plane, &secrets) };
    let wanted = Sizes::for_config(config);
    let larger = [(sizes.flows, wanted.flows), (sizes.wide_flows, wanted.wide_flows)];
    let larger = larger.into_iter().find_map(|(is, wanted)| (is > wanted).then_some(is));
    Ok(Started { balancer, inherited, larger, unnamed })
}
