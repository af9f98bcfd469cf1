//! The operator's parts. Read `run.rs` first: it wires them. It never imports the broker.
#![forbid(unsafe_code)]

pub mod apply;
pub mod broker_client;
pub mod cli;
pub mod cluster;
pub mod context;
pub mod crds;
pub mod dirty;
pub mod error;
pub mod events;
pub mod feed;
pub mod finalizers;
pub mod leader;
pub mod limiter;
pub mod logging;
pub mod metrics;
pub mod quantity;
pub mod run;
pub mod server;
pub mod status_writer;
pub mod topic;
pub mod topics;
pub mod webhook;
