//! The broker's parts. Read `run.rs` first: it wires them.
#![forbid(unsafe_code)]

pub mod birth;
pub mod handlers;
pub mod log;
pub mod metrics;
pub mod peer;
pub mod quorum;
pub mod replica;
pub mod server;
pub mod settings;
