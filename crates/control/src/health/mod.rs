//! Health checks: every backend whose service wants them is asked again and again whether it serves, and what follows
//! is told as judgements.
//!
//! Backends that want the same asked at the same place (`inquiry`) share one check, which has a task of its own (`checker`); all
//! tasks are on one thread that does nothing else (`beside`). `attend` is what such a task does, `pace` when, `ports` from where,
//! `finding` what may come of it, `audience` whom it is for, and `course` what follows for each from one finding after another.
//!
//! How a backend is asked: `prober` for every kind; `tcp` connects, `tls` secures that, and there `talk` or `http` (with `body`)
//! says and hears what is wanted; `udp` and `dns` do all of it.

mod attend;
mod audience;
mod beside;
mod body;
mod checker;
mod course;
mod dns;
mod finding;
mod http;
mod inquiry;
mod pace;
mod ports;
mod prober;
mod talk;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

pub use beside::CheckerThread;
pub use checker::Checker;
