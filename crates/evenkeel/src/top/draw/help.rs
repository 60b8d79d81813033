//! What `?` shows.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Text;
use ratatui::widgets::{Paragraph, Widget as _, Wrap};

/// Keys first: on a small screen the end is cut.
const TEXT: &str = "\
q, Esc, Ctrl-C  quit
↑ ↓ j k PgUp PgDn Home End  scroll
s  order: file, packets, flows, trouble
d  every drop there ever was, or all
p  stop asking, and go on
w  why a backend is as it is

Connections, packets and bits are what backends have; packets and bytes are of both directions, Ethernet headers \
included. Drops are packets for us that nobody got.

Rates are over the time between the last two answers; - means that it is not known yet. The courses are those of the \
last minute, each as high as its own highest: · is nothing, a blank is not known.

A service's state is how many of its backends are up. An event is no packet of its own: it happened to one that is \
counted under its reason (evenkeel reasons explains them all).";

/// Draws it.
pub(super) fn draw(area: Rect, buffer: &mut Buffer) {
    Paragraph::new(Text::raw(TEXT)).wrap(Wrap { trim: true }).render(area, buffer);
}
