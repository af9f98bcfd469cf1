//! Finds what a data request names: a topic by name or id, then the replica held here.

use std::sync::Arc;

use chronik_core::ids::{BrokerId, Term, TopicId};
use chronik_core::metadata::{ClusterState, Topic};
use kafka_protocol::messages::TopicName;
use uuid::Uuid;

use super::backend::{Backend, Leadership, ReplicaHandle};
use super::errors::{
    FENCED_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
};

/// The topic a data request names: by id from the version on that has ids, by name before.
pub(super) fn topic<'a>(
    cluster: &'a ClusterState,
    by_id: bool,
    name: &TopicName,
    id: Uuid,
) -> Result<&'a Arc<Topic>, i16> {
    if by_id {
        cluster.topic(TopicId(id)).ok_or(UNKNOWN_TOPIC_ID)
    } else {
        cluster.topic_by_name(name).ok_or(UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// Where else to turn: the leader as far as it is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaderHint {
    pub(super) leader: Option<BrokerId>,
    pub(super) epoch: Term,
}

/// A partition that this broker cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: i16,
    /// Set with code 6.
    pub(super) hint: Option<LeaderHint>,
}

impl From<i16> for Refused {
    fn from(code: i16) -> Self {
        Self { code, hint: None }
    }
}

impl Refused {
    pub(super) fn not_leader(leader: Option<BrokerId>, epoch: Term) -> Self {
        Self { code: NOT_LEADER_OR_FOLLOWER, hint: Some(LeaderHint { leader, epoch }) }
    }
}

/// The replica held here; code 6 and the leader when another broker holds it.
pub(super) fn replica(
    backend: &dyn Backend,
    topic: &Topic,
    partition: i32,
) -> Result<Arc<dyn ReplicaHandle>, Refused> {
    let known = topic.partition(partition).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
    backend.replica(topic.id, partition).ok_or_else(|| {
        let report = backend.report(topic, known);
        Refused::not_leader(report.leader, report.epoch)
    })
}

/// Compares the epoch a client goes by with the replica's: below it is fenced, above it is not known here yet.
pub(super) fn check_epoch(leadership: &Leadership, given: i32) -> Result<(), i16> {
    let known = match leadership {
        Leadership::Leader { epoch }
        | Leadership::Follower { epoch, .. }
        | Leadership::Caretaker { epoch } => *epoch,
        Leadership::Quarantined { .. } => return Ok(()),
    };
    match Term::try_from(given) {
        Err(_) => Ok(()),
        Ok(given) if given < known => Err(FENCED_LEADER_EPOCH),
        Ok(given) if given > known => Err(UNKNOWN_LEADER_EPOCH),
        Ok(_) => Ok(()),
    }
}
