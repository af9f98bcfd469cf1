//! The handlers through real TCP, over a backend in memory.

mod admin;
mod configs;
mod elections;
mod fetch;
pub(crate) mod memory;
mod metadata;
mod offsets;
mod produce;
mod reassignments;
pub(crate) mod replica;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
