//! The broker's parts. Read `run.rs` first: it wires them.
#![forbid(unsafe_code)]

pub mod admin;
mod admin_backend;
pub mod birth;
pub mod check;
pub mod handlers;
mod local;
pub mod log;
pub mod metrics;
pub mod peer;
mod peers;
pub mod quorum;
pub mod recover;
pub mod replica;
pub mod restart;
pub mod run;
pub mod server;
pub mod settings;
#[cfg(test)]
mod stopped;
pub mod stored_metadata;
pub mod version;
pub mod wait_for;
