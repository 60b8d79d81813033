//! The screen: what is known and how it is wanted, into a buffer of any size.

mod columns;
mod counters;
mod help;
mod line;
mod services;
mod spark;

use super::figures::{count, rate, uptime};
use super::model::{Model, Totals};
use super::palette::Palette;
use super::rows;
use super::view::{Extent, View};
use columns::shortened;
use line::Piece;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use std::time::Duration;

/// The smallest screen that anything could be read on.
const SMALLEST: (u16, u16) = (40, 10);
/// Fewer rows than these have no room for counters beside services.
const ROWS_FOR_BOTH: usize = 8;

/// Draws the whole screen; tells how far one can scroll.
pub(super) fn screen(
    model: &Model,
    view: &View,
    palette: Palette,
    now: Duration,
    area: Rect,
    buffer: &mut Buffer,
) -> Extent {
    if area.is_empty() {
        return Extent::default();
    }
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        let text = format!("too small: {}x{}, not {width}x{height}", area.width, area.height);
        buffer.set_stringn(area.x, area.y, text, area.width.into(), Style::new());
        return Extent::default();
    }
    let keys = keys(view);
    let bottom = Rect { y: area.bottom() - 1, height: 1, ..area };
    line::draw(&keys, true, bottom, buffer);
    let above = Rect { height: area.height - 1, ..area };
    if view.help {
        help::draw(above, buffer);
        return Extent::default();
    }
    body(model, view, palette, now, above, buffer)
}

/// Everything at once and no keys, for pipes: as high as need be.
pub(super) fn plain(model: &Model, width: u16, now: Duration) -> Buffer {
    let view = View::default();
    let width = width.max(SMALLEST.0);
    let heads = usize::from(head_height(model, width)) + 2;
    let height = heads + rows::count(model) + counters::wanted(model, &view).len().max(1);
    let area = Rect::new(0, 0, width, u16::try_from(height).unwrap_or(u16::MAX));
    let mut buffer = Buffer::empty(area);
    body(model, &view, Palette::Plain, now, area, &mut buffer);
    buffer
}

fn body(model: &Model, view: &View, palette: Palette, now: Duration, area: Rect, buffer: &mut Buffer) -> Extent {
    let head = Rect { height: head_height(model, area.width), ..area };
    let mut rest = Rect { y: head.bottom(), height: area.height - head.height, ..area };
    if let Some((text, style)) = notice(model, view, palette, now) {
        buffer.set_style(Rect { height: 1, ..rest }, style);
        buffer.set_stringn(rest.x, rest.y, shortened(&text, rest.width.into()), rest.width.into(), style);
        rest = Rect { y: rest.y + 1, height: rest.height - 1, ..rest };
    }
    let counters = counters::wanted(model, view);
    let below = counters_height(counters.len(), rows::count(model), view, rest.height);
    let table = Rect { height: rest.height - below, ..rest };
    let extent = services::draw(model, view, palette, table, buffer);
    if below > 0 {
        let area = Rect { y: table.bottom(), height: below, ..rest };
        counters::draw(&counters, (model, view), palette, area, buffer);
    }
    draw_head(model, view, extent, palette, head, buffer);
    extent
}

/// As much as counters need, but no more than a half of what is below the services' heads, unless those leave it free.
fn counters_height(counters: usize, rows: usize, view: &View, room: u16) -> u16 {
    let body = usize::from(room.saturating_sub(1));
    if body < ROWS_FOR_BOTH && !view.drops_only && rows > 0 && body < rows + counters.max(1) + 1 {
        return 0;
    }
    let most = body.div_ceil(2).max(body.saturating_sub(rows));
    u16::try_from((counters.max(1) + 1).min(most)).unwrap_or(0)
}

fn totals(model: &Model) -> Vec<Piece> {
    let Totals { flows, opened, packets, bits, drops } = model.totals;
    vec![
        Piece::new("connections", count(flows)),
        Piece::new("new", format!("{}/s", rate(opened))),
        Piece::new("packets", format!("{}/s", rate(packets))),
        Piece::new("bits", format!("{}/s", rate(bits))),
        Piece::new("drops", format!("{}/s", rate(drops))),
    ]
}

fn head_height(model: &Model, width: u16) -> u16 {
    1 + line::height(&totals(model), width)
}

fn draw_head(model: &Model, view: &View, extent: Extent, palette: Palette, area: Rect, buffer: &mut Buffer) {
    let Model { version, plane, uptime_seconds, .. } = model;
    let title = format!("evenkeel {version} on {plane}, up {}", uptime(*uptime_seconds));
    let (x, _) = buffer.set_stringn(area.x, area.y, title, area.width.into(), Palette::head());
    if extent.furthest > 0 {
        let first = view.scroll.min(extent.furthest);
        let place = format!("rows {}-{} of {}", first + 1, first + extent.page, extent.furthest + extent.page);
        let length = place.len() as u16;
        if x + 2 + length <= area.right() {
            buffer.set_stringn(area.right() - length, area.y, place, length.into(), Style::new());
        }
    }
    let totals_area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let mut pieces = totals(model);
    if model.totals.drops.is_some_and(|drops| drops > 0.0)
        && let Some(drops) = pieces.last_mut()
    {
        drops.style = palette.alarm();
    }
    line::draw(&pieces, false, totals_area, buffer);
}

fn notice(model: &Model, view: &View, palette: Palette, now: Duration) -> Option<(String, Style)> {
    if let Some(why) = &model.silence {
        let age = model.age(now).as_secs();
        let text = format!("NO ANSWER for {age} s, trying again: {why}");
        return Some((text, palette.alarm().add_modifier(Modifier::REVERSED)));
    }
    view.paused.then(|| {
        (format!("PAUSED for {} s; p goes on", model.age(now).as_secs()), Style::new().add_modifier(Modifier::REVERSED))
    })
}

/// What matters most stands first: on a narrow screen the rest is left out.
fn keys(view: &View) -> Vec<Piece> {
    if view.help {
        return vec![Piece::key("q", "quit"), Piece::key("any other key", "back")];
    }
    vec![
        Piece::key("q", "quit"),
        Piece::key("?", "help"),
        Piece::key("s", format!("sort: {}", view.sort.name())),
        Piece::key("d", if view.drops_only { "all" } else { "drops" }),
        Piece::key("p", if view.paused { "go on" } else { "pause" }),
        Piece::key("w", if view.why { "rates" } else { "why" }),
        Piece::key("↑↓", "scroll"),
    ]
}

#[cfg(test)]
mod tests;
