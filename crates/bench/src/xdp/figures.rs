//! Figures of the XDP half.

use super::driver::Turn;
use crate::spread::Spread;

/// One round: the medians over its turns, in nanoseconds a packet net of the empty program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) yardstick: f64,
    pub(crate) subject: f64,
    /// Of the measured program to the yardstick, turn by turn.
    pub(crate) ratio: f64,
    /// Another version, and the ratio of the measured program to that, turn by turn.
    pub(crate) beside: Option<(f64, f64)>,
}

impl Round {
    pub(crate) fn of(turns: &[Turn]) -> Self {
        let median = |figure: &dyn Fn(&Turn) -> f64| Spread::of(turns.iter().map(figure).collect()).median;
        Self {
            yardstick: median(&Turn::yardstick),
            subject: median(&Turn::subject),
            ratio: median(&|turn| turn.subject() / turn.yardstick()),
            beside: turns.first().and_then(Turn::beside).map(|_| {
                let beside = |turn: &Turn| turn.beside().unwrap_or(f64::NAN);
                (median(&beside), median(&|turn| turn.subject() / beside(turn)))
            }),
        }
    }

    /// Half of each.
    pub(crate) fn mean(self, other: Self) -> Self {
        Self {
            yardstick: (self.yardstick + other.yardstick) / 2.0,
            subject: (self.subject + other.subject) / 2.0,
            ratio: (self.ratio + other.ratio) / 2.0,
            beside: self.beside.zip(other.beside).map(|(one, two)| ((one.0 + two.0) / 2.0, (one.1 + two.1) / 2.0)),
        }
    }
}

/// One line of the table: the same measured several times.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scene: Scene,
    pub(crate) what: What,
    pub(crate) yardstick: Spread,
    pub(crate) subject: Spread,
    pub(crate) ratio: Spread,
    /// Another version, and the ratio to it.
    pub(crate) beside: Option<(Spread, Spread)>,
}

impl Row {
    pub(crate) fn of(scene: Scene, what: What, rounds: &[Round]) -> Self {
        let spread = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
        Self {
            scene,
            what,
            yardstick: spread(|round| round.yardstick),
            subject: spread(|round| round.subject),
            ratio: spread(|round| round.ratio),
            beside: rounds.first().and_then(|round| round.beside).map(|_| {
                let of = |figure: fn((f64, f64)) -> f64| {
                    Spread::of(rounds.iter().filter_map(|round| round.beside).map(figure).collect())
                };
                (of(|(beside, _)| beside), of(|(_, ratio)| ratio))
            }),
        }
    }
}

/// How many flows there are, and how many both tables have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) flows: u32,
    pub(crate) room: u32,
}

impl Scene {
    /// Whether the tables have no more room than these flows need, the size being a power of two.
    pub(crate) fn is_full(self) -> bool {
        self.room == self.flows.next_power_of_two()
    }

    /// Whether a flood is measured: it is of many flows, and a table for fewer is full before the first turn is over.
    pub(crate) fn floods(self) -> bool {
        self.is_full() && self.flows >= 1 << 16
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    ToBackend,
    ToClient,
    Mean,
    Mixed,
    NotOurs,
    Echo,
    NewFlow,
    Flood,
    FloodBeyond,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ToBackend => "established, to backend",
            Self::ToClient => "established, to client",
            Self::Mean => "established, mean of both",
            Self::Mixed => "established, both mixed",
            Self::NotOurs => "not ours",
            Self::Echo => "ICMP echo",
            Self::NewFlow => "new flow, room left",
            Self::Flood => "flood of new flows, full",
            Self::FloodBeyond => "flood beyond `newcomers`",
        }
    }
}
