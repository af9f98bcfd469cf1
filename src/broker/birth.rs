//! How a disk without a metadata log comes to one: it founds the cluster with the others, begins the replica that it was
//! given, or has to be registered first.
//!
//! A disk whose log holds the metadata group needs nothing of this. One that does not hears its peers first. Whoever knows it
//! as registered decides it: the disk begins the replica that was given to it. A founder begins under its broker's number,
//! but only once every other founder has been heard since its start and none of them knows another disk in its place: a
//! majority would not do, for one disk among them may have been emptied after it had voted. Any other disk that hears of a
//! cluster is to be registered, as a new one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Generation, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::log::{Founder, GroupHeader};
use crate::replica::Shared;

/// What a broker tells a peer in the handshake, and when it is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's own disk.
    pub disk: DiskId,
    /// The voters that the cluster was born with; `None` while it does not exist, as far as the sender knows.
    pub formed: Option<Vec<Founder>>,
    /// Which history of its metadata it is; `None` with `formed`.
    pub generation: Option<Generation>,
    /// What is registered for the broker that is spoken to.
    pub you: Option<Founder>,
}

impl Hello {
    /// What a broker on that disk tells a peer now.
    pub fn to(peer: BrokerId, disk: DiskId, shared: &Shared) -> Self {
        let formed = shared.formed.borrow().as_ref().map(|beginning| beginning.founders.clone());
        let registered = shared.cluster.borrow().broker(peer).cloned();
        let you = registered
            .and_then(|broker| Some(Founder { replica: broker.metadata_replica?, disk: broker.disk }));
        let generation = *shared.generation.borrow();
        Self { disk, formed, generation, you }
    }

    /// As bytes.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a hello always serialises").into()
    }

    /// From a peer's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// What a disk without metadata is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Begin its replica of the metadata group.
    Begin(Beginning),
    /// Have itself registered as a new disk, and hear its peers again.
    Register,
}

/// How a replica of the metadata group begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The replica.
    pub replica: ReplicaId,
    /// The group's first voters.
    pub founders: Vec<Founder>,
    /// Which history of the metadata it is to hold.
    pub generation: Generation,
}

impl Beginning {
    /// How a replica with that header began.
    pub fn of(header: &GroupHeader) -> Self {
        let GroupHeader { replica, founders, generation, .. } = header.clone();
        Self { replica, founders, generation }
    }
}

/// The replica of a founder: its broker's number.
pub fn founder_replica(broker: BrokerId) -> ReplicaId {
    ReplicaId(u64::from(broker.0))
}

/// The broker of a founder's replica.
pub fn founder_broker(replica: ReplicaId) -> Option<BrokerId> {
    u32::try_from(replica.0).ok().map(BrokerId)
}

/// A disk that waits for the metadata group.
pub struct Birth {
    own: Founder,
    /// The other founders, if this disk is one of them.
    others: Option<BTreeSet<BrokerId>>,
    /// The disks of those that were heard and know no other in this one's place.
    heard: BTreeMap<BrokerId, DiskId>,
}

impl Birth {
    /// A disk of `broker`; `founders` is `None` for one that joins.
    pub fn new(broker: BrokerId, disk: DiskId, founders: Option<BTreeSet<BrokerId>>) -> Self {
        let others = founders.map(|founders| founders.into_iter().filter(|id| *id != broker).collect());
        Self { own: Founder { replica: founder_replica(broker), disk }, others, heard: BTreeMap::new() }
    }

    /// What to do if no peer is needed to know it.
    pub fn alone(&self) -> Option<Step> {
        self.found()
    }

    /// Takes in a peer's hello; gives what is to be done, once that is known.
    pub fn hear(&mut self, from: BrokerId, hello: &Hello) -> Option<Step> {
        if let Some(founders) = &hello.formed {
            if let Some(own) = hello.you.filter(|you| you.disk == self.own.disk) {
                let (founders, generation) =
                    (founders.clone(), hello.generation.unwrap_or(Generation::BIRTH));
                return Some(Step::Begin(Beginning { replica: own.replica, founders, generation }));
            }
            // This disk was heard when that founder began. A recovery since then has put it out of its place.
            let at_birth = hello.generation == Some(Generation::BIRTH);
            let agreed =
                self.others.is_some() && at_birth && hello.you.is_none() && founders.contains(&self.own);
            if !agreed {
                return Some(Step::Register);
            }
        }
        self.heard.insert(from, hello.disk);
        self.found()
    }

    fn found(&self) -> Option<Step> {
        let others = self.others.as_ref()?;
        let founder = |broker: &BrokerId| {
            Some(Founder { replica: founder_replica(*broker), disk: *self.heard.get(broker)? })
        };
        let mut founders: Vec<Founder> = others.iter().map(founder).collect::<Option<_>>()?;
        founders.push(self.own);
        founders.sort_unstable_by_key(|founder| founder.replica);
        let generation = Generation::BIRTH;
        Some(Step::Begin(Beginning { replica: self.own.replica, founders, generation }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const fn disk(number: u128) -> DiskId {
        DiskId(Uuid::from_u128(number))
    }

    fn birth(broker: u32, founders: &[u32]) -> Birth {
        let founders = founders.iter().map(|id| BrokerId(*id)).collect();
        Birth::new(BrokerId(broker), disk(u128::from(broker)), Some(founders))
    }

    fn founder(id: u64, on: u128) -> Founder {
        Founder { replica: ReplicaId(id), disk: disk(on) }
    }

    fn unformed(on: u128) -> Hello {
        Hello { disk: disk(on), formed: None, generation: None, you: None }
    }

    fn formed(on: u128, founders: &[(u64, u128)], you: Option<(u64, u128)>) -> Hello {
        let founders = founders.iter().map(|(id, on)| founder(*id, *on)).collect();
        let you = you.map(|(id, on)| founder(id, on));
        Hello { disk: disk(on), formed: Some(founders), generation: Some(Generation::BIRTH), you }
    }

    fn begin(replica: u64, founders: &[(u64, u128)]) -> Option<Step> {
        let founders = founders.iter().map(|(id, on)| founder(*id, *on)).collect();
        let generation = Generation::BIRTH;
        Some(Step::Begin(Beginning { replica: ReplicaId(replica), founders, generation }))
    }

    const THREE: [(u64, u128); 3] = [(1, 1), (2, 2), (3, 3)];

    #[test]
    fn one_founder_needs_nobody() {
        assert_eq!(birth(1, &[1]).alone(), begin(1, &[(1, 1)]));
        assert_eq!(birth(1, &[1, 2, 3]).alone(), None);
    }

    #[test]
    fn founders_begin_once_all_of_them_were_heard() {
        let mut birth = birth(1, &[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(9), &unformed(9)), None, "a stranger is no founder");
        assert_eq!(birth.hear(BrokerId(3), &unformed(3)), None, "two of three may have been others before");
        assert_eq!(birth.hear(BrokerId(2), &unformed(2)), begin(1, &THREE));
    }

    #[test]
    fn a_founder_that_began_earlier_counts_if_it_knows_this_disk() {
        let mut birth = birth(2, &[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(1), &formed(1, &THREE, None)), None);
        assert_eq!(birth.hear(BrokerId(3), &unformed(3)), begin(2, &THREE));
    }

    /// Its first disk may have voted for the one that knows it.
    #[test]
    fn a_founder_whose_disk_was_emptied_comes_as_a_new_disk() {
        let mut birth = birth(2, &[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(3), &unformed(3)), None);
        let before = formed(1, &[(1, 1), (2, 77), (3, 3)], None);
        assert_eq!(birth.hear(BrokerId(1), &before), Some(Step::Register));
        let registered = formed(1, &THREE, Some((2, 77)));
        assert_eq!(birth.hear(BrokerId(1), &registered), Some(Step::Register));
        let replaced = formed(1, &[(1, 1), (2, 77), (3, 3)], Some((100_005, 2)));
        assert_eq!(birth.hear(BrokerId(1), &replaced), begin(100_005, &[(1, 1), (2, 77), (3, 3)]));
    }

    #[test]
    fn the_disk_heard_last_is_the_founder_s() {
        let mut birth = birth(1, &[1, 2, 3]);
        birth.hear(BrokerId(2), &unformed(77));
        birth.hear(BrokerId(2), &unformed(2));
        assert_eq!(birth.hear(BrokerId(3), &unformed(3)), begin(1, &THREE));
    }

    #[test]
    fn who_joins_founds_nothing_and_begins_once_it_is_registered() {
        let mut birth = Birth::new(BrokerId(4), disk(4), None);
        assert_eq!(birth.alone(), None);
        assert_eq!(birth.hear(BrokerId(2), &unformed(2)), None);
        assert_eq!(birth.hear(BrokerId(2), &formed(2, &THREE, None)), Some(Step::Register));
        assert_eq!(birth.hear(BrokerId(2), &formed(2, &THREE, Some((100_000, 4)))), begin(100_000, &THREE));
    }

    /// The recovery retired its disk, of which nothing tells but the refusal of its registration.
    #[test]
    fn a_founder_does_not_begin_beside_a_cluster_that_was_recovered() {
        let mut birth = birth(3, &[1, 2, 3]);
        let generation = Some(Generation { number: 1, recovery: Uuid::from_u128(7) });
        let recovered = Hello { generation, ..formed(1, &THREE, None) };
        assert_eq!(birth.hear(BrokerId(1), &recovered), Some(Step::Register));
    }

    /// It died between its registration and the sync of its replica's beginning.
    #[test]
    fn a_registered_disk_without_a_replica_begins_it() {
        let mut birth = birth(1, &[1, 2, 3]);
        assert_eq!(birth.hear(BrokerId(2), &formed(2, &THREE, Some((1, 1)))), begin(1, &THREE));
    }
}
