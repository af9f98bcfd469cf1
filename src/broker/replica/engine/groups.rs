//! The groups of this broker: opened, kept in line with metadata, taken out of service when raft or the disk fails.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{GroupId, ReplicaId};
use chronik_core::metadata::{ClusterState, Topic};
use chronik_core::replication::isr::IsrConfig;

use super::{Engine, surroundings};
use crate::log::{GroupHeader, GroupKind, GroupLog, HardState, RecoveredGroup, WriteOp};
use crate::quorum::{Group, GroupConfig, GroupFault};
use crate::replica::handle::PartitionHandle;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::metadata::Metadata;
use crate::replica::outbox::Transport;
use crate::replica::partition::{Assignment, Member, Partition, Surroundings};

impl<T: Transport> Engine<T> {
    /// Runs `work` on a group; a fault or a panic of raft takes that group out of service and nothing else.
    pub(super) fn guard(
        &mut self,
        id: GroupId,
        work: impl FnOnce(&mut Hosted, Surroundings<'_>) -> Result<(), GroupFault>,
    ) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        let reason = match catch_unwind(AssertUnwindSafe(|| work(hosted, around))) {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(panic) => panic_text(&*panic),
        };
        self.quarantine(id, reason);
    }

    pub(super) fn quarantine(&mut self, id: GroupId, reason: String) {
        let Some(mut hosted) = self.hosted.remove(&id) else { return };
        self.touched.remove(&id);
        let damage = hosted.group.damage().map(|damage| format!("{reason}: {damage}"));
        let reason = damage.unwrap_or(reason);
        match &mut hosted.serves {
            Serves::Partition(partition) => {
                let handle = &partition.handle;
                tracing::error!(
                    topic = %handle.topic_name, partition = handle.partition, %reason, "take replica out of service"
                );
                let around = surroundings(&self.config, &self.shared, self.now);
                partition.quarantine(reason, around);
            }
            Serves::Metadata(_) => self.stop(format!("metadata group: {reason}")),
        }
    }

    /// Stops everything: what is not known to be on disk is acknowledged to nobody.
    pub(super) fn stop(&mut self, reason: String) {
        tracing::error!(%reason, "stop all replicas of this broker");
        let groups: Vec<GroupId> = self.hosted.keys().copied().collect();
        for id in groups {
            if id != GroupId::METADATA {
                self.quarantine(id, reason.clone());
            }
        }
        self.hosted.remove(&GroupId::METADATA);
        self.shared.log_stopped.store(true, Ordering::Release);
        self.stopped = Some(reason);
    }

    pub(super) fn open_metadata(&mut self, recovered: RecoveredGroup) {
        if let Some(damage) = &recovered.damage {
            return self.stop(format!("metadata group: {damage}"));
        }
        let voters = recovered.header.voters.clone();
        let config = GroupConfig {
            // Its state is rebuilt from the whole log.
            applied: 0,
            ..self.group_config(GroupId::METADATA, &recovered.header, None)
        };
        let known = recovered.log.last_index();
        match Group::open(&config, recovered.log, recovered.state) {
            Ok(group) => {
                let metadata = Metadata::new(self.shared.cluster.clone(), known);
                self.host(Hosted::new(group, Serves::Metadata(Box::new(metadata))));
                self.shared.formed.send_replace(Some(voters));
            }
            Err(fault) => self.stop(format!("metadata group: {fault}")),
        }
    }

    pub(super) fn start_metadata(&mut self, voters: Vec<ReplicaId>) {
        if self.hosted.contains_key(&GroupId::METADATA) || self.stopped.is_some() {
            return;
        }
        let header = GroupHeader {
            kind: GroupKind::Metadata,
            topic: None,
            partition: 0,
            replica: ReplicaId(u64::from(self.config.broker.0)),
            voters,
            learners: Vec::new(),
        };
        let recovered = self.create(GroupId::METADATA, header);
        self.open_metadata(recovered);
    }

    /// A replica that is not on the disk: a new one, or one of which the disk lost every trace.
    fn absent(&mut self, group: GroupId, header: GroupHeader) -> RecoveredGroup {
        let old = matches!(
            self.hosted.get(&GroupId::METADATA),
            Some(Hosted { serves: Serves::Metadata(metadata), .. }) if group < metadata.next_group_at_start()
        );
        let lost = self.log.unattributed_damage().filter(|_| old).cloned();
        let created = if lost.is_some() { self.empty(group, header) } else { self.create(group, header) };
        RecoveredGroup { damage: lost, ..created }
    }

    /// A new, empty group; its creation is written before anything else of it.
    fn create(&mut self, group: GroupId, header: GroupHeader) -> RecoveredGroup {
        self.gathering.push(WriteOp::CreateGroup { group, header: header.clone() });
        self.empty(group, header)
    }

    fn empty(&self, group: GroupId, header: GroupHeader) -> RecoveredGroup {
        RecoveredGroup {
            group,
            header,
            state: HardState::default(),
            membership: None,
            log: self.log.new_group(group),
            damage: None,
        }
    }

    fn group_config(
        &self,
        group: GroupId,
        header: &GroupHeader,
        membership: Option<bytes::Bytes>,
    ) -> GroupConfig {
        GroupConfig {
            group,
            replica: header.replica,
            election_ticks: self.config.election_ticks,
            heartbeat_ticks: self.config.heartbeat_ticks,
            voters: header.voters.clone(),
            learners: header.learners.clone(),
            membership,
            applied: 0,
        }
    }

    fn host(&mut self, hosted: Hosted) {
        let id = hosted.group.id();
        self.hosted.insert(id, hosted);
        self.touched.insert(id);
    }

    /// Brings the hosted partitions in line with metadata.
    pub(super) fn follow_metadata(&mut self) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get(&GroupId::METADATA)
        else {
            return;
        };
        let state = metadata.state().clone();
        let mut named = BTreeSet::new();
        for (topic, partition) in state.partitions() {
            let Some(own) = partition.replica_on(self.config.broker) else { continue };
            named.insert(partition.group);
            let assignment = Assignment {
                members: partition
                    .replicas
                    .iter()
                    .map(|replica| Member { replica: replica.replica, broker: replica.broker })
                    .collect(),
                isr: isr_config(&self.config.isr, &self.config.topics, topic),
                since: state.applied(),
            };
            if self.hosted.contains_key(&partition.group) {
                self.reassign(partition.group, assignment);
            } else if self.shared.partitions.get(topic.id, partition.number).is_none()
                && own.disk == self.config.disk
            {
                let header = GroupHeader {
                    kind: GroupKind::Partition,
                    topic: Some(topic.id),
                    partition: partition.number,
                    replica: own.replica,
                    voters: partition.replicas.iter().map(|replica| replica.replica).collect(),
                    learners: Vec::new(),
                };
                self.open_partition(partition.group, header, topic, assignment);
            }
        }
        self.remove_deleted(&state, &named);
        self.pulse_due = true;
    }

    fn open_partition(&mut self, id: GroupId, header: GroupHeader, topic: &Topic, assignment: Assignment) {
        let recovered = self.recovered.remove(&id).unwrap_or_else(|| self.absent(id, header.clone()));
        let log = Arc::clone(&recovered.log);
        let handle = Arc::new(PartitionHandle::new(
            id,
            topic.id,
            topic.name.clone(),
            header.partition,
            Arc::clone(&log),
        ));
        self.shared.partitions.insert(Arc::clone(&handle));
        let config = GroupConfig {
            applied: recovered.state.commit,
            ..self.group_config(id, &recovered.header, recovered.membership.clone().map(|(_, bytes)| bytes))
        };
        let opened = match &recovered.damage {
            Some(damage) => Err(damage.to_string()),
            None => open_group(&config, log, recovered.state),
        };
        match opened {
            Ok(group) => {
                let partition = Partition::new(handle, assignment, &group, self.now);
                self.host(Hosted::new(group, Serves::Partition(Box::new(partition))));
            }
            Err(reason) => {
                tracing::error!(
                    topic = %topic.name, partition = header.partition, %reason, "take replica out of service"
                );
                handle.quarantine(reason);
            }
        }
    }

    fn reassign(&mut self, id: GroupId, mut assignment: Assignment) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(Hosted { group, serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&id)
        else {
            return;
        };
        let known = &partition.assignment;
        if known.members == assignment.members && known.isr == assignment.isr {
            return;
        }
        assignment.since = around.metadata_index;
        partition.assign(assignment, group, around);
        self.touched.insert(id);
    }

    /// Removes hosted partitions that metadata no longer names. Group ids only grow: one that is not named and below
    /// the next to be given was deleted; one at or above it is not known yet.
    fn remove_deleted(&mut self, state: &ClusterState, named: &BTreeSet<GroupId>) {
        let deleted =
            |id: &GroupId| *id != GroupId::METADATA && !named.contains(id) && *id < state.next_group();
        let gone: BTreeSet<GroupId> =
            self.hosted.keys().chain(self.recovered.keys()).filter(|id| deleted(id)).copied().collect();
        for id in gone {
            self.recovered.remove(&id);
            self.touched.remove(&id);
            self.gathering.push(WriteOp::RemoveGroup { group: id });
            if let Some(Hosted { serves: Serves::Partition(mut partition), .. }) = self.hosted.remove(&id) {
                let around = surroundings(&self.config, &self.shared, self.now);
                partition.quarantine("the topic was deleted".to_owned(), around);
            }
        }
        for handle in self.shared.partitions.all() {
            if deleted(&handle.group) {
                self.shared.partitions.remove(handle.topic, handle.partition);
            }
        }
        self.shared.views.forget_all(deleted);
    }
}

fn open_group(config: &GroupConfig, log: Arc<GroupLog>, state: HardState) -> Result<Group, String> {
    match catch_unwind(AssertUnwindSafe(|| Group::open(config, log, state))) {
        Ok(opened) => opened.map_err(|fault| fault.to_string()),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn isr_config(defaults: &IsrConfig, topics: &TopicDefaults, topic: &Topic) -> IsrConfig {
    let config = TopicConfig::resolve(&topic.configs, topics);
    IsrConfig {
        max_lag_ms: config.lag_time_max_ms,
        max_lag_entries: config.lag_max_entries,
        min_isr: config.min_insync_replicas,
        ..*defaults
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
