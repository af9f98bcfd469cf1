//! Harness for black-box scenarios: real broker processes, their faults, and real clients. Knows nothing of the inside.

pub mod admin;
pub mod broker;
pub mod cluster;
pub mod kafka;
pub mod kafka_tools;
pub mod load;
pub mod program;
pub mod wait;
