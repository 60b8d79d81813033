//! Another configuration: putting it in force, or only saying what it would change.

use super::admission::serving;
use super::change::{Change, describe, moved_share};
use super::notes::Note;
use super::wanted::Operator;
use crate::balancer::BalancerError;
use crate::config::{BackendId, Config, ConfigError, Dataplane, Service, ServiceId};
use crate::plane::Plane;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Why a reload was refused. The configuration that was in force still is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError<E: std::error::Error + 'static> {
    /// There is no file: the settings are built in.
    #[error("there is no configuration file to read again: the settings are the program's own.")]
    NoFile,
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file is right, but cannot be put in force while the balancer runs.
    #[error(transparent)]
    Balancer(#[from] BalancerError<E>),
    /// Something changed that is settled at the start.
    #[error("[{section}] cannot be changed while the balancer runs: stop it and start it again.")]
    Fixed {
        /// Where in the file.
        section: &'static str,
    },
}

impl<P: Plane> Operator<P> {
    /// Reads the configuration file again and puts it in force: all of it or nothing.
    ///
    /// # Errors
    /// The file is wrong, or wants what cannot be had while the balancer runs.
    pub fn reload(&mut self) -> Result<Vec<Change>, ReloadError<P::Error>> {
        self.reload_by(None)
    }

    /// The same by somebody's order, who is named in the log.
    ///
    /// # Errors
    /// As for [`Operator::reload`].
    pub fn reload_by(&mut self, by: Option<String>) -> Result<Vec<Change>, ReloadError<P::Error>> {
        let before = self.take_notes();
        let outcome = self.read_again().and_then(|config| self.replace(config));
        self.reloads.note(outcome.is_ok());
        let told = outcome.as_ref().map(Vec::clone).map_err(ToString::to_string);
        self.reloaded = Some(told.clone());
        // What follows from it is told after it.
        let following = self.take_notes();
        before.into_iter().for_each(|note| self.note(note));
        self.note(Note::Reloaded { by, outcome: told });
        following.into_iter().for_each(|note| self.note(note));
        outcome
    }

    /// What came of the last reload, if there was one since this was asked.
    pub fn take_reloaded(&mut self) -> Option<Result<Vec<Change>, String>> {
        self.reloaded.take()
    }

    /// The same without putting it in force.
    ///
    /// # Errors
    /// As for [`Operator::reload`], as far as it can be told beforehand.
    pub fn rehearse(&self) -> Result<Vec<Change>, ReloadError<P::Error>> {
        let config = self.read_again()?;
        self.check_fixed(&config)?;
        self.balancer.check_room(&config)?;
        self.changes(&config)
    }

    /// Puts a configuration in force: all of it or nothing.
    ///
    /// # Errors
    /// It wants what cannot be had while the balancer runs.
    pub fn replace(&mut self, config: Config) -> Result<Vec<Change>, ReloadError<P::Error>> {
        self.check_fixed(&config)?;
        let changes = self.changes(&config)?;
        let (orders, health) = self.outlasting(&config);
        self.remember_names();
        let before = (
            std::mem::replace(&mut self.config, config),
            std::mem::replace(&mut self.orders, orders),
            std::mem::replace(&mut self.health, health),
        );
        if let Err(error) = self.enforce() {
            // Refused before anything was changed, or the kernel failed half-way: back to what was in force.
            (self.config, self.orders, self.health) = before;
            let _ = self.enforce();
            return Err(error.into());
        }
        Ok(changes)
    }

    fn read_again(&self) -> Result<Config, ReloadError<P::Error>> {
        let path = self.path.as_ref().ok_or(ReloadError::NoFile)?;
        Ok(Config::load(path)?)
    }

    fn check_fixed(&self, config: &Config) -> Result<(), ReloadError<P::Error>> {
        // The one thing of it that can: tables grow.
        let max_flows = config.dataplane.max_flows;
        if config.dataplane != (Dataplane { max_flows, ..self.config.dataplane.clone() }) {
            return Err(ReloadError::Fixed { section: "dataplane" });
        }
        if config.metrics != self.config.metrics {
            return Err(ReloadError::Fixed { section: "metrics" });
        }
        if config.nat != self.config.nat {
            return Err(ReloadError::Fixed { section: "nat" });
        }
        Ok(())
    }

    fn changes(&self, config: &Config) -> Result<Vec<Change>, ReloadError<P::Error>> {
        let census = self.census().map_err(BalancerError::Plane)?;
        let flows: HashMap<BackendId, u64> =
            self.balancer.backends().map(|view| (view.id, census.living(view.reference))).collect();
        let flows_of = |backend: &BackendId| flows.get(backend).copied().unwrap_or(0);

        let by_id = |config: &Config| -> BTreeMap<ServiceId, Service> {
            config.services.iter().map(|service| (service.id(), service.clone())).collect()
        };
        // Compared is what is in force, orders and all, with what would be.
        let (before, after) = (by_id(&self.wanted(&self.config)), by_id(config));
        let (orders, health) = self.outlasting(config);
        let mut changes = Vec::from_iter(dataplane_change(&self.config.dataplane, &config.dataplane));
        for (key, old) in &before {
            if !after.contains_key(key) {
                let draining_flows = old.backend_ids().map(|backend| flows_of(&backend)).sum();
                changes.push(Change {
                    service: old.name.clone(),
                    what: "removed, and its new connections are nobody's".to_owned(),
                    moved_share: 0.0,
                    draining_flows,
                });
            }
        }
        for (key, new) in &after {
            let Some(old) = before.get(key) else {
                changes.push(Change {
                    service: new.name.clone(),
                    what: "added".to_owned(),
                    moved_share: 0.0,
                    draining_flows: 0,
                });
                continue;
            };
            if old == new {
                continue;
            }
            let kept: HashSet<_> = new.backend_ids().collect();
            let draining_flows =
                old.backend_ids().filter(|backend| !kept.contains(backend)).map(|backend| flows_of(&backend)).sum();
            let (before, after) = (serving(old, &self.orders, &self.health), serving(new, &orders, &health));
            let moved_share = moved_share((old, &before), (new, &after));
            changes.push(Change { service: new.name.clone(), what: describe(old, new), moved_share, draining_flows });
        }
        Ok(changes)
    }
}

/// What of `[dataplane]` changes that can.
fn dataplane_change(old: &Dataplane, new: &Dataplane) -> Option<Change> {
    let (before, after) = (old.max_flows, new.max_flows);
    // Connections might have no place in a smaller table.
    let when = if after < before { "; the table stays as large as it is until a start with --fresh" } else { "" };
    (before != after).then(|| Change {
        service: Change::DATAPLANE.to_owned(),
        what: format!("max-flows from {before} to {after}{when}"),
        moved_share: 0.0,
        draining_flows: 0,
    })
}
