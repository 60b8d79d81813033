//! When to ask for the routes that answers go by.

use evenkeel_control::Config;
use std::time::Duration;
use tokio::time::Instant;

/// Routes may change by the thousand: they are asked for no more often than this.
const REST: Duration = Duration::from_millis(500);
/// And no more seldom, since a change may go untold.
const AGAIN: Duration = Duration::from_secs(60);

/// Whether what is known of routes to clients still holds.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// Whether some service has asked for it since the start. Its connections go by routes to their end.
    are_wanted: bool,
    asked: Option<Instant>,
    are_known: bool,
    left_out: usize,
}

impl Replies {
    /// They are others now.
    pub(crate) fn routes_changed(&mut self) {
        self.are_known = false;
    }

    /// Whether to ask for them now.
    pub(crate) fn are_due(&mut self, config: &Config) -> bool {
        self.are_wanted |= config.follows_routes();
        let since = |time: Duration| self.asked.is_none_or(|asked| asked.elapsed() >= time);
        let are_due = self.are_wanted && since(if self.are_known { AGAIN } else { REST });
        if are_due {
            self.asked = Some(Instant::now());
        }
        are_due
    }

    /// The kernel has answered.
    pub(crate) fn are_known(&mut self) {
        self.are_known = true;
    }

    /// Notes how many do not fit, and tells whether that is more than was ever said.
    pub(crate) fn is_more(&mut self, left_out: usize) -> bool {
        let is_more = left_out > self.left_out;
        self.left_out = left_out.max(self.left_out);
        is_more
    }
}
