//! Errors to Kafka's codes. A produce never gets -1 UNKNOWN_SERVER_ERROR, after which clients write records twice.

use chronik_core::metadata::Refusal;
use kafka_protocol::protocol::StrBytes;

use super::backend::ProposeError;

pub(crate) const NONE: i16 = 0;
pub(crate) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;
pub(crate) const NOT_LEADER_OR_FOLLOWER: i16 = 6;
pub(crate) const REQUEST_TIMED_OUT: i16 = 7;
pub(crate) const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub(crate) const INVALID_TOPIC_EXCEPTION: i16 = 17;
pub(crate) const INVALID_REQUIRED_ACKS: i16 = 21;
pub(crate) const UNSUPPORTED_VERSION: i16 = 35;
pub(crate) const INVALID_REPLICATION_FACTOR: i16 = 38;
pub(crate) const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
pub(crate) const INVALID_CONFIG: i16 = 40;
pub(crate) const INVALID_REQUEST: i16 = 42;
pub(crate) const INVALID_TXN_STATE: i16 = 48;
pub(crate) const KAFKA_STORAGE_ERROR: i16 = 56;
pub(crate) const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
pub(crate) const LISTENER_NOT_FOUND: i16 = 72;
pub(crate) const PREFERRED_LEADER_NOT_AVAILABLE: i16 = 80;
pub(crate) const ELECTION_NOT_NEEDED: i16 = 84;
pub(crate) const FENCED_LEADER_EPOCH: i16 = 74;
pub(crate) const UNKNOWN_LEADER_EPOCH: i16 = 75;
pub(crate) const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
pub(crate) const OFFSET_NOT_AVAILABLE: i16 = 78;
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;
pub(crate) const BROKER_ID_NOT_REGISTERED: i16 = 102;
pub(crate) const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
pub(crate) const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

/// A code and what a person should read beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: i16,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: i16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The message as the wire wants it.
    pub(crate) fn text(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code.kafka_code(), refusal.to_string())
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(refusal) => refusal.into(),
            // Both are retried by clients.
            ProposeError::TimedOut | ProposeError::NoLeader(_) => {
                Self::new(REQUEST_TIMED_OUT, error.to_string())
            }
        }
    }
}
