//! What one broker tells others about partitions and the cluster: the gossiped view and the admin API's DTOs.

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, ClusterId, Generation, GroupId, LogIndex, Offset, Term, TopicId};
use crate::metadata::{Recovery, Standing};

mod permits;
mod recovery;
pub use permits::{
    BLOCKS_LISTED, BlockReport, PermitAnswer, PermitBody, PermitProblem, PermitRefused, PermitReport,
    PermitsReport, PodBody,
};
pub use recovery::{PartitionRecovery, RecoverBody, RecoverChoice, RecoveryReport};

/// Which of two views of a partition is newer: first the leader's term, then its own count of changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ViewVersion {
    /// The term of the leader that formed the view.
    pub term: Term,
    /// Grows by one with every change that leader publishes in this term, from 1.
    pub version: u64,
}

/// How far one replica is behind its leader.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowerLag {
    /// The broker that holds the replica.
    pub broker: BrokerId,
    /// Records between its synced position and the leader's end.
    pub lag_entries: u64,
    /// Milliseconds since it had all that the leader had.
    pub lag_ms: u64,
    /// Unix milliseconds at which the leader last heard from it; 0 if never in this term.
    pub last_heartbeat_ms: u64,
}

/// A partition as its leader sees it: soft state, gossiped to every broker, never written to a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionView {
    /// The partition's Raft group.
    pub group: GroupId,
    /// Its topic.
    pub topic: TopicId,
    /// Its number within the topic, from 0.
    pub partition: i32,
    /// Orders views of this group.
    pub at: ViewVersion,
    /// The broker that formed the view, as leader.
    pub leader: BrokerId,
    /// Brokers in sync, ascending, the leader among them.
    pub isr: Vec<BrokerId>,
    /// min(replication factor, max(`min.insync.replicas`, majority)).
    pub effective_min_isr: u32,
    /// True until every member has answered this leader once: not to be used for permits.
    pub provisional: bool,
    /// The metadata log index the leader had applied: its successor applies at least this much first.
    pub metadata_index: LogIndex,
}

/// What the admin API says about the cluster: `GET /v1/cluster`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The cluster's identity.
    pub cluster_id: ClusterId,
    /// The broker that answers.
    pub broker: BrokerId,
    /// Leader of the metadata group, if one is known.
    pub metadata_leader: Option<BrokerId>,
    /// Brokers that vote in the metadata group, ascending, as the broker that answers has applied it.
    #[serde(default)]
    pub metadata_voters: Vec<BrokerId>,
    /// Metadata log index applied by the broker that answers.
    pub metadata_index: LogIndex,
    /// Every registered broker, ascending.
    pub brokers: Vec<BrokerReport>,
    /// Partition totals over all topics.
    pub partitions: PartitionTotals,
    /// Which history of the metadata it is.
    pub generation: Generation,
    /// What people rebuilt from one survivor, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<Recovery>,
}

/// One registered broker, as seen by the broker that answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BrokerReport {
    /// Its number.
    pub id: BrokerId,
    /// Whether the broker that answers hears from it.
    pub alive: bool,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// `name -> host:port` of the listeners it registered.
    pub listeners: Vec<ListenerReport>,
    /// Version of the build it runs.
    pub version: String,
    /// Partitions it leads, by the views known here.
    pub leaders: u32,
    /// Replicas assigned to it.
    pub replicas: u32,
    /// What shall become of them.
    #[serde(default)]
    pub standing: Standing,
    /// Partitions with a replica there that comes or goes because of that, or because somebody else moves it meanwhile.
    #[serde(default)]
    pub moving: u32,
    /// What keeps a broker from leaving, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// The data folder it registered with.
    pub disk: String,
}

/// `PUT /v1/brokers/{id}/standing`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingBody {
    /// What shall become of the broker's replicas.
    pub standing: Standing,
}

/// One registered listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// Advertised `host:port`.
    pub address: String,
}

/// Counts over a set of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PartitionTotals {
    /// All partitions.
    pub total: u32,
    /// Partitions whose ISR holds every replica.
    pub in_sync: u32,
    /// Partitions whose ISR lacks a replica.
    pub under_replicated: u32,
    /// Partitions whose ISR is exactly the effective min ISR.
    pub at_min_isr: u32,
    /// Partitions whose ISR is below the effective min ISR: they refuse acks=all.
    pub under_min_isr: u32,
    /// Partitions without a leader.
    pub offline: u32,
    /// Partitions about which nothing recent is known.
    pub unknown: u32,
}

/// Whether a partition's state is known, and from whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// A leader's own recent view.
    Leader,
    /// A lone survivor's local view: quorum is lost, nothing is written.
    Caretaker,
    /// No leader is known.
    Offline,
    /// No view, or one that is too old.
    Unknown,
}

/// One partition: part of `GET /v1/topics/{name}` and of the watch stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its number, from 0.
    pub partition: i32,
    /// How its state is known.
    pub state: PartitionState,
    /// Its leader, or its caretaker.
    pub leader: Option<BrokerId>,
    /// The leader's epoch (its Raft term).
    pub epoch: Term,
    /// Assigned brokers in order of preference.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are coming: replicas are moving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<BrokerId>,
    /// Those of them that go when the move is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<BrokerId>,
    /// Replicas are moving or being replaced: until that is over, those that go still count for a majority.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
    /// Brokers in sync; `None` while unknown.
    pub isr: Option<Vec<BrokerId>>,
    /// Milliseconds since this broker last heard the leader confirm that ISR; `None` while unknown.
    pub isr_age_ms: Option<u64>,
    /// min(replication factor, max(`min.insync.replicas`, majority)).
    pub effective_min_isr: u32,
    /// True while a new leader still waits for a member's first answer.
    pub provisional: bool,
    /// Version of the leader's view.
    pub version: u64,
    /// Replicas here that were taken out of service, with the reason (only for the broker that answers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// High watermark, if this broker hosts a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<Offset>,
    /// Lag of each follower, if this broker leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followers: Vec<FollowerLag>,
}

/// A topic's way to another number of replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResizeReport {
    /// Replicas that each partition shall have.
    pub replicas: u32,
    /// Partitions that have them, and of which nothing moves.
    pub done: u32,
    /// What the first partition that is neither there nor on its way waits for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// One topic: `GET /v1/topics/{name}`, and one line of the watch stream `GET /v1/watch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub id: TopicId,
    /// Its replication factor as created.
    pub replication_factor: u32,
    /// Configs that were set; all others have their defaults.
    pub configs: std::collections::BTreeMap<String, String>,
    /// Its way to another number of replicas, while it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeReport>,
    /// Counts over its partitions.
    pub totals: PartitionTotals,
    /// Its partitions in order, or in the watch stream those that changed.
    pub partitions: Vec<PartitionReport>,
}
