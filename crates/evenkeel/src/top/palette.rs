//! Colours, which never say anything that the words beside them do not.

use evenkeel_control::operator::State;
use ratatui::style::{Color, Modifier, Style};

/// With colours, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Palette {
    Coloured,
    Plain,
}

impl Palette {
    /// As `NO_COLOR` wants it (<https://no-color.org>): set, and not empty, it forbids colours.
    pub(super) fn from_environment() -> Self {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Self::Plain,
            _ => Self::Coloured,
        }
    }

    pub(super) fn head() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn table_head() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn key() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For what is wrong.
    pub(super) fn alarm(self) -> Style {
        self.colour(Color::Red)
    }

    pub(super) fn spark(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn state(self, state: State) -> Style {
        match state {
            State::Up => Style::new(),
            State::Draining => self.colour(Color::Yellow),
            State::Down => self.alarm(),
        }
    }

    fn colour(self, colour: Color) -> Style {
        match self {
            Self::Coloured => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }
}
