//! Chronik's rules, pure: no I/O, no sleeping, no clock, no randomness; time and chance come in as arguments.
#![warn(missing_docs)]

pub mod balance;
pub mod config;
pub mod ids;
pub mod metadata;
pub mod replication;
pub mod restart;
pub mod rollout;
pub mod view;
