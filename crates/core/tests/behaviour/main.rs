//! What the balancer does, packet by packet, on a plane in memory.
//!
//! Packets are built and judged by etherparse, never by our own checksum code.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

mod support;

mod datagrams;
mod echo;
mod eviction;
mod fates;
mod flows;
mod hammer;
mod hops;
mod idle_classes;
mod interleaved;
mod nat_ports;
mod newcomers;
mod nobody;
mod occupancy;
mod parse;
mod proof;
mod properties;
mod reference;
mod refusals;
mod refuse;
mod reopening;
mod replies;
mod services;
mod six;
mod strangers;
mod translate;
mod words;
