//! How a disk without a metadata log comes to one: it founds the cluster with the others, or finds that it exists.
//!
//! A disk whose log holds the metadata group needs nothing of this. One that does not asks its peers first: whoever
//! answers from a formed cluster decides it. Only initial voters found a cluster, and only once a majority of them has
//! been heard and none belongs to a formed one.

use std::collections::BTreeSet;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Generation, ReplicaId};
use serde::{Deserialize, Serialize};

/// What a broker tells a peer in the handshake.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The voters that the cluster was born with; `None` while it does not exist, as far as the sender knows.
    pub formed: Option<Vec<ReplicaId>>,
    /// Which history of its metadata it is; `None` with `formed`.
    pub generation: Option<Generation>,
    /// The disk registered for the broker that is spoken to.
    pub your_disk: Option<DiskId>,
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a hello always serialises").into()
    }

    /// From a peer's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Why a disk may not take part.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BirthError {
    /// Another disk is registered for this broker.
    #[error(
        "broker {broker} is registered with disk {registered}, and this data folder is disk {own}: \
         put the registered disk back; a broker's disk cannot be replaced yet"
    )]
    ChangedDisk {
        /// This broker.
        broker: BrokerId,
        /// The disk the cluster knows.
        registered: DiskId,
        /// The disk found.
        own: DiskId,
    },
    /// The disk is the registered one, and its metadata log is gone.
    #[error(
        "broker {broker} is registered with this disk {own}, but its log no longer holds the cluster's metadata"
    )]
    LostMetadata {
        /// This broker.
        broker: BrokerId,
        /// The disk.
        own: DiskId,
    },
}

/// A disk that waits for the metadata group.
pub struct Birth {
    broker: BrokerId,
    disk: DiskId,
    /// The founders, if this disk is one of theirs.
    founders: Option<BTreeSet<BrokerId>>,
    unformed: BTreeSet<BrokerId>,
}

impl Birth {
    /// A disk of `broker`; `founders` is `None` for one that joins.
    pub fn new(broker: BrokerId, disk: DiskId, founders: Option<BTreeSet<BrokerId>>) -> Self {
        Self { broker, disk, founders, unformed: BTreeSet::new() }
    }

    /// The voters to start with, if no peer is needed to know them.
    pub fn alone(&self) -> Option<Vec<ReplicaId>> {
        self.ready()
    }

    /// Takes in a peer's hello; gives the voters to start the metadata group with once they are known.
    pub fn hear(&mut self, from: BrokerId, hello: &Hello) -> Result<Option<Vec<ReplicaId>>, BirthError> {
        match (&hello.formed, hello.your_disk) {
            (Some(_), Some(registered)) if registered != self.disk => {
                Err(BirthError::ChangedDisk { broker: self.broker, registered, own: self.disk })
            }
            (Some(_), Some(own)) => Err(BirthError::LostMetadata { broker: self.broker, own }),
            (Some(voters), None) => Ok(Some(voters.clone())),
            (None, _) => {
                self.unformed.insert(from);
                Ok(self.ready())
            }
        }
    }

    fn ready(&self) -> Option<Vec<ReplicaId>> {
        let founders = self.founders.as_ref()?;
        let heard = founders.iter().filter(|id| **id == self.broker || self.unformed.contains(id)).count();
        let majority = heard > founders.len() / 2;
        majority.then(|| founders.iter().map(|broker| ReplicaId(u64::from(broker.0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const OWN: DiskId = DiskId(Uuid::from_u128(1));
    const OTHER: DiskId = DiskId(Uuid::from_u128(2));
    const UNFORMED: Hello = Hello { formed: None, generation: None, your_disk: None };

    fn founder(founders: &[u32]) -> Birth {
        Birth::new(BrokerId(1), OWN, Some(founders.iter().map(|id| BrokerId(*id)).collect()))
    }

    fn formed(your_disk: Option<DiskId>) -> Hello {
        Hello { formed: Some(vec![ReplicaId(1)]), generation: Some(Generation::BIRTH), your_disk }
    }

    #[test]
    fn one_founder_needs_nobody() {
        assert_eq!(founder(&[1]).alone(), Some(vec![ReplicaId(1)]));
        assert_eq!(founder(&[1, 2, 3]).alone(), None);
    }

    #[test]
    fn founders_wait_for_a_majority_of_themselves() {
        let mut birth = founder(&[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(9), &UNFORMED), Ok(None), "a stranger is no founder");
        assert_eq!(
            birth.hear(BrokerId(3), &UNFORMED),
            Ok(Some(vec![ReplicaId(1), ReplicaId(2), ReplicaId(3)]))
        );
    }

    #[test]
    fn an_empty_disk_never_founds_what_exists() {
        let mut birth = founder(&[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(2), &formed(None)), Ok(Some(vec![ReplicaId(1)])));
        let changed = BirthError::ChangedDisk { broker: BrokerId(1), registered: OTHER, own: OWN };
        assert_eq!(birth.hear(BrokerId(2), &formed(Some(OTHER))), Err(changed));
        assert!(matches!(birth.hear(BrokerId(2), &formed(Some(OWN))), Err(BirthError::LostMetadata { .. })));
    }

    #[test]
    fn who_joins_founds_nothing() {
        let mut birth = Birth::new(BrokerId(4), OWN, None);
        assert_eq!(birth.alone(), None);
        assert_eq!(birth.hear(BrokerId(2), &UNFORMED), Ok(None));
        assert_eq!(birth.hear(BrokerId(2), &formed(None)), Ok(Some(vec![ReplicaId(1)])));
    }
}
