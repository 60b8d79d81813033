//! The groups in which we are asked for our addresses of IPv6, told to switches and routers: a switch that listens to this hands
//! questions for our addresses to others only (RFC 4541, section 3; RFC 4861, section 7.2.1).

use super::discovery::Speaker;
use evenkeel_wire::Ipv6Address;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

/// A new group is told so often, since nobody says that he has heard (RFC 3810, section 9.1: Robustness Variable), and this far
/// apart (section 9.11: Unsolicited Report Interval).
const REPORTS: u32 = 2;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// So many fit into the shortest packet that every link of IPv6 carries (RFC 8200, section 5).
const GROUPS_A_PACKET: usize = 50;

/// Groups that we are in.
#[derive(Debug)]
pub(super) struct Groups {
    members: BTreeSet<Ipv6Addr>,
    /// Groups to be told.
    due: BTreeMap<Ipv6Addr, Report>,
    /// The version in which we were asked last.
    version: u8,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    joins: bool,
    left: u32,
    at: Duration,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self { members: BTreeSet::new(), due: BTreeMap::new(), version: 2 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The groups, that of all hosts not among them: nobody asks for that one.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.members.iter().copied()
    }

    /// Makes the groups for these addresses those that we are in.
    pub(super) fn set(&mut self, addresses: impl Iterator<Item = Ipv6Addr>, now: Duration) {
        let members = addresses.map(|address| Ipv6Address::from(address).solicited_node().into()).collect();
        let before = std::mem::replace(&mut self.members, members);
        self.due.retain(|group, _| self.members.contains(group));
        for group in self.members.difference(&before) {
            self.due.insert(*group, Report { joins: true, left: REPORTS, at: now });
        }
    }

    /// There may be another switch: tell all.
    pub(super) fn renew(&mut self, now: Duration) {
        self.due = self.members.iter().map(|&group| (group, Report { joins: true, left: REPORTS, at: now })).collect();
    }

    /// Somebody asks for a group, or for all.
    pub(super) fn asked(&mut self, version: u8, group: Option<Ipv6Addr>, now: Duration) {
        self.version = version;
        let report = Report { joins: false, left: 1, at: now };
        for member in self.members.iter().filter(|member| group.is_none_or(|group| group == **member)) {
            self.due.entry(*member).or_insert(report);
        }
    }

    /// What is to be told at this time, in a few packets at most; what does not fit waits for the next time.
    pub(super) fn tick(&mut self, now: Duration, packets: usize, speaker: Speaker<'_>) -> Vec<Vec<u8>> {
        let room = if self.version == 1 { packets } else { packets * GROUPS_A_PACKET };
        let due = self.due.iter_mut().filter(|(_, report)| report.at <= now).take(room);
        let told: Vec<_> = due
            .map(|(&group, report)| {
                (report.left, report.at) = (report.left - 1, now + REPORT_INTERVAL);
                (group, report.joins)
            })
            .collect();
        self.due.retain(|_, report| report.left > 0);
        if self.version == 1 {
            return told.into_iter().map(|(group, _)| speaker.group(group)).collect();
        }
        let (new, old): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, joins)| *joins);
        let packets = [(new, true), (old, false)].into_iter().flat_map(|(groups, joins)| {
            let groups: Vec<_> = groups.into_iter().map(|(group, _)| group).collect();
            groups.chunks(GROUPS_A_PACKET).map(|groups| speaker.groups(groups, joins)).collect::<Vec<_>>()
        });
        packets.collect()
    }
}
