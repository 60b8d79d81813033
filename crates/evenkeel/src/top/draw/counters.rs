//! Reasons of verdicts, and events.

use super::columns::{Cells, Columns};
use super::spark;
use crate::top::figures::{count, rate};
use crate::top::model::{Counter, Model};
use crate::top::palette::Palette;
use crate::top::view::View;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Those that are to be seen: that move, or, if drops are asked for, every drop that there ever was.
pub(super) fn wanted<'a>(model: &'a Model, view: &View) -> Vec<&'a Counter> {
    let wanted = |counter: &&Counter| {
        if view.drops_only { counter.kind.is_drop() && counter.total > 0 } else { counter.moves() }
    };
    model.counters.iter().filter(wanted).collect()
}

/// Draws heads and as many as there is room for.
pub(super) fn draw(
    counters: &[&Counter],
    (model, view): (&Model, &View),
    palette: Palette,
    area: Rect,
    buffer: &mut Buffer,
) {
    let columns = Columns::fit(area.width);
    buffer.set_style(Rect { height: 1, ..area }, Palette::table_head());
    let heads = Cells {
        name: if view.drops_only { "DROPS" } else { "REASON, EVENT" }.to_owned(),
        state: "VERDICT".to_owned(),
        flows: "TOTAL".to_owned(),
        packets: "PER SEC.".to_owned(),
        spark: "LAST MINUTE".to_owned(),
        style: Palette::table_head(),
        state_style: Palette::table_head(),
        spark_style: Palette::table_head(),
        ..Cells::default()
    };
    columns.row(buffer, (area.x, area.y), &heads);

    let room = usize::from(area.height.saturating_sub(1));
    // The last line says that there are more, if there are.
    let shown = if counters.len() > room { room.saturating_sub(1) } else { counters.len() };
    for (y, counter) in (area.y + 1..area.bottom()).zip(counters.iter().take(shown)) {
        columns.row(buffer, (area.x, y), &cells(counter, &columns, palette, model.seconds));
    }
    let last = area.bottom().saturating_sub(1);
    let rest = match counters.len() - shown {
        0 if counters.is_empty() && view.drops_only => "none was dropped".to_owned(),
        0 if counters.is_empty() => "none within the last minute".to_owned(),
        0 => return,
        more => format!("and {more} more"),
    };
    if last > area.y {
        buffer.set_stringn(area.x, last, rest, area.width.into(), ratatui::style::Style::new());
    }
}

fn cells(counter: &Counter, columns: &Columns, palette: Palette, now: u64) -> Cells {
    let Counter { name, kind, total, rate: pace, history } = counter;
    let style = if kind.is_drop() { palette.alarm() } else { Default::default() };
    Cells {
        name: name.clone(),
        state: kind.name().to_owned(),
        flows: count(*total),
        packets: rate(*pace),
        spark: spark::line(history, columns.spark.into(), now),
        style,
        state_style: style,
        spark_style: if kind.is_drop() { style } else { palette.spark() },
        ..Cells::default()
    }
}
