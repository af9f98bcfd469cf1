//! The groups of this broker: opened, kept in line with metadata, taken out of service when raft or the disk fails.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{Generation, GroupId, LogIndex, ReplicaId, TopicId};
use chronik_core::metadata::{self, ClusterState, Replica, Topic};
use chronik_core::replication::isr::IsrConfig;

use super::{Engine, surroundings};
use crate::birth::Beginning;
use crate::log::{
    EntryKind, GroupHeader, GroupKind, GroupLog, HardState, Memberships, RecoveredGroup, WriteOp,
};
use crate::quorum::{Group, GroupConfig, GroupFault};
use crate::replica::handle::PartitionHandle;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::metadata::Metadata;
use crate::replica::outbox::Transport;
use crate::replica::partition::{Assignment, Member, Partition, Surroundings};
use crate::stored_metadata::{self, StoredError};

/// Entries looked through at a time when a replica is opened.
const METAS_AT_ONCE: usize = 4_096;

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
        self.forget_rest(id);
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
                self.quarantined.insert(id, self.now.ms);
                self.wake_members(&hosted);
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
        if let Err(error) = self.load_cluster(&recovered) {
            return self.stop(format!("metadata group: {error}"));
        }
        let beginning = Beginning::of(&recovered.header);
        let start = recovered.log.start();
        let config = GroupConfig {
            // Its state is rebuilt from the snapshot and the whole log behind it.
            applied: start.before(),
            membership: recovered.membership_at_start(),
            ..self.group_config(GroupId::METADATA, &recovered)
        };
        let known = recovered.log.last_index();
        let term = recovered.log.term(known).unwrap_or(0);
        match Group::open(&config, recovered.log, recovered.state) {
            Ok(group) => {
                let founders = beginning.founders.clone();
                let metadata = Metadata::new(self.shared.cluster.clone(), founders, start, known, term);
                self.host(Hosted::new(group, Serves::Metadata(Box::new(metadata))));
                self.shared.formed.send_replace(Some(beginning));
            }
            Err(fault) => self.stop(format!("metadata group: {fault}")),
        }
    }

    /// Begins with the state that stands for the beginning of the metadata log, if that is gone.
    fn load_cluster(&self, recovered: &RecoveredGroup) -> Result<(), StoredError> {
        if let Some(state) = stored_metadata::beginning(recovered)? {
            self.shared.cluster.send_replace(Arc::new(state));
        }
        Ok(())
    }

    pub(super) fn start_metadata(&mut self, beginning: Beginning) {
        if self.hosted.contains_key(&GroupId::METADATA) || self.stopped.is_some() {
            return;
        }
        let header = GroupHeader {
            kind: GroupKind::Metadata,
            topic: None,
            partition: 0,
            replica: beginning.replica,
            voters: beginning.founders.iter().map(|founder| founder.replica).collect(),
            learners: Vec::new(),
            generation: beginning.generation,
            founders: beginning.founders,
        };
        let recovered = self.create(GroupId::METADATA, header);
        // Before anybody hears that this broker has a cluster.
        self.shared.generation.send_replace(Some(recovered.header.generation));
        self.open_metadata(recovered);
    }

    /// Whether a replica with that id may have lived here before this start.
    fn is_old(&self, replica: ReplicaId) -> bool {
        matches!(
            self.hosted.get(&GroupId::METADATA),
            Some(Hosted { serves: Serves::Metadata(metadata), .. }) if replica < metadata.next_replica_at_start()
        )
    }

    /// Whether what was found damaged here may be all that is left of the replica in its header, whatever name it was
    /// found under: its beginning may be what the disk lost. Begun again it would have forgotten what it acknowledged, so
    /// it is out of service, and the damaged data stays as the only witness.
    fn was_lost(&mut self, group: GroupId, header: &GroupHeader, topic: TopicId) -> bool {
        if !self.is_old(header.replica) {
            return false;
        }
        let Some(damage) = self.damaged.get(&group).cloned() else { return false };
        self.quarantined.remove(&group);
        self.shared.partitions.remove(topic, header.partition);
        let found = RecoveredGroup { damage: Some(damage), ..self.empty(group, header.clone()) };
        self.recovered.insert(group, found);
        true
    }

    /// A replica that is not on the disk: a new one, or one of which the disk lost every trace.
    fn not_here(&mut self, group: GroupId, header: GroupHeader) -> RecoveredGroup {
        let old = self.is_old(header.replica);
        let lost = self.log.unattributed_damage().filter(|_| old).cloned();
        let created = if lost.is_some() {
            self.absent.insert(group);
            self.empty(group, header)
        } else {
            self.create(group, header)
        };
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
            memberships: Memberships::new(),
            snapshot: bytes::Bytes::new(),
            log: self.log.new_group(group),
            damage: None,
        }
    }

    fn group_config(&self, group: GroupId, recovered: &RecoveredGroup) -> GroupConfig {
        let header = &recovered.header;
        GroupConfig {
            group,
            replica: header.replica,
            election_ticks: self.config.election_ticks,
            heartbeat_ticks: self.config.heartbeat_ticks,
            voters: header.voters.clone(),
            learners: header.learners.clone(),
            membership: recovered.membership().map(|(_, bytes)| bytes),
            membership_at_start: recovered.membership_at_start(),
            snapshot: recovered.snapshot.clone(),
            applied: 0,
            held: Arc::clone(&self.held),
        }
    }

    fn host(&mut self, hosted: Hosted) {
        let id = hosted.group.id();
        self.hosted.insert(id, hosted);
        self.awake.insert(id);
        self.touched.insert(id);
    }

    /// Brings the hosted partitions in line with metadata. After a start metadata may for a while be older than what is on
    /// this disk: then it opens what it names and finds, and neither begins replicas nor deletes any.
    pub(super) fn follow_metadata(&mut self) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get(&GroupId::METADATA)
        else {
            return;
        };
        let (state, caught_up) = (metadata.state().clone(), metadata.is_caught_up());
        if state.retired_disks().contains_key(&self.config.disk) {
            // Nothing is deleted: it may hold the last copy of something.
            return self
                .stop("another disk took this one's place, or its broker was unregistered".to_owned());
        }
        let mut named = BTreeSet::new();
        for (topic, partition) in state.partitions() {
            let own = partition.replica_on(self.config.broker);
            let Some(own) = own.filter(|replica| replica.disk == self.config.disk) else { continue };
            named.insert(partition.group);
            let known = self.replica_here(topic.id, partition);
            if known != Some(own.replica) && !caught_up {
                continue;
            }
            let assignment = self.assignment(topic, partition, &state);
            let header = GroupHeader {
                kind: GroupKind::Partition,
                topic: Some(topic.id),
                partition: partition.number,
                replica: own.replica,
                voters: partition.first_voters.clone(),
                learners: Vec::new(),
                generation: Generation::BIRTH,
                founders: Vec::new(),
            };
            if known.is_some_and(|known| known != own.replica)
                && !self.was_lost(partition.group, &header, topic.id)
            {
                self.discard(partition.group, "another replica takes its place");
            }
            if self.hosted.contains_key(&partition.group) {
                self.reassign(partition.group, assignment);
            } else if self.shared.partitions.get(topic.id, partition.number).is_none()
                && !self.removing.contains(&partition.group)
            {
                self.open_partition(partition.group, header, topic, assignment);
            }
            self.go_on_alone(partition.group);
        }
        if caught_up {
            self.remove_unnamed(&state, &named);
        }
        self.pulse_due = true;
    }

    fn assignment(&self, topic: &Topic, partition: &metadata::Partition, state: &ClusterState) -> Assignment {
        let on_its_disk = |replica: &Replica| state.is_registered(replica.broker, replica.disk);
        // A replica whose broker has got a newer one, or another disk, lives nowhere any more.
        let lives = |replica: &&Replica| {
            let newest = partition.replica_on(replica.broker);
            newest.is_some_and(|newest| newest.replica == replica.replica) && on_its_disk(replica)
        };
        let member = |replica: &Replica| Member {
            replica: replica.replica,
            broker: replica.broker,
            disk: replica.disk,
        };
        Assignment {
            members: partition.replicas.iter().filter(lives).map(member).collect(),
            target: partition.target().iter().map(|replica| replica.replica).collect(),
            lost: partition.target().iter().find(|replica| !on_its_disk(replica)).map(|lost| lost.replica),
            moving: partition.reassignment.as_ref().map(|moving| moving.since),
            alone_from: self.alone_from(partition),
            isr: isr_config(&self.config.isr, &self.config.topics, topic),
            since: state.applied(),
        }
    }

    /// The replica of a partition that this disk holds, in service or not.
    fn replica_here(&self, topic: TopicId, partition: &metadata::Partition) -> Option<ReplicaId> {
        let open = self.shared.partitions.get(topic, partition.number).map(|handle| handle.replica);
        open.or_else(|| self.recovered.get(&partition.group).map(|found| found.header.replica))
    }

    fn open_partition(&mut self, id: GroupId, header: GroupHeader, topic: &Topic, assignment: Assignment) {
        let recovered = self.recovered.remove(&id).unwrap_or_else(|| self.not_here(id, header.clone()));
        let log = Arc::clone(&recovered.log);
        let handle = Arc::new(PartitionHandle::new(
            (id, header.replica),
            topic.id,
            topic.name.clone(),
            header.partition,
            Arc::clone(&log),
        ));
        self.shared.partitions.insert(Arc::clone(&handle));
        let (state, applied) = state_at_start(&recovered);
        let config = GroupConfig { applied, ..self.group_config(id, &recovered) };
        let opened = match &recovered.damage {
            Some(damage) => Err(damage.to_string()),
            None => open_group(&config, log, state),
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
                self.quarantined.insert(id, self.now.ms);
            }
        }
    }

    fn reassign(&mut self, id: GroupId, mut assignment: Assignment) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(Hosted { serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&id) else {
            return;
        };
        let known = &partition.assignment;
        assignment.since = known.since;
        if *known == assignment {
            return;
        }
        assignment.since = around.metadata_index;
        partition.assign(assignment, around);
        self.wake(id);
        self.shared.views.announce(id);
        self.touched.insert(id);
    }

    /// Removes the data of partitions of which metadata no longer names a replica here. Group ids only grow: one that
    /// is not named and below the next to be given was deleted or moved away; one at or above it is not known yet.
    fn remove_unnamed(&mut self, state: &ClusterState, named: &BTreeSet<GroupId>) {
        let unnamed =
            |id: &GroupId| *id != GroupId::METADATA && !named.contains(id) && *id < state.next_group();
        let mut gone: BTreeSet<GroupId> = self.hosted.keys().chain(self.recovered.keys()).copied().collect();
        gone.extend(self.shared.partitions.all().iter().map(|handle| handle.group));
        for id in gone.into_iter().filter(unnamed) {
            self.discard(id, "the partition was deleted or moved to other brokers");
        }
        self.shared.views.forget_all(|id| *id < state.next_group() && state.group(*id).is_none());
    }

    /// Ends this disk's replica of a group and deletes its data.
    fn discard(&mut self, id: GroupId, reason: &str) {
        self.recovered.remove(&id);
        self.forget_rest(id);
        self.quarantined.remove(&id);
        self.damaged.remove(&id);
        if let Some(Hosted { serves: Serves::Partition(mut partition), .. }) = self.hosted.remove(&id) {
            let around = surroundings(&self.config, &self.shared, self.now);
            partition.quarantine(reason.to_owned(), around);
        }
        for handle in self.shared.partitions.all().iter().filter(|handle| handle.group == id) {
            self.shared.partitions.remove(handle.topic, handle.partition);
        }
        if !self.absent.remove(&id) && self.removing.insert(id) {
            self.gathering.push(WriteOp::RemoveGroup { group: id });
        }
    }

    /// Removals that are on disk: a new replica of such a group may be opened now.
    pub(super) fn removals_written(&mut self, ops: &[WriteOp]) {
        let mut any = false;
        for op in ops {
            if let WriteOp::RemoveGroup { group } = op {
                any |= self.removing.remove(group);
            }
        }
        if any {
            self.follow_metadata();
        }
    }
}

/// The state to start with, and the index after which committed entries are delivered. A stored configuration proves
/// that its entry was committed, though the commit index may be stored later: to apply it twice would be a fault. And a
/// commit index may be stored before the configuration it brings into force, which is then looked for.
fn state_at_start(recovered: &RecoveredGroup) -> (HardState, LogIndex) {
    let configured = recovered.membership().map_or(0, |(index, _)| index);
    let commit = recovered.state.commit.max(configured);
    let state = HardState { commit, ..recovered.state };
    let mut next = configured + 1;
    while next <= commit {
        let metas = recovered.log.metas(next, commit + 1, METAS_AT_ONCE);
        let Some(last) = metas.last() else { break };
        if let Some(change) = metas.iter().find(|meta| meta.kind == EntryKind::Membership) {
            return (state, change.index - 1);
        }
        next = last.index + 1;
    }
    (state, commit)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use chronik_core::ids::BrokerId;

    use super::*;
    use crate::log::{Birth, DataFolder, Log, LogEntry, Options, RealDisk};

    const GROUP: GroupId = GroupId(16);

    fn entry(index: LogIndex, kind: EntryKind) -> LogEntry {
        LogEntry {
            index,
            term: 1,
            kind,
            base_offset: 0,
            records: 0,
            max_timestamp: -1,
            producer: None,
            payload: Bytes::new(),
        }
    }

    /// A log of five entries, the third of which changes members, as it is found again after `more` was written.
    fn found(more: Vec<WriteOp>) -> (HardState, LogIndex) {
        let dir = tempfile::tempdir().unwrap();
        let birth = Birth::Join(Vec::new());
        let cluster = "test".parse().unwrap();
        let identity = DataFolder::format(&RealDisk, dir.path(), cluster, BrokerId(1), birth).unwrap();
        let open =
            || Log::open(Arc::new(RealDisk), dir.path(), identity.clone(), Options::default()).unwrap();
        let header = GroupHeader {
            kind: GroupKind::Partition,
            topic: None,
            partition: 0,
            replica: ReplicaId(1),
            voters: vec![ReplicaId(1)],
            learners: Vec::new(),
            generation: Generation::BIRTH,
            founders: Vec::new(),
        };
        let kind = |index| if index == 3 { EntryKind::Membership } else { EntryKind::Empty };
        let entries = (1..=5).map(|index| entry(index, kind(index))).collect();
        let mut ops =
            vec![WriteOp::CreateGroup { group: GROUP, header }, WriteOp::Append { group: GROUP, entries }];
        ops.extend(more);
        let (log, _) = open();
        let (send, done) = mpsc::channel();
        log.submit(ops, Box::new(move |result| send.send(result).unwrap()));
        done.recv().unwrap().unwrap();
        drop(log);
        let (_log, recovered) = open();
        state_at_start(&recovered[0])
    }

    fn state(commit: LogIndex) -> WriteOp {
        WriteOp::State { group: GROUP, state: HardState { term: 1, vote: 0, commit } }
    }

    fn membership() -> WriteOp {
        WriteOp::Membership { group: GROUP, index: 3, bytes: Bytes::from_static(b"members") }
    }

    #[test]
    fn a_configuration_stored_before_its_commit_index_is_not_applied_again() {
        let (state, applied) = found(vec![state(2), membership()]);
        assert_eq!((state.commit, applied), (3, 3));
    }

    #[test]
    fn a_configuration_that_was_not_stored_is_applied() {
        let (state, applied) = found(vec![state(5)]);
        assert_eq!((state.commit, applied), (5, 2));
    }

    #[test]
    fn what_is_stored_on_both_sides_stands() {
        let (state, applied) = found(vec![membership(), state(5)]);
        assert_eq!((state.commit, applied), (5, 5));
    }
}
