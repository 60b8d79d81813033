//! The commands that ask a running balancer, or tell it something.

use super::{Running, Testbed, assert_refused, repository};
use serde_json::Value;

impl Testbed {
    /// Starts `evenkeel` with these words. Where it is started does not matter: the socket is a file.
    pub fn evenkeel(&self, words: &[&str]) -> Running {
        let program = repository().join("build/evenkeel").display().to_string();
        self.start("", &[&[program.as_str()], words].concat())
    }

    /// What a command says; it must succeed, and has nothing to say on standard error.
    #[track_caller]
    pub fn told(&self, words: &[&str]) -> String {
        let ended = self.evenkeel(words).finish();
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "evenkeel {}: {ended}", words.join(" "));
        ended.stdout
    }

    /// Takes backends' new connections away, one order after the other, until the last one leaves nobody; which is done, with a
    /// warning.
    #[track_caller]
    pub fn leave_nobody(&self, orders: &[&[&str]]) {
        let (last, others) = orders.split_last().expect("there is an order");
        others.iter().for_each(|order| _ = self.told(order));
        let ended = self.evenkeel(last).finish();
        assert!(
            ended.code == Some(0) && ended.stderr.contains("has nobody left"),
            "evenkeel {}: {ended}",
            last.join(" ")
        );
    }

    /// What [`Testbed::told`] is told, as JSON.
    #[track_caller]
    pub fn told_json(&self, words: &[&str]) -> Value {
        let text = self.told(&[words, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sees a command refused in one sentence with these words.
    #[track_caller]
    pub fn refused(&self, command: &[&str], code: i32, words: &[&str]) {
        assert_refused(&self.evenkeel(command).finish(), code, words);
    }

    /// Puts another text in the place of the running balancer's file.
    pub fn rewrite(&self, text: &str) {
        self.config("evenkeel.toml", text);
    }

    /// The same, and has it read; returns what the command says.
    #[track_caller]
    pub fn reload(&self, text: &str) -> String {
        self.rewrite(text);
        self.told(&["reload"])
    }

    /// What is known of the service's backends, in the order of the file.
    #[track_caller]
    pub fn backends(&self) -> Vec<Value> {
        self.told_json(&["services"])[0]["backends"].as_array().expect("a service has backends").clone()
    }

    /// What is known of one of them, by its place in 10.0.0.0/24; nothing if it is none.
    #[track_caller]
    pub fn backend(&self, host: u8) -> Option<Value> {
        self.backends().into_iter().find(|backend| backend["address"] == address(host))
    }
}

/// A host of 10.0.0.0/24.
pub fn address(host: u8) -> String {
    format!("10.0.0.{host}")
}

/// Whether a backend gets new connections.
pub fn is_up(backend: &Value) -> bool {
    backend["state"] == "up"
}
