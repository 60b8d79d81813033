//! Where backends are kept in a plane's table: each has a place and a use of it, its generation, for as long as it has
//! connections.

use crate::config::BackendId;
use evenkeel_core::backend::{BackendRef, BackendState, Link, Standing};
use std::collections::HashMap;
use std::time::Instant;

/// How a backend goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Since when it takes no new connections.
    pub(super) since: Instant,
    /// Until when those that it has may go on, if there is a limit.
    pub(super) until: Option<Instant>,
}

/// A place that is taken.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) owner: BackendId,
    pub(super) generation: u8,
    pub(super) state: BackendState,
    pub(super) standing: Standing,
    /// Out of the configuration, but connections are left.
    pub(super) leaving: Option<Leaving>,
    /// What the plane was told last.
    pub(super) written: (Option<Link>, Standing),
}

impl Place {
    /// A place as a plane has it that was told of the owner alone.
    fn new(owner: BackendId, generation: u8) -> Self {
        let standing = Standing::default();
        Self { owner, generation, state: BackendState::Down, standing, leaving: None, written: (None, standing) }
    }

    /// A place as another process has left it.
    pub(super) fn left(owner: BackendId, link: Link, standing: Standing) -> Self {
        let written = (Some(link), standing);
        Self { owner, generation: link.generation(), state: link.state(), standing, leaving: None, written }
    }

    /// Ends this use of the place: no packet of its connections is for anybody any more.
    pub(super) fn end(&mut self) {
        self.generation = next(self.generation);
        (self.state, self.standing) = (BackendState::Down, Standing::default());
    }

    pub(super) fn reference(&self, index: usize) -> BackendRef {
        BackendRef { index: index as u16, generation: self.generation }
    }
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Option<Place>>,
    /// The generation that each place had last.
    generations: Vec<u8>,
    by_owner: HashMap<BackendId, usize>,
    free: Vec<usize>,
}

impl Places {
    pub(super) fn find(&self, owner: &BackendId) -> Option<usize> {
        self.by_owner.get(owner).copied()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Place> {
        self.places.get_mut(index)?.as_mut()
    }

    /// Every place that is taken.
    pub(super) fn taken(&self) -> impl Iterator<Item = (usize, &Place)> {
        self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.as_ref()?)))
    }

    /// How many are taken.
    pub(super) fn len(&self) -> usize {
        self.by_owner.len()
    }

    /// Gives a place to a backend that has none.
    pub(super) fn take(&mut self, owner: BackendId) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.generations.push(0);
            self.places.len() - 1
        });
        self.put(index, Place::new(owner, next(self.generations[index])));
        index
    }

    /// Notes that a place is taken, and how.
    pub(super) fn put(&mut self, index: usize, place: Place) {
        self.note_generation(index, place.generation);
        self.free.retain(|&free| free != index);
        self.by_owner.insert(place.owner, index);
        self.places[index] = Some(place);
    }

    /// Notes which use of a place was the last, whether it is taken or not.
    pub(super) fn note_generation(&mut self, index: usize, generation: u8) {
        while self.places.len() <= index {
            self.free.push(self.places.len());
            self.places.push(None);
            self.generations.push(0);
        }
        self.generations[index] = generation;
    }

    /// The place is nobody's.
    pub(super) fn give_up(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index).and_then(Option::take) {
            self.generations[index] = place.generation;
            self.by_owner.remove(&place.owner);
            self.free.push(index);
        }
    }
}

/// The generation after this one; 0 would mean "no backend" in a Maglev table.
fn next(generation: u8) -> u8 {
    generation.checked_add(1).unwrap_or(1)
}
