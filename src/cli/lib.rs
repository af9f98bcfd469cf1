//! The kubectl plugin's parts. Read `run.rs` first: it wires them. It never imports operator or broker.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod access;
pub mod args;
mod brokers;
pub mod complete;
mod drain;
mod explain;
mod isr;
mod plan;
mod proxy;
mod restart;
pub mod run;
mod seen;
mod show;
mod status;
#[cfg(test)]
mod testing;
mod topics;
mod verdict;
mod watch;
