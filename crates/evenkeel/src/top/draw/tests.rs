//! What can be read on screens of several sizes.

use super::*;
use crate::top::model::fixture::{answer, backend, service};
use evenkeel_control::operator::{BackendStatus, ServiceStatus, State};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

fn services(first: u64, second: u64) -> Vec<ServiceStatus> {
    let ill = BackendStatus {
        state: State::Down,
        reason: "health check failed: connection refused".to_owned(),
        flows: 0,
        ..backend(3, second)
    };
    let leaving = BackendStatus { state: State::Draining, weight: 0, ..backend(4, 0) };
    vec![service("web", vec![backend(2, first), ill]), service("dns", vec![leaving])]
}

fn first() -> Model {
    Model::new(answer(0, services(5000, 70), &[("to-backend", 900), ("no-backend", 40), ("malformed", 2)]))
}

/// Two seconds later.
fn second() -> Model {
    let mut model = first();
    let counters = [("to-backend", 3000), ("no-backend", 50), ("malformed", 2), ("flow-opened", 7)];
    model.take(answer(2, services(29_800, 70), &counters));
    model
}

/// 1,000 services of 20 backends.
fn large() -> Model {
    let services = (0..1000).map(|number| {
        service(&format!("service-{number}"), (1..=20).map(|place| backend(place, u64::from(place))).collect())
    });
    Model::new(answer(0, services.collect(), &[("to-backend", 900)]))
}

struct Shown {
    lines: Vec<String>,
    buffer: Buffer,
    extent: Extent,
}

fn show(model: &Model, view: &View, palette: Palette, (width, height): (u16, u16)) -> Shown {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend for tests");
    let mut extent = Extent::default();
    let draw = |frame: &mut ratatui::Frame<'_>| {
        let now = Duration::from_secs(9);
        extent = screen(model, view, palette, now, frame.area(), frame.buffer_mut());
    };
    terminal.draw(draw).expect("a backend for tests");
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    Shown { lines: (0..height).map(line).collect(), buffer, extent }
}

fn at(model: &Model, size: (u16, u16)) -> Shown {
    show(model, &View::default(), Palette::Coloured, size)
}

impl Shown {
    /// The words of the one line that has this word.
    #[track_caller]
    fn line(&self, word: &str) -> Vec<&str> {
        let line = self.lines.iter().find(|line| line.split_whitespace().any(|other| other == word));
        line.unwrap_or_else(|| panic!("no '{word}' in\n{}", self.lines.join("\n"))).split_whitespace().collect()
    }

    fn has(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

#[test]
fn an_ordinary_terminal_shows_head_services_counters_and_keys() {
    let shown = at(&second(), (80, 24));
    assert_eq!(shown.lines[0], "evenkeel 1.2.3 on xdp, up 1 min 42 s");
    assert_eq!(shown.lines[1], "connections 6  new -/s  packets 12.4k/s  bits 9.9M/s  drops 5.0/s");
    assert_eq!(shown.line("web")[..8], ["web", "tcp", "192.0.2.1:443", "1/2", "up", "3", "12.4k", "1.2M"]);
    assert_eq!(shown.line("10.0.0.2:8080")[..6], ["10.0.0.2:8080", "up", "1", "3", "12.4k", "1.2M"]);
    assert_eq!(shown.line("10.0.0.3:8080")[..6], ["10.0.0.3:8080", "down", "1", "0", "0", "0"]);
    assert_eq!(shown.line("10.0.0.4:8080")[1..3], ["draining", "0"]);
    assert_eq!(shown.line("no-backend")[..4], ["no-backend", "drop", "50", "5.0"]);
    assert_eq!(shown.line("to-backend")[..4], ["to-backend", "transmit", "3000", "1.1k"]);
    assert!(shown.lines[23].starts_with("q quit  ? help  s sort: file  d drops  p pause"));
}

#[test]
fn courses_stand_at_the_end_of_their_lines() {
    let shown = at(&second(), (80, 24));
    assert_eq!(shown.line("10.0.0.2:8080").last(), Some(&"█"));
    assert_eq!(shown.line("10.0.0.3:8080").last(), Some(&"·"));
    assert_eq!(shown.line("no-backend").last(), Some(&"█"));
}

#[test]
fn a_counter_that_does_not_move_is_left_out() {
    assert!(!at(&second(), (80, 24)).has("malformed"));
}

#[test]
fn the_first_screen_has_totals_and_leaves_rates_open() {
    let shown = at(&first(), (80, 24));
    assert_eq!(shown.lines[1], "connections 6  new -/s  packets -/s  bits -/s  drops -/s");
    assert_eq!(shown.line("10.0.0.2:8080"), ["10.0.0.2:8080", "up", "1", "3", "-", "-"]);
    assert_eq!(shown.line("malformed"), ["malformed", "drop", "2", "-"]);
}

#[test]
fn a_small_terminal_shows_states_and_packets() {
    let shown = at(&second(), (40, 10));
    assert_eq!(shown.lines[0], "evenkeel 1.2.3 on xdp, up 1 min 42 s");
    assert!(shown.has("packets 12.4k/s") && shown.has("drops 5.0/s"));
    assert_eq!(shown.line("10.0.0.2:8080"), ["10.0.0.2:8080", "up", "12.4k"]);
    assert_eq!(shown.line("10.0.0.3:8080"), ["10.0.0.3:8080", "down", "0"]);
    assert!(shown.lines[9].starts_with("q quit  ? help  s sort: file  d drops"));
}

#[test]
fn an_ordinary_terminal_says_why_if_it_is_asked() {
    assert!(!at(&second(), (80, 24)).has("health check failed"));
    let shown = show(&second(), &View { why: true, ..View::default() }, Palette::Coloured, (80, 24));
    assert!(shown.has("health check failed: connect"));
    assert_eq!(shown.line("10.0.0.3:8080")[..4], ["10.0.0.3:8080", "down", "0", "0"]);
}

#[test]
fn a_small_terminal_shows_drops_if_they_are_asked_for() {
    let view = View { drops_only: true, ..View::default() };
    let shown = show(&second(), &view, Palette::Coloured, (40, 10));
    assert_eq!(shown.line("no-backend"), ["no-backend", "drop", "5.0"]);
}

#[test]
fn a_large_terminal_shows_reasons_and_whole_minutes() {
    let mut model = second();
    for seconds in 3..80 {
        model.take(answer(seconds, services(29_800 + 100 * seconds, 70), &[("no-backend", 50 + seconds)]));
    }
    let shown = at(&model, (200, 60));
    assert!(shown.has("health check failed: connection refused"));
    assert!(shown.has("tcp 192.0.2.1:443 fullnat"));
    let bars = shown.line("10.0.0.2:8080").iter().map(|word| word.matches('█').count()).max();
    assert_eq!(bars, Some(60));
}

#[test]
fn drops_alone_are_all_that_ever_were() {
    let shown = show(&second(), &View { drops_only: true, ..View::default() }, Palette::Coloured, (80, 24));
    assert_eq!(shown.line("malformed")[..4], ["malformed", "drop", "2", "0"]);
    assert!(!shown.has("to-backend"));
    assert!(shown.has("d all"));
}

#[test]
fn drops_are_marked_by_a_word_as_well_as_by_colour() {
    for (palette, colour) in [(Palette::Coloured, Color::Red), (Palette::Plain, Color::Reset)] {
        let shown = show(&second(), &View::default(), palette, (80, 24));
        assert!(shown.line("no-backend").contains(&"drop"));
        let y = shown.lines.iter().position(|line| line.starts_with("no-backend")).unwrap_or(0);
        assert_eq!(shown.buffer[(0, y as u16)].fg, colour);
    }
}

#[test]
fn without_colour_no_cell_has_one() {
    let mut model = second();
    model.miss("nobody is there.".to_owned());
    let shown = show(&model, &View::default(), Palette::Plain, (80, 24));
    assert!(shown.buffer.content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
}

#[test]
fn a_balancer_that_is_gone_is_one_line_more() {
    let mut model = second();
    model.miss("no evenkeel answers at /run/evenkeel/evenkeel.sock: is it running?".to_owned());
    let shown = at(&model, (80, 24));
    assert!(shown.lines[2].starts_with("NO ANSWER for 7 s, trying again: no evenkeel answers at"));
    assert!(shown.has("10.0.0.2:8080"));
}

#[test]
fn a_pause_is_said() {
    let shown = show(&second(), &View { paused: true, ..View::default() }, Palette::Plain, (80, 24));
    assert!(shown.has("PAUSED for 7 s"));
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    assert_eq!(at(&second(), (30, 9)).lines[0], "too small: 30x9, not 40x10");
}

#[test]
fn no_size_and_no_answer_makes_drawing_fail() {
    let empty = Model::new(answer(0, Vec::new(), &[]));
    let mut gone = second();
    gone.miss("nobody is there.".to_owned());
    for model in [&empty, &first(), &second(), &gone] {
        for width in (0..=120).chain([400]) {
            for height in (0..40).step_by(3) {
                for help in [false, true] {
                    let view = View { scroll: 3, drops_only: width % 2 == 0, help, ..View::default() };
                    at_view(model, &view, (width, height));
                }
            }
        }
    }
}

fn at_view(model: &Model, view: &View, (width, height): (u16, u16)) {
    let area = Rect::new(0, 0, width, height);
    screen(model, view, Palette::Coloured, Duration::ZERO, area, &mut Buffer::empty(area));
}

#[test]
fn many_services_are_scrolled_through() {
    let model = large();
    let top = at(&model, (80, 24));
    assert_eq!(top.extent.page + top.extent.furthest, 21_000);
    assert!(top.lines[0].ends_with(&format!("rows 1-{} of 21000", top.extent.page)));
    assert!(top.has("service-0"));

    let view = View { scroll: top.extent.furthest, ..View::default() };
    let bottom = show(&model, &view, Palette::Plain, (80, 24));
    assert_eq!(bottom.line("service-999")[0], "service-999");
    assert_eq!(bottom.line("10.0.0.20:8080")[1], "up");
    assert!(bottom.lines[0].ends_with("-21000 of 21000"));
}

#[test]
fn counters_leave_half_of_the_screen_to_services() {
    let counters: Vec<_> = evenkeel_core::Reason::ALL.iter().map(|reason| (reason.name(), 1)).collect();
    let many = (1..=30).map(|place| backend(place, 0)).collect();
    let shown = at(&Model::new(answer(0, vec![service("web", many)], &counters)), (80, 24));
    assert!(shown.has("10.0.0.9:8080"));
    assert!(shown.has("malformed"));
    assert!(shown.has("more"));
}

#[test]
fn help_names_every_key_even_on_a_small_terminal() {
    let view = View { help: true, ..View::default() };
    for size in [(80, 24), (40, 10)] {
        let shown = show(&second(), &view, Palette::Plain, size);
        for word in ["Ctrl-C", "PgDn", "trouble", "drop", "go on", "why"] {
            assert!(shown.has(word), "{word} at {size:?}: {:#?}", shown.lines);
        }
    }
}

#[test]
fn a_plain_frame_has_every_row_and_no_keys() {
    let buffer = plain(&large(), 80, Duration::ZERO);
    assert_eq!(usize::from(buffer.area.height), 2 + 1 + 21_000 + 2);
    let last = (0..80).map(|x| buffer[(x, buffer.area.height - 1)].symbol()).collect::<String>();
    assert!(last.starts_with("to-backend"));
}
