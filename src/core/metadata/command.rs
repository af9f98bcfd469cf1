//! The commands of the metadata group and their bytes: kind (u16), version (u8), JSON.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::standing::Standing;
use super::state::Broker;
use crate::ids::{
    BrokerId, DiskId, Generation, GroupId, Incarnation, LogIndex, Offset, ReplicaId, Term, TopicId,
};
use crate::restart::{Leave, PermitId};

/// A change of the cluster's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A broker announces itself: first of all its commands, again at each start.
    RegisterBroker(Broker),
    /// Takes a broker that hosts nothing out of the cluster, and its disk for ever.
    UnregisterBroker(UnregisterBroker),
    /// Says what shall become of a broker's replicas.
    SetStanding(SetStanding),
    /// Says how many replicas each partition of a topic shall have.
    SetTopicReplicas(SetTopicReplicas),
    /// Creates a topic.
    CreateTopic(CreateTopic),
    /// Deletes a topic.
    DeleteTopic(DeleteTopic),
    /// Adds partitions to a topic.
    CreatePartitions(CreatePartitions),
    /// Sets and unsets configs of a topic.
    AlterTopicConfigs(AlterTopicConfigs),
    /// Takes the next block of producer ids.
    AllocateProducerIds(AllocateProducerIds),
    /// Finalises a feature level.
    SetFeatureLevel(SetFeatureLevel),
    /// Sets where a partition's replicas shall be, or takes that back.
    AlterReassignment(AlterReassignment),
    /// Notes that a partition's replicas are where they shall be.
    CompleteReassignment(CompleteReassignment),
    /// Puts a new replica in the place of one that can no longer be trusted, on the same broker.
    ReplaceReplica(ReplaceReplica),
    /// Notes that a person rebuilt the metadata from one disk: the first entry after those that disk had.
    RecoverMetadata(RecoverMetadata),
    /// A person makes one replica all that is left of its partition.
    RecoverPartition(RecoverPartition),
    /// Gives a broker leave to stop, or takes the next step of such a leave.
    ChangePermit(ChangePermit),
}

/// See [`Command::UnregisterBroker`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnregisterBroker {
    /// Which.
    pub broker: BrokerId,
}

/// See [`Command::SetStanding`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStanding {
    /// Whose.
    pub broker: BrokerId,
    /// What it is from now on.
    pub standing: Standing,
}

/// See [`Command::SetTopicReplicas`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTopicReplicas {
    /// Whose.
    pub topic: TopicRef,
    /// How many, the leader's among them.
    pub replicas: i32,
}

/// A topic, by name or by id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// Where the replicas of a new topic go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TopicReplicas {
    /// The cluster chooses.
    Placed {
        /// Number of partitions; the proposer has already replaced Kafka's -1 by its default.
        partitions: i32,
        /// Replicas of each; likewise.
        replication_factor: i32,
        /// Brokers the proposer believes to be up: they come first.
        alive: BTreeSet<BrokerId>,
    },
    /// The client chose: the brokers of each partition, from partition 0.
    Manual(Vec<Vec<BrokerId>>),
}

/// See [`Command::CreateTopic`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Its UUID, drawn by the proposer. The same id and name again is the same command again: the first answer holds.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub replicas: TopicReplicas,
    /// Configs to set.
    pub configs: BTreeMap<String, String>,
}

/// See [`Command::DeleteTopic`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteTopic {
    /// Which.
    pub topic: TopicRef,
}

/// Where the replicas of added partitions go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NewPartitions {
    /// The cluster chooses.
    Placed {
        /// Brokers the proposer believes to be up: they come first.
        alive: BTreeSet<BrokerId>,
    },
    /// The client chose: the brokers of each added partition.
    Manual(Vec<Vec<BrokerId>>),
}

/// See [`Command::CreatePartitions`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePartitions {
    /// Which topic.
    pub topic: TopicRef,
    /// How many partitions it has afterwards.
    pub count: i32,
    /// Where they go.
    pub replicas: NewPartitions,
}

/// See [`Command::AlterTopicConfigs`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterTopicConfigs {
    /// Which topic.
    pub topic: TopicRef,
    /// New value of each key; `None` returns it to its default. Other keys stay as they are.
    pub changes: BTreeMap<String, Option<String>>,
}

/// See [`Command::AllocateProducerIds`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocateProducerIds {
    /// Who hands them out.
    pub broker: BrokerId,
}

/// See [`Command::SetFeatureLevel`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFeatureLevel {
    /// The new level; it never falls.
    pub level: u16,
}

/// See [`Command::AlterReassignment`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterReassignment {
    /// Which topic.
    pub topic: TopicRef,
    /// Which of its partitions.
    pub partition: i32,
    /// Its brokers afterwards, the preferred leader first; `None` takes back the move that is under way.
    pub target: Option<Vec<BrokerId>>,
}

/// See [`Command::CompleteReassignment`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteReassignment {
    /// The partition's group.
    pub group: GroupId,
    /// The move that is done, by [`Reassignment::since`](super::Reassignment::since): not one begun meanwhile.
    pub since: LogIndex,
}

/// See [`Command::ReplaceReplica`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceReplica {
    /// The partition's group.
    pub group: GroupId,
    /// The replica that goes.
    pub replica: ReplicaId,
}

/// See [`Command::RecoverMetadata`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverMetadata {
    /// The generation that begins with it.
    pub generation: Generation,
    /// Who did it.
    pub by: String,
    /// When, by that machine's clock: milliseconds since 1970.
    pub unix_ms: i64,
    /// The broker whose disk it was.
    pub broker: BrokerId,
    /// That disk.
    pub disk: DiskId,
    /// Its replica, the only voter from here on.
    pub replica: ReplicaId,
    /// Members of the group that are so no more.
    pub retired: Vec<ReplicaId>,
    /// Every other disk that took part, each with its broker: none of them is heard again.
    pub retired_disks: BTreeMap<DiskId, BrokerId>,
    /// The last entry that the disk had.
    pub last: LogIndex,
    /// The term of that entry.
    pub last_term: Term,
    /// The term from here on.
    pub epoch: Term,
}

/// See [`Command::RecoverPartition`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverPartition {
    /// The partition's group.
    pub group: GroupId,
    /// The replica that is left, the only voter from here on.
    pub survivor: ReplicaId,
    /// The epoch from here on.
    pub epoch: Term,
    /// The survivor's end offset when it was asked for.
    pub end_offset: Offset,
    /// Who asked for it.
    pub by: String,
    /// When, by the clock of the broker that was asked: milliseconds since 1970.
    pub unix_ms: i64,
}

/// See [`Command::ChangePermit`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ChangePermit {
    /// The broker may stop, if neither permits nor what they are judged by have changed since that was judged.
    Grant {
        /// The version of the permits that it was judged with.
        judged: u64,
        /// Whose leave, and for what.
        leave: Leave,
    },
    /// Its pod is about to be deleted.
    Begin {
        /// Which.
        permit: PermitId,
        /// The pod.
        pod_uid: String,
    },
    /// It was not used, and its time is over or the state has worsened.
    TakeBack {
        /// Which.
        permit: PermitId,
    },
    /// A later life of the broker is back in every ISR.
    Close {
        /// Which.
        permit: PermitId,
        /// The life that is back.
        back: Incarnation,
    },
    /// The pod was not deleted after all.
    Abort {
        /// Which.
        permit: PermitId,
        /// The pod.
        pod_uid: String,
    },
}

/// Why bytes are not a command. A broker that meets one in its committed log must stop: it cannot follow.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too short for kind and version.
    #[error("metadata command of {0} bytes: kind and version alone take 3")]
    Short(usize),
    /// Written by a newer build.
    #[error("metadata command kind {kind} version {version} is not known to this build")]
    Unknown {
        /// Its kind.
        kind: u16,
        /// Its version.
        version: u8,
    },
    /// Not what kind and version promise.
    #[error("metadata command kind {kind} version {version} is malformed: {source}")]
    Malformed {
        /// Its kind.
        kind: u16,
        /// Its version.
        version: u8,
        /// Where and why.
        source: serde_json::Error,
    },
}

const VERSION: u8 = 1;

mod kind {
    pub(super) const REGISTER_BROKER: u16 = 1;
    pub(super) const CREATE_TOPIC: u16 = 2;
    pub(super) const DELETE_TOPIC: u16 = 3;
    pub(super) const CREATE_PARTITIONS: u16 = 4;
    pub(super) const ALTER_TOPIC_CONFIGS: u16 = 5;
    pub(super) const ALLOCATE_PRODUCER_IDS: u16 = 6;
    pub(super) const SET_FEATURE_LEVEL: u16 = 7;
    pub(super) const ALTER_REASSIGNMENT: u16 = 8;
    pub(super) const COMPLETE_REASSIGNMENT: u16 = 9;
    pub(super) const REPLACE_REPLICA: u16 = 10;
    pub(super) const UNREGISTER_BROKER: u16 = 11;
    pub(super) const SET_STANDING: u16 = 12;
    pub(super) const SET_TOPIC_REPLICAS: u16 = 13;
    // 14 to 19 are left to changes of brokers and topics.
    pub(super) const RECOVER_METADATA: u16 = 20;
    pub(super) const RECOVER_PARTITION: u16 = 21;
    pub(super) const CHANGE_PERMIT: u16 = 22;
}

impl Command {
    /// Its bytes, as they stand in the log.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::RegisterBroker(body) => framed(kind::REGISTER_BROKER, body),
            Self::UnregisterBroker(body) => framed(kind::UNREGISTER_BROKER, body),
            Self::SetStanding(body) => framed(kind::SET_STANDING, body),
            Self::SetTopicReplicas(body) => framed(kind::SET_TOPIC_REPLICAS, body),
            Self::CreateTopic(body) => framed(kind::CREATE_TOPIC, body),
            Self::DeleteTopic(body) => framed(kind::DELETE_TOPIC, body),
            Self::CreatePartitions(body) => framed(kind::CREATE_PARTITIONS, body),
            Self::AlterTopicConfigs(body) => framed(kind::ALTER_TOPIC_CONFIGS, body),
            Self::AllocateProducerIds(body) => framed(kind::ALLOCATE_PRODUCER_IDS, body),
            Self::SetFeatureLevel(body) => framed(kind::SET_FEATURE_LEVEL, body),
            Self::AlterReassignment(body) => framed(kind::ALTER_REASSIGNMENT, body),
            Self::CompleteReassignment(body) => framed(kind::COMPLETE_REASSIGNMENT, body),
            Self::ReplaceReplica(body) => framed(kind::REPLACE_REPLICA, body),
            Self::RecoverMetadata(body) => framed(kind::RECOVER_METADATA, body),
            Self::RecoverPartition(body) => framed(kind::RECOVER_PARTITION, body),
            Self::ChangePermit(body) => framed(kind::CHANGE_PERMIT, body),
        }
    }

    /// Whether these bytes are those of a recovery of the metadata, without reading more than it takes.
    pub fn is_recovery(bytes: &[u8]) -> bool {
        bytes.starts_with(&kind::RECOVER_METADATA.to_be_bytes())
    }

    /// Reads what [`Command::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [high, low, version, body @ ..] = bytes else { return Err(DecodeError::Short(bytes.len())) };
        let (kind, version) = (u16::from_be_bytes([*high, *low]), *version);
        if version != VERSION {
            return Err(DecodeError::Unknown { kind, version });
        }
        let command = match kind {
            kind::REGISTER_BROKER => serde_json::from_slice(body).map(Self::RegisterBroker),
            kind::UNREGISTER_BROKER => serde_json::from_slice(body).map(Self::UnregisterBroker),
            kind::SET_STANDING => serde_json::from_slice(body).map(Self::SetStanding),
            kind::SET_TOPIC_REPLICAS => serde_json::from_slice(body).map(Self::SetTopicReplicas),
            kind::CREATE_TOPIC => serde_json::from_slice(body).map(Self::CreateTopic),
            kind::DELETE_TOPIC => serde_json::from_slice(body).map(Self::DeleteTopic),
            kind::CREATE_PARTITIONS => serde_json::from_slice(body).map(Self::CreatePartitions),
            kind::ALTER_TOPIC_CONFIGS => serde_json::from_slice(body).map(Self::AlterTopicConfigs),
            kind::ALLOCATE_PRODUCER_IDS => serde_json::from_slice(body).map(Self::AllocateProducerIds),
            kind::SET_FEATURE_LEVEL => serde_json::from_slice(body).map(Self::SetFeatureLevel),
            kind::ALTER_REASSIGNMENT => serde_json::from_slice(body).map(Self::AlterReassignment),
            kind::COMPLETE_REASSIGNMENT => serde_json::from_slice(body).map(Self::CompleteReassignment),
            kind::REPLACE_REPLICA => serde_json::from_slice(body).map(Self::ReplaceReplica),
            kind::RECOVER_METADATA => serde_json::from_slice(body).map(Self::RecoverMetadata),
            kind::RECOVER_PARTITION => serde_json::from_slice(body).map(Self::RecoverPartition),
            kind::CHANGE_PERMIT => serde_json::from_slice(body).map(Self::ChangePermit),
            _ => return Err(DecodeError::Unknown { kind, version }),
        };
        command.map_err(|source| DecodeError::Malformed { kind, version, source })
    }
}

fn framed(kind: u16, body: &impl Serialize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(256);
    bytes.put_u16(kind);
    bytes.put_u8(VERSION);
    // Strings, numbers and maps with string keys always serialise.
    serde_json::to_writer((&mut bytes).writer(), body).expect("a command is plain data");
    bytes.freeze()
}
