//! What a broker says of partitions that could go on from its replica alone: `GET /v1/recovery`, and the order to do so.

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, GroupId, Offset, ReplicaId, Term};
use crate::replication::recovery::MayLack;

/// `GET /v1/recovery`: every partition of which the broker that answers holds a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// The broker that answers.
    pub broker: BrokerId,
    /// Leader of the metadata group, if one is known: without one nothing can be recovered.
    pub metadata_leader: Option<BrokerId>,
    /// By topic and number.
    pub partitions: Vec<PartitionRecovery>,
}

/// A partition as it would go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionRecovery {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Its Raft group.
    pub group: GroupId,
    /// The replica here.
    pub survivor: ReplicaId,
    /// Why it is not to go on from here; `None` if it could.
    pub refused: Option<String>,
    /// The offset after the last record here.
    pub end_offset: Offset,
    /// The high watermark that is known here.
    pub high_watermark: Offset,
    /// The leader that was last heard.
    pub last_leader: Option<BrokerId>,
    /// The ISR that it last told.
    pub last_isr: Option<Vec<BrokerId>>,
    /// How many members an acknowledgement took then.
    pub last_min_isr: Option<u32>,
    /// Milliseconds since then.
    pub last_heard_ms: Option<u64>,
    /// Which acknowledged records may be missing here.
    pub may_lack: MayLack,
    /// Other brokers with a replica that are heard: theirs may hold more.
    pub heard: Vec<BrokerId>,
    /// Brokers with a replica that are not heard: those replicas are given up.
    pub lost: Vec<BrokerId>,
    /// The epoch it would go on with.
    pub epoch: Option<Term>,
}

/// `POST /v1/recovery`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverBody {
    /// Who asks for it.
    pub by: String,
    /// What is to go on, as it was told.
    pub partitions: Vec<RecoverChoice>,
}

/// One partition that is to go on from the replica of the broker that is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverChoice {
    /// Its group.
    pub group: GroupId,
    /// The replica that was told.
    pub survivor: ReplicaId,
}
