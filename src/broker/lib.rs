//! The broker's parts. Read `run.rs` first: it wires them.
#![forbid(unsafe_code)]

pub mod log;
pub mod peer;
