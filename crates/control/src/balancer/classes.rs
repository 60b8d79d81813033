//! Which number each service's idle times have. An entry of the flow table holds the number, and not the times, so a number must
//! not come to mean another service's times while connections live that have it.

use super::keys::by_service;
use crate::config::{Config, ServiceId};
use evenkeel_core::flow::{IDLE_CLASSES, IdleTimes, Timeouts};
use evenkeel_core::{Service, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};

/// The idle times of a configuration as a balancer puts them in force that finds these services in its tables: for a plane
/// that has to know them before that.
pub fn timeouts(config: &Config, before: &[(ServiceKey, Service)]) -> Timeouts {
    let (mut classes, mut had) = (Classes::default(), Numbers::new());
    for (id, service) in by_service(before) {
        classes.note(service.idle.into(), id);
        had.insert(id, service.idle.into());
    }
    classes.assign(config, |id| had.get(id).copied()).0.timeouts()
}

/// What the numbers mean, and whose connections may have them.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    classes: [Class; IDLE_CLASSES],
    /// Counts assignments, to tell for how long nobody has had a number.
    turn: u64,
}

#[derive(Clone, Debug, Default)]
struct Class {
    /// Nothing if it was never used, or another process has used it and we know for whom only.
    times: Option<IdleTimes>,
    /// Services that have it, or have had it: their connections may still be there.
    users: BTreeSet<ServiceId>,
    /// The last turn in which a service had it.
    last: u64,
}

impl Classes {
    /// Notes that a process before has given a service this number.
    pub(super) fn note(&mut self, number: usize, service: ServiceId) {
        if let Some(class) = self.classes.get_mut(number) {
            class.users.insert(service);
        }
    }

    /// Gives every service a number for its times. `had` are the numbers that they have now. A file has no more sets than
    /// there are numbers.
    ///
    /// A service keeps its number if that means what it wants; and also if it wants something new and the number is its own, so
    /// that its connections follow. Otherwise it gets another one, and its connections stay with what they began with.
    pub(super) fn assign(&self, config: &Config, had: impl Fn(&ServiceId) -> Option<usize>) -> (Self, Numbers) {
        let wanted: BTreeMap<_, _> = config.services.iter().map(|service| (service.id(), service.idle)).collect();
        let mut next = Self { turn: self.turn + 1, ..self.clone() };
        let mut numbers = Numbers::new();
        for number in 0..IDLE_CLASSES {
            let have: Vec<_> = wanted.iter().filter(|(id, _)| had(id) == Some(number)).collect();
            let Some(times) = next.classes[number].kept(&have, &wanted) else { continue };
            for (id, _) in have.iter().filter(|(_, own)| **own == times) {
                next.give(number, times, **id, &mut numbers);
            }
        }
        for (id, times) in &wanted {
            if !numbers.contains_key(id) {
                let number = next.find(*times, &mut numbers);
                next.give(number, *times, *id, &mut numbers);
            }
        }
        (next, numbers)
    }

    /// What the packet path reads. Nobody has a number that was never given.
    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts::new(&std::array::from_fn(|number| self.classes[number].times.unwrap_or(IdleTimes::DEFAULT)))
    }

    fn give(&mut self, number: usize, times: IdleTimes, service: ServiceId, numbers: &mut Numbers) {
        let class = &mut self.classes[number];
        if class.times != Some(times) {
            // What lived by other times lives by these from now on.
            class.times = Some(times);
        }
        class.users.insert(service);
        class.last = self.turn;
        numbers.insert(service, number);
    }

    /// A number for these times: one that means them; or one that nobody has had, the first of them rather for the defaults; or
    /// the one that nobody has had for longest.
    fn find(&mut self, times: IdleTimes, numbers: &mut Numbers) -> usize {
        let all = || 0..IDLE_CLASSES;
        if let Some(number) = all().find(|&number| self.classes[number].times == Some(times)) {
            return number;
        }
        let is_new = |number: &usize| self.classes[*number].times.is_none() && self.classes[*number].users.is_empty();
        let first = if times == IdleTimes::DEFAULT { 0 } else { 1 };
        if let Some(number) = (first..IDLE_CLASSES).chain(0..first).find(is_new) {
            return number;
        }
        let is_free = |number: &usize| self.classes[*number].last != self.turn;
        let number = match all().filter(is_free).min_by_key(|&number| self.classes[number].last) {
            Some(number) => number,
            None => self.join(numbers),
        };
        self.classes[number].users.clear();
        number
    }

    /// Frees one of two numbers that mean the same: there are such if all are taken, since there are no more sets than numbers.
    fn join(&self, numbers: &mut Numbers) -> usize {
        let twin = |number: &usize| {
            let same = |other: &usize| self.classes[*other].times == self.classes[*number].times;
            (0..*number).find(same)
        };
        let Some(number) = (0..IDLE_CLASSES).rfind(|number| twin(number).is_some()) else { return 0 };
        let kept = twin(&number).unwrap_or_default();
        numbers.values_mut().filter(|it| **it == number).for_each(|it| *it = kept);
        number
    }
}

/// The numbers of services.
pub(super) type Numbers = BTreeMap<ServiceId, usize>;

impl Class {
    /// What the number means from now on to those who have it; nothing if it is for none of them.
    fn kept(&self, have: &[(&ServiceId, &IdleTimes)], wanted: &BTreeMap<ServiceId, IdleTimes>) -> Option<IdleTimes> {
        let is_wanted = |times: &IdleTimes| have.iter().any(|(_, own)| *own == times);
        match self.times {
            Some(times) if is_wanted(&times) => Some(times),
            // Somebody else's connections may live by it, even if he has left.
            Some(_) => {
                let (_, first) = have.first()?;
                let follows = |user: &ServiceId| wanted.get(user) == Some(*first);
                self.users.iter().all(follows).then_some(**first)
            }
            // What it meant is not known: most likely what most of them want.
            None => {
                let votes = |times: &IdleTimes| have.iter().filter(|(_, own)| *own == times).count();
                have.iter().rev().max_by_key(|(_, own)| votes(own)).map(|(_, own)| **own)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walkthrough;
    use proptest::prelude::*;

    fn times(seconds: u32) -> IdleTimes {
        IdleTimes { established: seconds * 1000, ..IdleTimes::DEFAULT }
    }

    const DEFAULT: u32 = 7440;

    /// Services by port, with the seconds that their established connections may be idle.
    fn config(services: &[(u16, u32)]) -> Config {
        let mut config = walkthrough();
        let any = config.services.remove(0);
        let service = |&(port, seconds): &(u16, u32)| {
            let mut service = any.clone();
            (service.port, service.idle) = (port, times(seconds));
            service
        };
        config.services = services.iter().map(service).collect();
        config
    }

    /// A process, and the numbers that its tables say.
    #[derive(Default)]
    struct Process {
        classes: Classes,
        numbers: Numbers,
    }

    impl Process {
        /// The numbers of the services, in their order.
        fn apply(&mut self, services: &[(u16, u32)]) -> Vec<usize> {
            let config = config(services);
            let (classes, numbers) = self.classes.assign(&config, |id| self.numbers.get(id).copied());
            for service in &config.services {
                assert_eq!(classes.classes[numbers[&service.id()]].times, Some(service.idle), "{services:?}");
            }
            (self.classes, self.numbers) = (classes, numbers);
            config.services.iter().map(|service| self.numbers[&service.id()]).collect()
        }

        /// What the next one finds.
        fn adopt(&self) -> Self {
            let mut classes = Classes::default();
            self.numbers.iter().for_each(|(id, number)| classes.note(*number, *id));
            Self { classes, numbers: self.numbers.clone() }
        }

        fn seconds(&self, number: usize) -> u32 {
            self.classes.classes[number].times.map_or(0, |times| times.established / 1000)
        }
    }

    #[test]
    fn equal_times_have_one_number_and_the_defaults_the_first() {
        assert_eq!(Process::default().apply(&[(1, 60), (2, DEFAULT), (3, 90), (4, 60), (5, DEFAULT)]), [1, 0, 2, 1, 0]);
        let eight: Vec<_> = (1..=8).map(|port| (port, 60 + u32::from(port))).collect();
        assert_eq!(Process::default().apply(&eight), [1, 2, 3, 4, 5, 6, 7, 0], "eight sets have room");
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let mut process = Process::default();
        process.apply(&[(1, 60), (2, 90), (3, DEFAULT)]);
        assert_eq!(process.apply(&[(2, 90), (4, 120), (3, DEFAULT), (1, 60)]), [2, 3, 0, 1]);
        assert_eq!(process.adopt().apply(&[(3, DEFAULT), (1, 60), (4, 120), (2, 90)]), [0, 1, 3, 2]);
    }

    #[test]
    fn a_change_is_followed_by_the_connections_of_whoever_is_alone() {
        let mut process = Process::default();
        process.apply(&[(1, 60), (2, 90)]);
        assert_eq!(process.apply(&[(1, 600), (2, 90)]), [1, 2], "in place");
        assert_eq!(process.apply(&[(1, DEFAULT), (2, 90)]), [1, 2]);
        assert_eq!(process.adopt().apply(&[(1, 30), (2, 90)]), [1, 2], "between two processes as well");
        // All that share it together.
        let mut process = Process::default();
        process.apply(&[(1, 60), (2, 60)]);
        assert_eq!(process.apply(&[(1, 90), (2, 90)]), [1, 1]);
    }

    #[test]
    fn a_change_leaves_those_alone_who_share_a_number() {
        let mut process = Process::default();
        process.apply(&[(1, DEFAULT), (2, DEFAULT), (3, DEFAULT)]);
        assert_eq!(process.apply(&[(1, DEFAULT), (2, 60), (3, DEFAULT)]), [0, 1, 0]);
        assert_eq!(process.seconds(0), DEFAULT);
        // Also those that have left: their last connections are still there.
        assert_eq!(process.apply(&[(1, 90)]), [2]);
        assert_eq!((process.seconds(0), process.seconds(1)), (DEFAULT, 60));
        // Whoever takes over does not know what it meant, and believes the most.
        let mut process = Process::default();
        process.apply(&[(1, 60), (2, 60), (3, 60)]);
        assert_eq!(process.adopt().apply(&[(1, 90), (2, 60), (3, 60)]), [2, 1, 1]);
    }

    #[test]
    fn numbers_are_given_again_when_all_are_taken() {
        let mut process = Process::default();
        for round in 0..30 {
            let seconds = 100 + round;
            // Each time another service, so nothing is changed in place.
            process.apply(&[(1, DEFAULT), (100 + round as u16, seconds)]);
            assert_eq!(process.seconds(0), DEFAULT, "what somebody has is left to him");
        }
        let remembered: BTreeSet<_> = (1..IDLE_CLASSES).map(|number| process.seconds(number)).collect();
        assert_eq!(remembered, (123..130).collect(), "the last ones");
    }

    #[test]
    fn two_numbers_that_mean_the_same_become_one_when_there_is_need() {
        let mut process = Process::default();
        let mut eight: Vec<_> = (1..=8).map(|port| (port, 60 + u32::from(port))).collect();
        process.apply(&eight);
        eight[0].1 = eight[1].1;
        assert_eq!(process.apply(&eight)[..2], [1, 2], "each changes in place");
        eight.push((9, 600));
        let numbers = process.apply(&eight);
        assert_eq!(numbers[..2], [1, 1]);
        assert_eq!(numbers[8], 2);
    }

    proptest! {
        /// As long as there are numbers enough, a connection lives by times that its own service had when it began, or later.
        #[test]
        fn no_connection_comes_to_live_by_anothers_times(
            steps in prop::collection::vec((1u32..4, 1u32..4, 0u8..4, any::<bool>()), 1..4),
        ) {
            let mut process = Process::default();
            let mut connections = Vec::new();
            let mut own = BTreeSet::new();
            for (first, second, there, restarts) in steps {
                let all = [(1, first), (2, second)];
                let services: Vec<_> = all.into_iter().filter(|(port, _)| there & 1 << (port - 1) != 0).collect();
                if restarts {
                    process = process.adopt();
                }
                let numbers = process.apply(&services);
                if restarts {
                    // What times were is not left behind.
                    connections.clear();
                }
                own.extend(services.iter().copied());
                connections.extend(services.iter().zip(numbers).map(|((port, _), number)| (*port, number)));
                for (port, number) in &connections {
                    let now = process.seconds(*number);
                    prop_assert!(own.contains(&(*port, now)), "{port} lives by {now}");
                }
            }
        }
    }
}
