//! For whom a check is made: each backend goes by what it finds at its own `rise` and `fall`.

use super::course::Course;
use super::finding::Finding;
use crate::config::BackendId;
use crate::operator::{Condition, Judgement};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A backend, and how many checks in a row turn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) backend: BackendId,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

/// Those who are judged by one check. Others may be from one check to the next.
#[derive(Debug, Default)]
pub(super) struct Audience(Mutex<Vec<Listener>>);

#[derive(Debug)]
struct Listener {
    member: Member,
    course: Course,
    since: SystemTime,
}

impl Audience {
    /// Is from now on of these. Who is in it already goes on; `before` says what is held of others so far.
    pub(super) fn become_of(&self, members: &[Member], before: impl Fn(&BackendId) -> Option<Condition>) {
        let mut listeners = self.lock();
        let mut there = std::mem::take(&mut *listeners);
        *listeners = members
            .iter()
            .map(|member| match there.iter().position(|listener| listener.member == *member) {
                Some(place) => there.swap_remove(place),
                None => Listener {
                    member: *member,
                    course: Course::new(member.rise, member.fall, before(&member.backend)),
                    since: SystemTime::now(),
                },
            })
            .collect();
    }

    /// What there is to tell of each when a check has found this.
    pub(super) fn hear(&self, finding: Finding, words: impl Fn() -> String) -> Vec<Judgement> {
        let mut told = Vec::new();
        for Listener { member, course, since } in &mut *self.lock() {
            let Some(news) = course.follow(finding) else { continue };
            if news.turned {
                *since = SystemTime::now();
            }
            told.push(Judgement { backend: member.backend, condition: news.condition, reason: words(), since: *since });
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        // Every listener is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
