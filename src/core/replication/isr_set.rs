//! A set of in-sync replicas, small and sorted. It knows no rule for who belongs in it.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;

/// The replicas of a partition that are in sync, ascending. A handful at most, so a sorted vector beats a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<ReplicaId>", into = "Vec<ReplicaId>")]
pub struct IsrSet(Vec<ReplicaId>);

impl IsrSet {
    /// A set of these replicas; order and repetitions do not matter.
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        let mut sorted: Vec<_> = replicas.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted)
    }

    /// Adds a replica; false if it was in already.
    pub fn add(&mut self, replica: ReplicaId) -> bool {
        match self.0.binary_search(&replica) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, replica);
                true
            }
        }
    }

    /// Removes a replica; false if it was not in.
    pub fn remove(&mut self, replica: ReplicaId) -> bool {
        match self.0.binary_search(&replica) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether a replica is in.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.0.binary_search(&replica).is_ok()
    }

    /// How many replicas are in.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + Clone + '_ {
        self.0.iter().copied()
    }

    /// The members, ascending.
    pub fn as_slice(&self) -> &[ReplicaId] {
        &self.0
    }
}

impl From<Vec<ReplicaId>> for IsrSet {
    fn from(replicas: Vec<ReplicaId>) -> Self {
        Self::new(replicas)
    }
}

impl From<IsrSet> for Vec<ReplicaId> {
    fn from(set: IsrSet) -> Self {
        set.0
    }
}
