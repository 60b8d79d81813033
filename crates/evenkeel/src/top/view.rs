//! How the user wants to see it.

use super::keys::{Motion, Wish};

/// What the keys have set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The first row of the services' table that is shown.
    pub(super) scroll: usize,
    pub(super) sort: Sort,
    /// Of the counters, only drops.
    pub(super) drops_only: bool,
    pub(super) paused: bool,
    /// Reasons of states, even where rates must make room for them.
    pub(super) why: bool,
    pub(super) help: bool,
    /// As it was last drawn.
    pub(super) extent: Extent,
}

/// How far one can scroll; drawing knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The rows that are shown.
    pub(super) page: usize,
    /// The last row that can be the first.
    pub(super) furthest: usize,
}

/// The order of services, and of backends within a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the configuration file.
    #[default]
    File,
    /// Most packets a second first.
    Packets,
    /// Most connections first.
    Flows,
    /// Services without a backend that is up first, then down and draining ones.
    Trouble,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Packets => "packets",
            Self::Flows => "flows",
            Self::Trouble => "trouble",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::File => Self::Packets,
            Self::Packets => Self::Flows,
            Self::Flows => Self::Trouble,
            Self::Trouble => Self::File,
        }
    }
}

/// Whether the screen stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

impl View {
    /// Does what a key asks for.
    pub(super) fn obey(&mut self, wish: Wish) -> Next {
        match wish {
            Wish::Quit => return Next::Quit,
            // Help covers what the other keys would change.
            _ if self.help => self.help = false,
            Wish::Back => return Next::Quit,
            Wish::Scroll(motion) => self.scroll(motion),
            Wish::Sort => (self.sort, self.scroll) = (self.sort.next(), 0),
            Wish::Drops => self.drops_only = !self.drops_only,
            Wish::Pause => self.paused = !self.paused,
            Wish::Why => self.why = !self.why,
            Wish::Help => self.help = true,
            Wish::Other => {}
        }
        Next::Stay
    }

    /// Takes in what was drawn.
    pub(super) fn settle(&mut self, extent: Extent) {
        self.extent = extent;
        self.scroll = self.scroll.min(extent.furthest);
    }

    fn scroll(&mut self, motion: Motion) {
        let Extent { page, furthest } = self.extent;
        // One row of the last page stays, in whose place the name of its service may stand.
        let page = page.saturating_sub(1).max(1);
        self.scroll = match motion {
            Motion::Up => self.scroll.saturating_sub(1),
            Motion::Down => self.scroll.saturating_add(1),
            Motion::PageUp => self.scroll.saturating_sub(page),
            Motion::PageDown => self.scroll.saturating_add(page),
            Motion::Top => 0,
            Motion::Bottom => furthest,
        }
        .min(furthest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_closes_help_before_it_quits() {
        let mut view = View::default();
        view.obey(Wish::Help);
        assert_eq!(view.obey(Wish::Back), Next::Stay);
        assert!(!view.help);
        assert_eq!(view.obey(Wish::Back), Next::Quit);
    }

    #[test]
    fn what_closes_help_does_nothing_else() {
        let mut view = View { help: true, ..View::default() };
        view.obey(Wish::Pause);
        assert_eq!(view, View::default());
    }

    #[test]
    fn a_list_that_becomes_shorter_takes_the_place_along() {
        let mut view = View { scroll: 100, ..View::default() };
        view.settle(Extent { page: 10, furthest: 3 });
        assert_eq!(view.scroll, 3);
    }

    #[test]
    fn sorting_comes_round() {
        let mut sort = Sort::default();
        for _ in 0..4 {
            sort = sort.next();
        }
        assert_eq!(sort, Sort::default());
    }

    fn motion() -> impl Strategy<Value = Motion> {
        prop_oneof![
            Just(Motion::Up),
            Just(Motion::Down),
            Just(Motion::PageUp),
            Just(Motion::PageDown),
            Just(Motion::Top),
            Just(Motion::Bottom),
        ]
    }

    proptest! {
        #[test]
        fn no_way_of_scrolling_leads_beyond_the_list(
            motions in proptest::collection::vec(motion(), 0..50),
            page in 0_usize..50,
            furthest in 0_usize..500,
        ) {
            let mut view = View::default();
            view.settle(Extent { page, furthest });
            for motion in motions {
                view.obey(Wish::Scroll(motion));
                prop_assert!(view.scroll <= furthest);
            }
        }
    }
}
