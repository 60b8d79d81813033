//! Health checks: every backend whose service wants them is asked again and again whether it serves, and what follows
//! is told as judgements.
//!
//! Each backend has a task of its own (`checker`), all of them on one thread that does nothing else (`beside`). `attend` is what such a task
//! does, `pace` when, `ports` from where, `tcp` and `http` (with `body`) how a backend is asked, `finding` what may come of it, and
//! `course` what follows from one finding after another.

mod attend;
mod beside;
mod body;
mod checker;
mod course;
mod finding;
mod http;
mod pace;
mod ports;
mod prober;
mod tcp;
#[cfg(test)]
mod tests;

pub use beside::CheckerThread;
pub use checker::Checker;
