//! The handlers through real TCP, over a backend in memory, which the fuzzer uses as well.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod brokers;
#[cfg(test)]
mod configs;
#[cfg(test)]
mod elections;
#[cfg(test)]
mod fetch;
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod memory;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod offsets;
#[cfg(test)]
mod produce;
#[cfg(test)]
mod reassignments;
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod replica;

#[cfg(test)]
pub(crate) fn name(name: &str) -> kafka_protocol::messages::TopicName {
    kafka_protocol::messages::TopicName(kafka_protocol::protocol::StrBytes::from_string(name.to_owned()))
}
