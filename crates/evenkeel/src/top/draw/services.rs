//! Services and their backends.

use super::columns::{Cells, Columns};
use super::spark;
use crate::top::figures::{count, rate};
use crate::top::model::{Backend, Model, Pace, Service};
use crate::top::palette::Palette;
use crate::top::rows::{self, Row};
use crate::top::view::{Extent, View};
use evenkeel_control::operator::State;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Draws heads and those rows that are to be seen.
pub(super) fn draw(model: &Model, view: &View, palette: Palette, area: Rect, buffer: &mut Buffer) -> Extent {
    let page = usize::from(area.height.saturating_sub(1));
    let furthest = rows::count(model).saturating_sub(page);
    let columns = Columns::fit(area.width);
    let columns = if view.why { columns.explaining() } else { columns };
    heads(&columns, area, buffer);
    let visible = rows::visible(model, view.sort, view.scroll.min(furthest), page);
    for (y, row) in (area.y + 1..area.bottom()).zip(visible) {
        let cells = match row {
            Row::Service(service) => service_cells(service, &columns, palette, model.seconds),
            Row::Backend(backend) => backend_cells(backend, &columns, palette, model.seconds),
        };
        columns.row(buffer, (area.x, y), &cells);
    }
    Extent { page, furthest }
}

fn heads(columns: &Columns, area: Rect, buffer: &mut Buffer) {
    buffer.set_style(Rect { height: 1, ..area }, Palette::table_head());
    let heads = Cells {
        name: "SERVICE, BACKEND".to_owned(),
        state: "STATE".to_owned(),
        weight: "WEIGHT".to_owned(),
        flows: "FLOWS".to_owned(),
        packets: "PACKETS/S".to_owned(),
        bytes: "BYTES/S".to_owned(),
        spark: "LAST MINUTE".to_owned(),
        why: "WHY".to_owned(),
        style: Palette::table_head(),
        state_style: Palette::table_head(),
        spark_style: Palette::table_head(),
    };
    columns.row(buffer, (area.x, area.y), &heads);
}

fn service_cells(service: &Service, columns: &Columns, palette: Palette, now: u64) -> Cells {
    let Service { name, listens, forward, flows, pace, backends } = service;
    let up = service.count(State::Up);
    let both = format!("{name} {listens}");
    let fits = both.chars().count() <= usize::from(columns.name);
    let state_style = match up {
        0 => palette.state(State::Down),
        _ if service.count(State::Down) > 0 => palette.state(State::Draining),
        _ => Style::new(),
    };
    Cells {
        name: if columns.why == 0 && fits { both } else { name.clone() },
        state: format!("{up}/{} up", backends.len()),
        weight: String::new(),
        flows: count(*flows),
        why: format!("{listens} {forward}"),
        style: Palette::head(),
        state_style,
        ..pace_cells(pace, columns, palette, now)
    }
}

fn backend_cells(backend: &Backend, columns: &Columns, palette: Palette, now: u64) -> Cells {
    let Backend { status, pace } = backend;
    let state = match status.state {
        State::Up => "up",
        State::Down => "down",
        State::Draining => "draining",
    };
    Cells {
        name: format!(" {}", status.listens()),
        state: state.to_owned(),
        weight: status.weight.to_string(),
        flows: count(status.flows),
        why: status.reason.clone(),
        state_style: palette.state(status.state),
        ..pace_cells(pace, columns, palette, now)
    }
}

fn pace_cells(pace: &Pace, columns: &Columns, palette: Palette, now: u64) -> Cells {
    Cells {
        packets: rate(pace.packets),
        bytes: rate(pace.bytes),
        spark: spark::line(&pace.history, columns.spark.into(), now),
        spark_style: palette.spark(),
        ..Cells::default()
    }
}
