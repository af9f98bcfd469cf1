//! Harness for black-box scenarios: real broker processes, their faults, and real clients. Knows nothing of the inside.

pub mod admin;
pub mod beats;
pub mod broker;
pub mod cluster;
pub mod flood;
pub mod grown;
pub mod kafka;
pub mod kafka_tools;
mod leftover;
pub mod links;
pub mod load;
pub mod moves;
pub mod program;
pub mod reading;
pub mod verifiable;
pub mod volume;
pub mod wait;
pub mod watch;
pub mod wire;
