//! What keys mean.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    /// Close what is open, or quit.
    Back,
    Scroll(Motion),
    Sort,
    Drops,
    Pause,
    Why,
    Help,
    /// A key without a meaning, which closes help all the same.
    Other,
}

/// Where to scroll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
}

/// What a key means; nothing for a key that is let go, which some terminals tell.
pub(super) fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(if key.code == KeyCode::Char('c') { Wish::Quit } else { Wish::Other });
    }
    Some(match key.code {
        KeyCode::Char('q') => Wish::Quit,
        KeyCode::Esc => Wish::Back,
        KeyCode::Up | KeyCode::Char('k') => Wish::Scroll(Motion::Up),
        KeyCode::Down | KeyCode::Char('j') => Wish::Scroll(Motion::Down),
        KeyCode::PageUp => Wish::Scroll(Motion::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Wish::Scroll(Motion::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Wish::Scroll(Motion::Top),
        KeyCode::End | KeyCode::Char('G') => Wish::Scroll(Motion::Bottom),
        KeyCode::Char('s') => Wish::Sort,
        KeyCode::Char('d') => Wish::Drops,
        KeyCode::Char('p') => Wish::Pause,
        KeyCode::Char('w') => Wish::Why,
        KeyCode::Char('?' | 'h') => Wish::Help,
        _ => Wish::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_c_quits_and_c_does_not() {
        assert_eq!(wish(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Wish::Quit));
        assert_eq!(wish(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::NONE)), Some(Wish::Other));
    }

    #[test]
    fn a_capital_letter_comes_with_shift() {
        let key = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(wish(key), Some(Wish::Scroll(Motion::Bottom)));
    }

    #[test]
    fn letting_a_key_go_means_nothing() {
        let key = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(wish(key), None);
    }
}
