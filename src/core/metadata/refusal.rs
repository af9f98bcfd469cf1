//! Why a command was refused: a code Kafka knows, and words that name field, value and what is allowed.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// The kinds of refusal, each with its Kafka error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The topic's name breaks Kafka's rules or collides with another name.
    InvalidTopicName,
    /// A topic of that name exists.
    TopicExists,
    /// No topic has that name.
    UnknownTopic,
    /// No topic has that id.
    UnknownTopicId,
    /// The number of partitions is not allowed.
    InvalidPartitions,
    /// The replication factor is not allowed.
    InvalidReplicationFactor,
    /// A manual assignment is not allowed.
    InvalidReplicaAssignment,
    /// A config key or value is not allowed.
    InvalidConfig,
    /// A limit of the cluster would be exceeded.
    LimitExceeded,
    /// The request contradicts itself.
    InvalidRequest,
    /// The broker id is taken by another disk, or the disk by another broker id.
    DuplicateBroker,
    /// An older life of that broker.
    StaleIncarnation,
    /// The disk was replaced, or its broker unregistered.
    RetiredDisk,
    /// The broker is alive with the disk that it is registered with.
    BrokerAlive,
    /// No broker has that id.
    UnknownBroker,
    /// The feature level cannot be what was asked.
    InvalidFeatureLevel,
    /// No move of the partition's replicas is under way, or not the one that is meant.
    NoReassignmentInProgress,
    /// The topic has no such partition.
    UnknownPartition,
    /// A permit to stop cannot be changed so.
    PermitRefused,
    /// Not while a broker holds a permit to stop; to be tried again.
    PermitOpen,
}

impl RefusalCode {
    /// The error code of Kafka's protocol.
    pub fn kafka_code(self) -> i16 {
        match self {
            Self::InvalidTopicName => 17,
            Self::TopicExists => 36,
            Self::UnknownTopic => 3,
            Self::UnknownTopicId => 100,
            Self::InvalidPartitions => 37,
            Self::InvalidReplicationFactor => 38,
            Self::InvalidReplicaAssignment => 39,
            Self::InvalidConfig => 40,
            Self::LimitExceeded => 44,
            Self::InvalidRequest => 42,
            Self::DuplicateBroker => 101,
            Self::StaleIncarnation => 77,
            Self::RetiredDisk => 101,
            Self::BrokerAlive => 101,
            Self::UnknownBroker => 102,
            Self::InvalidFeatureLevel => 96,
            Self::NoReassignmentInProgress => 85,
            Self::UnknownPartition => 3,
            Self::PermitRefused => 42,
            // Kafka has no code that fits; clients try this one again.
            Self::PermitOpen => 7,
        }
    }

    /// The code as lower-case text, as the admin API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTopicName => "invalid_topic_name",
            Self::TopicExists => "topic_exists",
            Self::UnknownTopic => "unknown_topic",
            Self::UnknownTopicId => "unknown_topic_id",
            Self::InvalidPartitions => "invalid_partitions",
            Self::InvalidReplicationFactor => "invalid_replication_factor",
            Self::InvalidReplicaAssignment => "invalid_replica_assignment",
            Self::InvalidConfig => "invalid_config",
            Self::LimitExceeded => "limit_exceeded",
            Self::InvalidRequest => "invalid_request",
            Self::DuplicateBroker => "duplicate_broker",
            Self::StaleIncarnation => "stale_incarnation",
            Self::RetiredDisk => "retired_disk",
            Self::BrokerAlive => "broker_alive",
            Self::UnknownBroker => "unknown_broker",
            Self::InvalidFeatureLevel => "invalid_feature_level",
            Self::NoReassignmentInProgress => "no_reassignment_in_progress",
            Self::UnknownPartition => "unknown_partition",
            Self::PermitRefused => "permit_refused",
            Self::PermitOpen => "permit_open",
        }
    }
}

/// A refused command. Its text is fit for a Kafka error message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{field} = {value} is not allowed: {allowed}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub code: RefusalCode,
    /// The field that is wrong.
    pub field: String,
    /// Its value, shortened when long.
    pub value: String,
    /// What is allowed instead.
    pub allowed: String,
}

impl Refusal {
    /// A refusal of `field`, which had `value` where only `allowed` is.
    pub fn new(
        code: RefusalCode,
        field: impl Into<String>,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self { code, field: field.into(), value: shown(&value.to_string()), allowed: allowed.into() }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let code = RefusalCode::InvalidConfig;
        match error.value() {
            Some(value) => Self::new(code, format!("config {}", error.key()), value, error.allowed()),
            None => Self::new(code, "config name", error.key(), error.allowed()),
        }
    }
}

/// A value as an error shows it: quoted when empty or spaced, cut when long, so that no request is echoed at length.
fn shown(value: &str) -> String {
    const LONGEST: usize = 300;
    let mut text: String = value.chars().take(LONGEST).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain { text } else { format!("{text:?}") }
}
