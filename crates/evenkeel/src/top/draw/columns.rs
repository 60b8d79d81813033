//! Which columns there is room for, and where they stand.

use ratatui::buffer::Buffer;
use ratatui::style::Style;

/// Widths; 0 leaves a column out. Both tables share them, so that figures stand under each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) name: u16,
    pub(super) state: u16,
    pub(super) weight: u16,
    pub(super) flows: u16,
    pub(super) packets: u16,
    pub(super) bytes: u16,
    pub(super) spark: u16,
    pub(super) why: u16,
}

/// What stands in a row's columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) weight: String,
    pub(super) flows: String,
    pub(super) packets: String,
    pub(super) bytes: String,
    pub(super) spark: String,
    pub(super) why: String,
    /// Of name and figures.
    pub(super) style: Style,
    pub(super) state_style: Style,
    pub(super) spark_style: Style,
}

/// The longest name of a column that is always there; an address with its port fits as well.
const NAME: u16 = 22;
/// Beyond it a course of one column a second would be wider than the minute that it shows.
const LONGEST_SPARK: u16 = 60;
/// Below it reasons could not be read.
const SHORTEST_WHY: u16 = 14;

impl Columns {
    /// For a table of this width. What matters most comes first; the rest comes in as room allows.
    pub(super) fn fit(width: u16) -> Self {
        let mut columns = Self { name: NAME, state: 8, weight: 0, flows: 0, packets: 9, bytes: 0, spark: 0, why: 0 };
        // Two spaces between three columns.
        let always = NAME + 8 + 9 + 2;
        let Some(mut room) = width.checked_sub(always) else {
            columns.name = NAME.saturating_sub(always - width);
            return columns;
        };
        for (column, wanted) in [(&mut columns.flows, 7), (&mut columns.bytes, 7), (&mut columns.weight, 6)] {
            if room > wanted {
                *column = wanted;
                room -= wanted + 1;
            }
        }
        if room > 10 {
            columns.spark = (room - 1).min(15);
            room -= columns.spark + 1;
        }
        // Wider than 80.
        let longer = (room / 3).min(20);
        columns.name += longer;
        room -= longer;
        let why = room / 2;
        if why > SHORTEST_WHY {
            columns.why = why - 1;
            room -= why;
        }
        let longer = room.min(LONGEST_SPARK.saturating_sub(columns.spark));
        if columns.spark > 0 {
            columns.spark += longer;
            room -= longer;
        }
        if columns.why > 0 {
            columns.why += room;
        }
        columns
    }

    /// The same with reasons, which narrow tables have no room for beside everything else.
    pub(super) fn explaining(self) -> Self {
        let taken = [self.weight, self.bytes, self.spark].map(|width| if width > 0 { width + 1 } else { 0 });
        match taken.iter().sum::<u16>() {
            room if self.why == 0 && room > SHORTEST_WHY => {
                Self { weight: 0, bytes: 0, spark: 0, why: room - 1, ..self }
            }
            _ => self,
        }
    }

    /// Puts a row's cells in their columns.
    pub(super) fn row(&self, buffer: &mut Buffer, (left, y): (u16, u16), cells: &Cells) {
        let Cells { name, state, weight, flows, packets, bytes, spark, why, style, state_style, spark_style } = cells;
        let mut x = left;
        for (width, text, right, style) in [
            (self.name, name, false, *style),
            (self.state, state, false, *state_style),
            (self.weight, weight, true, *style),
            (self.flows, flows, true, *style),
            (self.packets, packets, true, *style),
            (self.bytes, bytes, true, *style),
            (self.spark, spark, true, *spark_style),
            (self.why, why, false, *state_style),
        ] {
            if width == 0 {
                continue;
            }
            let text = shortened(text, width.into());
            let indent = if right { width.saturating_sub(text.chars().count() as u16) } else { 0 };
            buffer.set_stringn(x + indent, y, text, width.into(), style);
            x += width + 1;
        }
    }
}

/// At most so many characters; that something is missing shows.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eighty_columns_have_room_for_every_figure_and_a_course() {
        let columns = Columns::fit(80);
        assert!([columns.weight, columns.flows, columns.packets, columns.bytes].iter().all(|width| *width > 0));
        assert!(columns.spark >= 12);
    }

    #[test]
    fn forty_columns_have_room_for_name_state_and_packets() {
        let columns = Columns::fit(40);
        assert!(columns.name >= "10.100.100.100:65535".len() as u16 && columns.packets == 9);
    }

    proptest! {
        #[test]
        fn columns_never_stand_beyond_the_table(width in 40_u16..2000) {
            let Columns { name, state, weight, flows, packets, bytes, spark, why } = Columns::fit(width);
            let there: Vec<u16> = [name, state, weight, flows, packets, bytes, spark, why]
                .into_iter()
                .filter(|width| *width > 0)
                .collect();
            prop_assert!(there.iter().sum::<u16>() + there.len() as u16 - 1 <= width);
            prop_assert!(spark <= LONGEST_SPARK);
        }

        #[test]
        fn a_shortened_text_fits(text: String, width in 1_usize..50) {
            prop_assert!(shortened(&text, width).chars().count() <= width);
        }
    }
}
