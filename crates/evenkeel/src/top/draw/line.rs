//! Lines of labelled words, as many as there is room for.

use crate::top::palette::Palette;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Between two pieces.
const GAP: u16 = 2;

/// Two words that belong together.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    first: String,
    second: String,
    first_style: Style,
    /// Of the second.
    pub(super) style: Style,
}

impl Piece {
    /// A figure under a label.
    pub(super) fn new(label: &str, figure: String) -> Self {
        Self { first: label.to_owned(), second: figure, first_style: Style::new(), style: Palette::head() }
    }

    /// A key and what it does.
    pub(super) fn key(key: &str, does: impl Into<String>) -> Self {
        Self { first: key.to_owned(), second: does.into(), first_style: Palette::key(), style: Style::new() }
    }

    fn width(&self) -> u16 {
        u16::try_from(self.first.chars().count() + 1 + self.second.chars().count()).unwrap_or(u16::MAX)
    }
}

/// How many lines they take.
pub(super) fn height(pieces: &[Piece], width: u16) -> u16 {
    places(pieces, width).last().map_or(0, |(_, y)| y + 1)
}

/// Draws those that fit; one that does not is left out with all behind it, or, where `skip` says so, alone.
pub(super) fn draw(pieces: &[Piece], skip: bool, area: Rect, buffer: &mut Buffer) {
    let mut kept = pieces.to_vec();
    if skip {
        let mut room = area.width + GAP;
        kept.retain(|piece| {
            let fits = piece.width() + GAP <= room;
            room -= if fits { piece.width() + GAP } else { 0 };
            fits
        });
    }
    for (piece, (x, y)) in kept.iter().zip(places(&kept, area.width)) {
        if y >= area.height {
            return;
        }
        let (left, y) = (area.x + x, area.y + y);
        let (next, _) = buffer.set_stringn(left, y, &piece.first, area.width.into(), piece.first_style);
        if next < area.right() {
            buffer.set_stringn(next + 1, y, &piece.second, area.width.into(), piece.style);
        }
    }
}

/// Where each stands, broken into lines.
fn places(pieces: &[Piece], width: u16) -> Vec<(u16, u16)> {
    let (mut x, mut y) = (0_u16, 0);
    let place = |piece: &Piece| {
        if x > 0 && x.saturating_add(piece.width()) > width {
            (x, y) = (0, y + 1);
        }
        let here = (x, y);
        x = x.saturating_add(piece.width()).saturating_add(GAP);
        here
    };
    pieces.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(skip: bool, width: u16, lines: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, lines);
        let mut buffer = Buffer::empty(area);
        let pieces = [Piece::key("a", "long one"), Piece::key("b", "much longer one"), Piece::key("c", "x")];
        draw(&pieces, skip, area, &mut buffer);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..lines).map(line).collect()
    }

    #[test]
    fn pieces_stay_whole_when_a_line_is_full() {
        assert_eq!(drawn(false, 20, 2), ["a long one", "b much longer one"]);
    }

    #[test]
    fn a_piece_without_room_makes_place_for_a_shorter_one() {
        assert_eq!(drawn(true, 20, 1), ["a long one  c x"]);
    }
}
