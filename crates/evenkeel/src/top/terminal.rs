//! The terminal, which is given back as it was, however the screen ends.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use std::io::{self, Stdout, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there is anything to give back. A panic gives it back as well, before its words, which would be lost otherwise.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// A screen of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Screen(pub(super) Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                usual(panic);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        if taken.is_err() {
            give_back();
        }
        taken.map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Nobody is left to hear of errors: a terminal that has gone needs nothing back.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    #[ignore = "takes a terminal, which the next test gives it"]
    #[should_panic(expected = "the words of a panic")]
    fn takes_a_terminal_and_panics() {
        let _screen = Screen::take().expect("a terminal");
        panic!("the words of a panic");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_words() {
        let test = std::env::current_exe().expect("this test's own path");
        let run = "--ignored --exact top::terminal::tests::takes_a_terminal_and_panics --nocapture";
        let output = Command::new("script")
            .args(["-qec", &format!("stty -g; '{}' {run}; stty -g", test.display()), "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .expect("the program `script`");
        let text = String::from_utf8_lossy(&output.stdout);
        let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word:?} in {text:?}"));
        let (taken, given_back) = (place("\x1b[?1049h"), place("\x1b[?1049l"));
        assert!(taken < given_back && given_back < place("the words of a panic"), "{text:?}");
        assert!(place("\x1b[?25h") < place("the words of a panic"), "{text:?}");
        let settings: Vec<_> = text.lines().map(str::trim).filter(|line| line.split(':').count() > 10).collect();
        assert_eq!(settings.len(), 2, "{text:?}");
        assert_eq!(settings[0], settings[1]);
    }
}
