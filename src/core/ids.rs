//! The names things have: identifiers shared by every part. No behaviour beyond parsing and printing.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A Kafka offset: the position of a record in its partition, from 0.
pub type Offset = i64;

/// A position in a Raft log, from 1; 0 means "before the first entry".
pub type LogIndex = u64;

/// A Raft term. It is also the partition's Kafka leader epoch.
pub type Term = u64;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// A broker's number, Kafka's node id, from 1: StatefulSet ordinal + 1 under the operator.
    BrokerId(u32)
}

number_id! {
    /// A replica's Raft id, from 1: allocated by the metadata group, tied to one disk, never used twice.
    ReplicaId(u64)
}

number_id! {
    /// A Raft group: 1 is the metadata group, the rest are partitions. Never used twice.
    GroupId(u64)
}

uuid_id! {
    /// A topic's UUID, as Kafka's clients see it. A recreated topic has another one.
    TopicId
}

uuid_id! {
    /// A data folder's identity, drawn when it was formatted.
    DiskId
}

impl GroupId {
    /// The group that holds brokers, topics, assignments and configs.
    pub const METADATA: GroupId = GroupId(1);
}

/// One life of a broker process: which disk it runs on and how often that disk was started.
///
/// A higher `start` on the same disk is a newer life; peers fence the older ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation {
    /// The data folder.
    pub disk: DiskId,
    /// Starts of that data folder so far, from 1; persisted before the broker speaks to anyone.
    pub start: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.disk, self.start)
    }
}

/// Which history of the cluster's metadata somebody holds. A person who rebuilds the metadata from one disk begins another
/// one, and what others hold of the older one counts no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// How often the metadata was rebuilt so far.
    pub number: u32,
    /// Drawn when it was rebuilt: two disks that were both made the survivor have nothing in common. Nil at birth.
    pub recovery: Uuid,
}

impl Generation {
    /// What a cluster is born with.
    pub const BIRTH: Generation = Generation { number: 0, recovery: Uuid::nil() };
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => f.write_str("0"),
            number => write!(f, "{number} ({})", self.recovery),
        }
    }
}

/// Why a text is not a cluster id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster id {0:?} is not allowed: 1 to 64 characters of A-Z, a-z, 0-9, '-' and '_'")]
pub struct InvalidClusterId(String);

/// A cluster's identity: 1 to 64 characters of `[A-Za-z0-9_-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

impl ClusterId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClusterId {
    type Error = InvalidClusterId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidClusterId(text))
        }
    }
}

impl std::str::FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> String {
        id.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_refused_by_name_and_value() {
        let error = "no spaces".parse::<ClusterId>().unwrap_err().to_string();
        assert!(error.contains("\"no spaces\"") && error.contains("1 to 64"), "{error}");
        assert!("".parse::<ClusterId>().is_err());
        assert!("x".repeat(65).parse::<ClusterId>().is_err());
        assert!("MkU3OEVBNTcwNTJENDM2Qg-_".parse::<ClusterId>().is_ok());
    }
}
