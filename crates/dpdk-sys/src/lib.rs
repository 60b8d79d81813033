//! Bindings to the system's libdpdk (22.11 or newer), made when this is built: an allow-list of functions, and a small
//! shim in C for those that DPDK has only as inline code. `evenkeel-dpdk` makes them safe; nothing else may use them, but
//! the benchmark for its yardstick.
//!
//! Documentation of every item: <https://doc.dpdk.org/api/>, by its name.
#![allow(
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
