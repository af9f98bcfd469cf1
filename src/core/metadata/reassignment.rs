//! Where a partition's replicas shall be: sets a target, takes it back, notes that it is reached. It moves nothing.
//!
//! A cancelled move is a move back to where it began: a replica that may already vote, or hold what others no longer
//! have, goes only when the group's configuration no longer names it, as its leader says by completing the move.

use std::sync::Arc;

use super::apply::Applied;
use super::command::{AlterReassignment, CompleteReassignment, ReplaceReplica};
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{ClusterState, Partition, Reassignment, Replica, Topic};
use crate::ids::{BrokerId, ReplicaId};

/// A target's place for each replica: one that is there, or one that is to be made on a broker.
enum Place {
    Present(Replica),
    New(BrokerId),
}

impl ClusterState {
    /// Every partition whose replicas are moving, with its topic.
    pub fn reassignments(&self) -> impl Iterator<Item = (&Arc<Topic>, &Partition)> {
        self.partitions().filter(|(_, partition)| partition.reassignment.is_some())
    }

    /// Whether the move could be set or taken back.
    pub fn validate_alter_reassignment(&self, wanted: &AlterReassignment) -> Result<(), Refusal> {
        self.judge_reassignment(wanted).map(drop)
    }

    fn judge_reassignment(
        &self,
        wanted: &AlterReassignment,
    ) -> Result<(Arc<Topic>, Partition, Vec<Place>), Refusal> {
        let topic = self.find_topic(&wanted.topic)?;
        let Some(partition) = topic.partition(wanted.partition) else {
            let allowed = format!("0 to {}, as topic {} has", topic.partitions.len() - 1, topic.name);
            let code = RefusalCode::UnknownPartition;
            return Err(Refusal::new(code, "partition", wanted.partition, allowed));
        };
        let places: Vec<Place> = match &wanted.target {
            Some(brokers) => {
                let field = format!("replicas of partition {}", partition.number);
                self.validate_replicas(&field, brokers, brokers.len())?;
                brokers.iter().map(|broker| self.place_on(partition, *broker)).collect()
            }
            None => original(partition)?.into_iter().map(Place::Present).collect(),
        };
        for place in &places {
            if let Place::New(broker) = place {
                self.validate_new_replica(&format!("replicas of partition {}", partition.number), *broker)?;
            }
        }
        let added = places.iter().filter(|place| matches!(place, Place::New(_))).count();
        self.validate_more_replicas(partition, added)?;
        if places.len() < partition.target().len() {
            let field = format!("number of replicas of partition {}", partition.number);
            let allowed = format!("{} or more", partition.target().len());
            self.refuse_while_permitted(&field, places.len(), &allowed)?;
        }
        Ok((topic.clone(), partition.clone(), places))
    }

    /// The replica that is there is kept, if it lives on the disk its broker has now.
    fn place_on(&self, partition: &Partition, broker: BrokerId) -> Place {
        let disk = self.broker(broker).map(|broker| broker.disk);
        match partition.replica_on(broker) {
            Some(replica) if Some(replica.disk) == disk => Place::Present(*replica),
            _ => Place::New(broker),
        }
    }

    pub(super) fn validate_more_replicas(&self, partition: &Partition, added: usize) -> Result<(), Refusal> {
        let refuse = |field: &str, wanted: usize, most: usize| {
            let allowed = format!("at most {most}, those that go counted until they are gone");
            Err(Refusal::new(RefusalCode::LimitExceeded, field, wanted, allowed))
        };
        let (here, all) = (partition.replicas.len() + added, self.replica_count() + added);
        if here > limits::REPLICAS_WHILE_MOVING {
            return refuse("replicas of the partition", here, limits::REPLICAS_WHILE_MOVING);
        }
        if all > limits::REPLICAS {
            return refuse("replicas of the cluster", all, limits::REPLICAS);
        }
        Ok(())
    }

    pub(super) fn alter_reassignment(&mut self, wanted: &AlterReassignment) -> Result<Applied, Refusal> {
        let (topic, mut partition, places) = self.judge_reassignment(wanted)?;
        let mut target = Vec::with_capacity(places.len());
        for place in places {
            match place {
                Place::Present(replica) => target.push(replica),
                Place::New(broker) => target.extend(self.new_replica(broker)),
            }
        }
        if partition.target() != target {
            self.set_target(&mut partition, target);
            self.replace_partition(&topic, partition.clone());
        }
        Ok(Applied::ReassignmentAltered { group: partition.group, moving: partition.reassignment.is_some() })
    }

    fn set_target(&self, partition: &mut Partition, target: Vec<Replica>) {
        let original = match &partition.reassignment {
            Some(moving) => moving.original.clone(),
            None => ids(&partition.replicas),
        };
        let reassignment = Reassignment { since: self.applied(), original, target: ids(&target) };
        let going: Vec<Replica> =
            partition.replicas.iter().filter(|replica| !target.contains(replica)).copied().collect();
        // Another order of the same replicas moves nothing; during a move the group's voters may be others by now.
        let only_order =
            partition.reassignment.is_none() && going.is_empty() && target.len() == partition.replicas.len();
        partition.replicas = target.into_iter().chain(going).collect();
        partition.reassignment = (!only_order).then_some(reassignment);
    }

    /// Whether a new replica could take that one's place: the partition, and the replica that goes.
    pub fn validate_replace_replica(
        &self,
        wanted: &ReplaceReplica,
    ) -> Result<(Arc<Topic>, Partition, Replica), Refusal> {
        let found = self.group(wanted.group).and_then(|(topic, partition)| {
            let old = partition.target().iter().find(|replica| replica.replica == wanted.replica)?;
            Some((topic.clone(), partition.clone(), *old))
        });
        let Some((topic, partition, old)) = found else {
            let (code, field) = (RefusalCode::InvalidRequest, format!("replica of group {}", wanted.group));
            return Err(Refusal::new(code, field, wanted.replica, "one that the partition shall have"));
        };
        self.validate_more_replicas(&partition, 1)?;
        Ok((topic, partition, old))
    }

    /// A move in which one replica gives way to another on the same broker. Taking it back would bring back what cannot
    /// be trusted, so that the new one counts as having been there.
    pub(super) fn replace_replica(&mut self, wanted: &ReplaceReplica) -> Result<Applied, Refusal> {
        let (topic, mut partition, old) = self.validate_replace_replica(wanted)?;
        let Some(new) = self.new_replica(old.broker) else {
            let allowed = "the id of a registered broker";
            return Err(Refusal::new(RefusalCode::UnknownBroker, "broker id", old.broker, allowed));
        };
        let instead = |replica: &Replica| if replica.replica == old.replica { new } else { *replica };
        let target = partition.target().iter().map(instead).collect();
        self.set_target(&mut partition, target);
        for original in partition.reassignment.iter_mut().flat_map(|moving| &mut moving.original) {
            if *original == old.replica {
                *original = new.replica;
            }
        }
        self.replace_partition(&topic, partition);
        Ok(Applied::ReplicaReplaced { group: wanted.group, replica: new.replica })
    }

    /// Whether that very move is under way.
    pub fn validate_complete_reassignment(
        &self,
        done: &CompleteReassignment,
    ) -> Result<(Arc<Topic>, Partition), Refusal> {
        match self.group(done.group) {
            Some((topic, partition))
                if partition.reassignment.as_ref().is_some_and(|moving| moving.since == done.since) =>
            {
                Ok((topic.clone(), partition.clone()))
            }
            _ => {
                let (code, field) = (RefusalCode::NoReassignmentInProgress, "reassignment of group");
                let value = format!("{} since {}", done.group, done.since);
                Err(Refusal::new(code, field, value, "one that is under way"))
            }
        }
    }

    pub(super) fn complete_reassignment(&mut self, done: &CompleteReassignment) -> Result<Applied, Refusal> {
        let (topic, mut partition) = self.validate_complete_reassignment(done)?;
        partition.replicas.truncate(partition.target().len());
        partition.reassignment = None;
        self.replace_partition(&topic, partition);
        Ok(Applied::ReassignmentCompleted { group: done.group })
    }
}

fn original(partition: &Partition) -> Result<Vec<Replica>, Refusal> {
    let Some(moving) = &partition.reassignment else {
        let allowed = "a partition whose replicas are moving";
        let code = RefusalCode::NoReassignmentInProgress;
        return Err(Refusal::new(code, "partition", partition.number, allowed));
    };
    let found = |id: &ReplicaId| partition.replicas.iter().find(|replica| replica.replica == *id).copied();
    Ok(moving.original.iter().filter_map(found).collect())
}

fn ids(replicas: &[Replica]) -> Vec<ReplicaId> {
    replicas.iter().map(|replica| replica.replica).collect()
}
