//! Configs: which keys exist, which are understood, what they default to and allow. Knows nothing of topics.
//!
//! The topic keys are those Apache Kafka 4.3 describes for a topic, and Chronik's three. A key that Kafka knows and
//! Chronik does not support yet may only be set to Kafka's default, so that nobody is led to rely on it.

mod broker_keys;
mod describe;
mod kind;
mod topic;
mod topic_keys;
mod validate;

pub use broker_keys::{BROKER_KEYS, BrokerKey};
pub use describe::{BrokerValue, BrokerValues, ConfigEntry, Synonym, describe_broker, describe_topic};
pub use kind::{ConfigSource, ConfigType};
pub use topic::{TopicConfig, TopicDefaults};
pub use topic_keys::{MAX_MESSAGE_BYTES_LIMIT, Support, TOPIC_KEYS, TopicKey, topic_key};
pub use validate::{ConfigError, append_to_list, subtract_from_list, validate_topic_config};
