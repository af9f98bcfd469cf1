//! The broker's parts. Read `run.rs` first: it wires them.
#![forbid(unsafe_code)]

pub mod handlers;
pub mod log;
pub mod server;
