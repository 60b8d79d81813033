//! How a program says what is wrong: one sentence on standard error, and the right exit code.

use super::Ended;

/// One line that says this, for people, and the exit code.
#[track_caller]
pub fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "one line: {ended}");
    assert!(ended.stderr.ends_with(['.', '\n']), "{ended}");
    assert_clean(&ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "it says \"{word}\": {ended}");
    }
}

/// No trace of how the program is made.
#[track_caller]
pub fn assert_clean(text: &str) {
    for mark in ["panicked", "backtrace", "Error {", "Err(", "Some(", "Os {", "src/", ".rs:", "unwrap"] {
        assert!(!text.contains(mark), "\"{mark}\" is for programmers: {text}");
    }
}
